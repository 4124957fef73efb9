"""Antialiased bilinear resize inside a graph, digit for digit that of Pillow, from any size.

Letters: n pixels of the input along an axis, m of the output; i of the output, j of the input; H x W to h x w.

Pillow's filter is a triangle that widens when it shrinks, as fixed-point numbers of 22 bits, one axis after the other,
rounded and clipped to 0..255 after each. Here an axis is a product with a matrix (m, n) of weights that the graph
makes of n:

    a[i, j] = max(0, 2 max(n, m) - |(2 j + 1) m - (2 i + 1) n|)        integers
    k[i, j] = floor(2^22 a[i, j] / sum_j a[i, j] + 1/2)

Numbers of 22 bits times pixels of 8 do not fit float32, so k = 2^11 k_high + k_low, and each half is a product of its
own, exact while at most 32 pixels go into one (shrinking to a sixteenth).

The horizontal axis comes first; since version 13 Pillow takes the vertical one first where H > h and
H - h > 2 (W - w), which changes up to a quarter of the pixels by one. The graph does as the Pillow that is installed.
"""

from functools import cache

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from d2road.export.axis_order import resize_in_order

HALF = 2048  # of the range of weights


class AntialiasedResize(nn.Module):
    """Images of any size to one size, as `PIL.Image.resize(..., Resampling.BILINEAR)`.

    Args:
        size: (height, width) of the output.
        orders: whether the vertical axis comes first for tall images; None does as the Pillow that is installed.
    """

    def __init__(self, size: tuple[int, int], orders: bool | None = None):
        super().__init__()
        self.size, self.orders = size, pillow_orders_axes() if orders is None else orders

    def forward(self, images: Tensor) -> Tensor:
        """(B, C, H, W), whole numbers 0..255 in any type, to (B, C, height, width) float32 of whole numbers 0..255."""
        values = images.float()
        if torch.compiler.is_exporting():  # it has no sizes that depend on others
            return self._resized(values)
        # Images of the size itself go neither way, see `axis_order`: the passes would leave them as they are.
        zero = torch.zeros((), dtype=torch.int64)
        same = (zero + images.shape[-2] == self.size[0]) & (zero + images.shape[-1] == self.size[1])
        count = same.long() * images.shape[0]
        kept = values[:count].reshape(-1, int(images.shape[1]), *self.size)
        return torch.cat((kept, self._resized(values[count:])))

    def _resized(self, values: Tensor) -> Tensor:
        height, width = values.shape[-2], values.shape[-1]
        matrices = (*weight_halves(height, self.size[0]), *weight_halves(width, self.size[1]))
        if not self.orders:
            return horizontal_first(values, *matrices)
        zero = torch.zeros((), dtype=torch.int64)
        tall, wide = zero + height - self.size[0], zero + width - self.size[1]
        vertical = (tall > 0) & (tall > 2 * wide)
        found = resize_in_order(vertical, vertical_first, horizontal_first, values, *matrices)
        return found.reshape(-1, int(values.shape[1]), *self.size)


def pass_along(values: Tensor, high: Tensor, low: Tensor) -> Tensor:
    """(..., n) of whole numbers 0..255 to (..., m), rounded and clipped; halves (m, n) of the weights."""
    # What the lower half leaves below 2^11 cannot change the result, which is therefore exact.
    total = values @ high.transpose(0, 1) + torch.floor(values @ low.transpose(0, 1) / HALF)
    return torch.floor((total + HALF / 2) / HALF).clamp(0, 255)


def horizontal_first(values: Tensor, high_y: Tensor, low_y: Tensor, high_x: Tensor, low_x: Tensor) -> Tensor:
    """Both passes over (B, C, H, W)."""
    found = pass_along(values, high_x, low_x)
    return pass_along(found.transpose(-1, -2), high_y, low_y).transpose(-1, -2).contiguous()


def vertical_first(values: Tensor, high_y: Tensor, low_y: Tensor, high_x: Tensor, low_x: Tensor) -> Tensor:
    """Both passes over (B, C, H, W), the other way round."""
    found = pass_along(values.transpose(-1, -2), high_y, low_y).transpose(-1, -2)
    return pass_along(found, high_x, low_x).contiguous()


def weight_halves(n: int, m: int) -> tuple[Tensor, Tensor]:
    """Upper and lower 11 bits (m, n), float32, of Pillow's weights; `n` may be a traced size."""
    j, i = torch.arange(n), torch.arange(m)
    distances = ((2 * j + 1) * m).unsqueeze(0) - ((2 * i + 1).unsqueeze(1) * n)  # (m, n)
    widest = 2 * torch.maximum(torch.ones_like(i) * n, torch.full_like(i, m)).unsqueeze(1)  # (m, 1)
    parts = (widest - distances.abs()).clamp(min=0).double()
    total = parts.sum(1, keepdim=True)
    # In two steps, because engines that compute float64 in float32 keep all digits of each.
    high = torch.floor(parts * HALF / total)
    low = torch.floor((parts * HALF - high * total) / total * HALF + 0.5)
    return high.float(), low.float()


@cache
def pillow_orders_axes() -> bool:
    """Whether the Pillow that is installed takes the vertical axis first for tall images."""
    pixels = np.random.default_rng(0).integers(0, 256, (64, 32), dtype=np.uint8)
    image, kind = Image.fromarray(pixels), Image.Resampling.BILINEAR
    vertical = image.resize((32, 16), kind).resize((16, 16), kind)
    return np.array_equal(np.asarray(image.resize((16, 16), kind)), np.asarray(vertical))
