"""Patch embedding of PatchCore: one vector for each cell of the finest map of a feature extractor.

Letters: B images, h x w cells, C channels.

Source: Roth et al., PatchCore, CVPR 2022, section 3.1, in the form of anomalib's: the neighbourhood is averaged,
without the pooling of channels that the authors' program does after it.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor


def embed_patches(layers: Sequence[Tensor], neighbourhood: int = 3) -> Tensor:
    """Maps of several layers, each averaged over neighbourhoods, on the grid of the first, one after the other.

    The average is over k x k cells at stride 1. Zeros beyond the border count as cells, as in anomalib's
    AvgPool2d(3, 1, 1): vectors at the border are smaller, for good and for anomalous images alike. Coarser maps are
    enlarged bilinearly, corners not aligned.

    Args:
        layers: (B, C_l, h_l, w_l) each, the finest first.
        neighbourhood: k, odd; 1 takes the maps as they are.
    Returns:
        (B, C, h, w): h and w those of the first layer, C the sum of all C_l.
    """
    size, parts = layers[0].shape[-2:], []
    for layer in layers:
        if neighbourhood > 1:
            layer = F.avg_pool2d(layer, neighbourhood, stride=1, padding=neighbourhood // 2)
        if layer.shape[-2:] != size:
            layer = F.interpolate(layer, size=size, mode="bilinear", align_corners=False)
        parts.append(layer)
    return torch.cat(parts, dim=1)


def pad_to_stride(images: Tensor, stride: int) -> Tensor:
    """Images (B, 3, H, W) continued at the right and below, by their last pixels, to a multiple of a stride."""
    height, width = images.shape[-2:]
    padding = (0, -width % stride, 0, -height % stride)
    return F.pad(images, padding, mode="replicate") if any(padding) else images


def cells(embedding: Tensor) -> Tensor:
    """The vectors (h * w, C) of an embedding (C, h, w), row by row."""
    return embedding.flatten(1).T.contiguous()
