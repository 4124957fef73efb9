"""Patch features as of PatchCore from a pretrained network, which a teacher learns to give in one go.

Letters: B images, h x w cells, C channels of the description, P numbers a layer contributes.

Source: the description is that of Roth et al., PatchCore, CVPR 2022; its use that of Batzner et al., EfficientAD, WACV
2024, Algorithm 3.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

POOLED = 1024  # P


def describe_patches(layers: Sequence[Tensor], channels: int = 384, pooled: int = POOLED) -> Tensor:
    """One map of descriptions from the maps of several layers.

    Every cell takes its 3 x 3 neighbourhood, averaged to `pooled` numbers; coarser layers are enlarged to the first
    one's size; the numbers of all layers together are averaged to `channels`.

    Args:
        layers: (B, C_l, h_l, w_l) each, the finest first.
        channels: C.
    Returns:
        (B, C, h, w), h and w those of the first layer.
    """
    height, width = layers[0].shape[-2:]
    parts = []
    for layer in layers:
        numbers = _pool_channels(F.unfold(layer, 3, padding=1), pooled)  # (B, P, h_l * w_l)
        grid = numbers.unflatten(2, layer.shape[-2:])
        # Averaging over channels and enlarging over places commute; this order moves fewer numbers.
        if grid.shape[-2:] != (height, width):
            grid = F.interpolate(grid, size=(height, width), mode="bilinear", align_corners=False)
        parts.append(grid.flatten(2))
    together = torch.cat(parts, dim=1)  # (B, layers * P, h * w)
    return _pool_channels(together, channels).unflatten(2, (height, width))


def _pool_channels(values: Tensor, count: int) -> Tensor:
    """Average the channels of (B, C, N) in order to `count` of them."""
    return F.adaptive_avg_pool1d(values.transpose(1, 2), count).transpose(1, 2)
