"""Gaussian smoothing of maps."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

TRUNCATE = 4.0  # deviations that the kernel reaches to, as scipy's


def gaussian_blur(maps: Tensor, deviation: float) -> Tensor:
    """Maps (B, 1, H, W) smoothed by a Gaussian of a deviation in pixels; values beyond the border are those at it.

    That of scipy.ndimage.gaussian_filter(mode="nearest"). 0 returns the maps themselves.
    """
    radius = math.floor(TRUNCATE * deviation + 0.5)
    if radius < 1:
        return maps
    place = torch.arange(-radius, radius + 1, dtype=torch.float64)
    kernel = torch.exp(-0.5 * (place / deviation) ** 2)
    kernel = (kernel / kernel.sum()).to(maps.device, maps.dtype)
    padded = F.pad(maps, (radius,) * 4, mode="replicate")
    return F.conv2d(F.conv2d(padded, kernel.view(1, 1, -1, 1)), kernel.view(1, 1, 1, -1))
