"""Patch features as of PatchCore from a pretrained network, which a teacher learns to give in one go.

Letters: B images, h x w cells, C channels of the description, P numbers a layer contributes.

Source: the description is that of Roth et al., PatchCore, CVPR 2022; its use that of Batzner et al., EfficientAD, WACV
2024, Algorithm 3.
"""

from collections.abc import Sequence
from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor

POOLED = 1024  # P


def describe_patches(layers: Sequence[Tensor], channels: int = 384, pooled: int = POOLED) -> Tensor:
    """One map of descriptions from the maps of several layers.

    Every cell takes its 3 x 3 neighbourhood, averaged to `pooled` numbers; coarser layers are enlarged to the first
    one's size; the numbers of all layers together are averaged to `channels`. All of it is linear, so each layer is
    convolved by one kernel that does as much, eight times as fast as the steps in turn.

    Args:
        layers: (B, C_l, h_l, w_l) each, the finest first.
        channels: C.
    Returns:
        (B, C, h, w), h and w those of the first layer.
    """
    kernels = description_kernels(tuple(layer.shape[1] for layer in layers), channels, pooled)
    size = layers[0].shape[-2:]
    found = layers[0].new_zeros(len(layers[0]), channels, *size)
    for layer, (first, kernel) in zip(layers, kernels, strict=True):
        part = F.conv2d(layer, kernel.to(layer), padding=1)
        # Averaging over channels and enlarging over places commute; this order moves fewer numbers.
        if part.shape[-2:] != size:
            part = F.interpolate(part, size=size, mode="bilinear", align_corners=False)
        found[:, first : first + len(kernel)] += part
    return found


@lru_cache(maxsize=8)
def description_kernels(widths: tuple[int, ...], channels: int, pooled: int) -> tuple[tuple[int, Tensor], ...]:
    """For each layer of C_l channels the first channel of the description that it has a part in, and its kernel.

    Args:
        widths: C_l of each layer.
    Returns:
        the channel and a kernel (c, C_l, 3, 3) for it and those that follow.
    """
    found = []
    for number, width in enumerate(widths):
        patch = _pool_channels(torch.eye(9 * width)[None], pooled)  # (1, P, 9 C_l): of a patch, by channel and place
        together = torch.zeros(1, len(widths), pooled, 9 * width)
        together[:, number] = patch
        weights = _pool_channels(together.flatten(1, 2), channels)[0]  # (C, 9 C_l)
        taken = torch.nonzero(weights.abs().sum(1)).flatten().tolist()
        rows = weights[taken[0] : taken[-1] + 1]
        found.append((taken[0], rows.view(len(rows), width, 3, 3)))
    return tuple(found)


def _pool_channels(values: Tensor, count: int) -> Tensor:
    """Average the channels of (B, C, N) in order to `count` of them."""
    return F.adaptive_avg_pool1d(values.transpose(1, 2), count).transpose(1, 2)
