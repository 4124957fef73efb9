"""Resize by the shortest edge inside a graph, from any size, as Detectron2's ResizeShortestEdge does with Pillow.

Letters: n pixels of the input along an axis, m of the output, T pixels of the input that an output pixel looks at.

As in `antialiased_resize`, digit for digit Pillow's fixed-point filter; but where both sizes are open, and images are
large, a matrix of all n x m weights would cost more than a network: each output pixel gathers the T that it looks at.
"""

from typing import Any

import torch
from torch import Tensor, nn

HALF = 2048  # weights have 22 bits, of which the products of 11 with pixels are exact in float32


class ShortestEdgeResize(nn.Module):
    """Images whose short side becomes `shortest`, unless the long one would exceed `longest`, which it then becomes.

    Args:
        shortest: pixels; 0 leaves images as they are.
        longest: pixels.
        tall_first: resize the vertical axis first where that shrinks by more than twice as many pixels as the
            horizontal one, as Pillow does since version 13.
    """

    def __init__(self, shortest: int, longest: int, tall_first: bool = True):
        super().__init__()
        self.shortest, self.longest, self.tall_first = shortest, longest, tall_first

    def forward(self, images: Tensor) -> Tensor:
        """(B, C, H, W), whole numbers 0..255 in any type, to (B, C, h, w) float32 of whole numbers 0..255."""
        values = images.float()
        if not self.shortest:
            return values
        rows, columns = torch.as_tensor(images.shape[-2]), torch.as_tensor(images.shape[-1])
        height, width = shortest_edge_size(rows, columns, self.shortest, self.longest)
        found = resize_axis(resize_axis(values, -1, width), -2, height)
        if not self.tall_first:
            return found
        vertical = (rows > height) & (rows - height > 2 * (columns - width))
        return torch.where(vertical, resize_axis(resize_axis(values, -2, height), -1, width), found)


def shortest_edge_size(height: Tensor, width: Tensor, shortest: int, longest: int) -> tuple[Tensor, Tensor]:
    """Height and width, int64, of an image of a size that may be traced; in float64 as Detectron2 computes them."""
    rows, columns = height.double(), width.double()
    scale = shortest / torch.minimum(rows, columns)
    short = torch.full_like(scale, shortest)
    lying = rows < columns
    new_rows, new_columns = torch.where(lying, short, scale * rows), torch.where(lying, scale * columns, short)
    shrink = (longest / torch.maximum(new_rows, new_columns)).clamp(max=1)
    return (new_rows * shrink + 0.5).long(), (new_columns * shrink + 0.5).long()


def resize_axis(values: Tensor, axis: int, length: Tensor) -> Tensor:
    """Whole numbers 0..255 resized along an axis, -1 or -2, and rounded to such numbers."""
    index, high, low = taps(torch.as_tensor(values.shape[axis]), length)
    taken = values[..., index] if axis == -1 else values[..., index, :]  # (..., m, T) or (..., m, T, W)
    if axis == -2:
        high, low = high.unsqueeze(-1), low.unsqueeze(-1)
    # What the lower half leaves below 2^11 cannot change the result, which is therefore exact.
    total = (taken * high).sum(axis) + torch.floor((taken * low).sum(axis) / HALF)
    return torch.floor((total + HALF / 2) / HALF).clamp(0, 255)


def taps(n: Tensor, m: Any) -> tuple[Tensor, Tensor, Tensor]:
    """Pixels (m, T) that each output pixel looks at, and the upper and lower 11 bits of their weights, float32.

    Pillow's filter is a triangle about the centre of the output pixel that widens when it shrinks.
    """
    widest = 2 * torch.maximum(n, m)
    centre = (2 * torch.arange(m) + 1).unsqueeze(1) * n  # in units of 1 / (2 m) of an input pixel
    first = torch.div(centre - widest - m, 2 * m, rounding_mode="floor") + 1
    count: Any = torch.div(widest + m - 1, m, rounding_mode="floor")  # T, which arange takes as a tensor while tracing
    index = first + torch.arange(count)  # (m, T)
    parts = (widest - ((2 * index + 1) * m - centre).abs()).clamp(min=0)
    parts = (parts * ((index >= 0) & (index < n))).double()
    total = parts.sum(1, keepdim=True)
    # In two steps, because engines that compute float64 in float32 keep all digits of each.
    high = torch.floor(parts * HALF / total)
    low = torch.floor((parts * HALF - high * total) / total * HALF + 0.5)
    return torch.minimum(index.clamp(min=0), n - 1), high.float(), low.float()
