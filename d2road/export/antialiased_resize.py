"""Antialiased bilinear resize inside a graph, digit for digit that of Pillow, from any size.

Letters: n pixels of the input along an axis, m of the output; i of the output, j of the input.

Pillow's filter is a triangle that widens when it shrinks, as fixed-point numbers of 22 bits, one axis after the other,
rounded and clipped to 0..255 after each. Here an axis is a product with a matrix (m, n) of weights that the graph
makes of n:

    a[i, j] = max(0, 2 max(n, m) - |(2 j + 1) m - (2 i + 1) n|)        integers
    k[i, j] = floor(2^22 a[i, j] / sum_j a[i, j] + 1/2)

Numbers of 22 bits times pixels of 8 do not fit float32, so k = 2^11 k_high + k_low, and each half is a product of its
own, exact while at most 32 pixels go into one (shrinking to a sixteenth).
"""

import torch
from torch import Tensor, nn

BITS = 22
HALF = 2 ** (BITS // 2)


class AntialiasedResize(nn.Module):
    """Images of any size to one size, as `PIL.Image.resize(..., Resampling.BILINEAR)`.

    Args:
        size: (height, width) of the output.
    """

    def __init__(self, size: tuple[int, int]):
        super().__init__()
        self.size = size

    def forward(self, images: Tensor) -> Tensor:
        """(B, C, H, W), whole numbers 0..255 in any type, to (B, C, height, width) float32 of whole numbers 0..255."""
        values = images.float()
        wide = resize_last_axis(values, self.size[1])
        return resize_last_axis(wide.transpose(-1, -2), self.size[0]).transpose(-1, -2)


def resize_last_axis(values: Tensor, length: int) -> Tensor:
    """(..., n) of whole numbers 0..255 to (..., length), rounded and clipped."""
    high, low = weight_halves(values.shape[-1], length)
    of_high, of_low = values @ high.transpose(0, 1), values @ low.transpose(0, 1)
    # What the lower half leaves below 2^11 cannot change the result, which is therefore exact.
    total = of_high + torch.floor(of_low / HALF)
    return torch.floor((total + HALF / 2) / HALF).clamp(0, 255)


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
