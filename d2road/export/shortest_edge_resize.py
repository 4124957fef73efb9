"""Resize by the shortest edge inside a graph, from any size, as Detectron2's ResizeShortestEdge does with Pillow.

Letters: n pixels of the input along an axis, m of the output, T pixels of the input that an output pixel looks at.

As in `antialiased_resize`, digit for digit Pillow's fixed-point filter; but where both sizes are open, and images are
large, a matrix of all n x m weights would cost more than a network: each output pixel gathers the T that it looks at.
"""

from typing import Any

import torch
from torch import Tensor, nn

from d2road.export.axis_order import resize_in_order

HALF = 2048  # weights have 22 bits, of which the products of 11 with pixels are exact in float32
LONGEST_SIDE = 1 << 15  # of an image that an exported program takes, pixels


class ShortestEdgeResize(nn.Module):
    """Images whose short side becomes `shortest`, unless the long one would exceed `longest`, which it then becomes.

    What comes out is filled up, to the right and below, to multiples of `divisor`: see `normalize_padded`. A network
    whose strides divide its sides has maps of known shares of them, which torch.export would else not find out.

    Args:
        shortest: pixels; 0 leaves images as they are.
        longest: pixels.
        tall_first: resize the vertical axis first where that shrinks by more than twice as many pixels as the
            horizontal one, as Pillow does since version 13.
        divisor: of the sides that are returned.
    """

    def __init__(self, shortest: int, longest: int, tall_first: bool = True, divisor: int = 1):
        super().__init__()
        self.shortest, self.longest, self.tall_first, self.divisor = shortest, longest, tall_first, max(divisor, 1)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Resize.

        Args:
            images: (B, C, H, W), whole numbers 0..255 in any type.
        Returns:
            (B, C, h+, w+) float32 of whole numbers 0..255, which mean nothing from row h and column w on; and these
            two, (2,) int64.
        """
        rows, columns = (size_tensor(side) for side in images.shape[-2:])
        height, width = rows, columns
        if self.shortest:
            height, width = shortest_edge_size(rows, columns, self.shortest, self.longest)
        room = [self.divisor * open_size(_divide_up(side, self.divisor)) for side in (height, width)]
        vertical = (rows, height, room[0])
        horizontal = (columns, width, room[1])
        values, size_hw = images.float(), torch.stack([height, width])
        if not self.shortest:
            inside = [torch.minimum(torch.arange(count), side - 1) for side, count in zip((rows, columns), room)]
            return values[..., inside[0][:, None], inside[1]], size_hw
        weights = (*taps(*vertical), *taps(*horizontal))
        if not self.tall_first:
            return horizontal_first(values, *weights).contiguous(), size_hw
        is_tall = (rows > height) & (rows - height > 2 * (columns - width))
        return resize_in_order(is_tall, vertical_first, horizontal_first, values, *weights).contiguous(), size_hw


def normalize_padded(pixels: Tensor, size_hw: Tensor, mean: Tensor, std: Tensor) -> Tensor:
    """What `ShortestEdgeResize` returns as a network takes it: (pixels - mean) / std, and 0 outside of the image."""
    rows, columns = (
        torch.arange(side, device=pixels.device) < size_hw[axis] for axis, side in enumerate(pixels.shape[-2:])
    )
    return ((pixels - mean) / std).masked_fill(~(rows[:, None] & columns), 0)


def size_tensor(side: Any) -> Tensor:
    """A side of a tensor, () int64: of a graph that is traced, or exported with this side open, by what it does."""
    if isinstance(side, torch.SymInt):
        return torch.zeros((), dtype=torch.int64) + side  # torch.as_tensor would take that of the example
    return torch.as_tensor(side)


def open_size(value: Tensor) -> Any:
    """A positive size () that a graph computes, for arange: tracing takes a tensor, torch.export a number."""
    if torch.jit.is_tracing():
        return value
    size = value.item()
    if isinstance(size, torch.SymInt):
        torch._check(size >= 1)
        torch._check(size <= LONGEST_SIDE)
    return size


def _divide_up(value: Tensor, divisor: Any) -> Tensor:
    return torch.div(value + divisor - 1, divisor, rounding_mode="floor")


def shortest_edge_size(height: Tensor, width: Tensor, shortest: int, longest: int) -> tuple[Tensor, Tensor]:
    """Height and width, int64, of an image of a size that may be traced; in float64 as Detectron2 computes them."""
    rows, columns = height.double(), width.double()
    scale = shortest / torch.minimum(rows, columns)
    short = torch.full_like(scale, shortest)
    lying = rows < columns
    new_rows, new_columns = torch.where(lying, short, scale * rows), torch.where(lying, scale * columns, short)
    shrink = (longest / torch.maximum(new_rows, new_columns)).clamp(max=1)
    return (new_rows * shrink + 0.5).long(), (new_columns * shrink + 0.5).long()


def horizontal_first(values: Tensor, *weights: Tensor) -> Tensor:
    """Both passes over (B, C, H, W); weights: `taps` of the vertical and of the horizontal axis."""
    return resize_axis(resize_axis(values, -1, *weights[3:]), -2, *weights[:3])


def vertical_first(values: Tensor, *weights: Tensor) -> Tensor:
    """Both passes over (B, C, H, W), the other way round."""
    return resize_axis(resize_axis(values, -2, *weights[:3]), -1, *weights[3:])


def resize_axis(values: Tensor, axis: int, index: Tensor, high: Tensor, low: Tensor) -> Tensor:
    """Whole numbers 0..255 resized along an axis, -1 or -2, by `taps`, and rounded to such numbers."""
    axis += values.ndim  # torch.onnx writes negative ones as they are
    rows = values.movedim(axis, 0)
    count, rest = rows.shape[0], rows.shape[1] * rows.shape[2] * rows.shape[3]  # no -1: there may be no image
    taken = rows.reshape(count, rest)[index]  # (m, T, rest)
    upper, lower = (torch.stack((high, low), 1) @ taken).unbind(1)
    # What the lower half leaves below 2^11 cannot change the result, which is therefore exact.
    found = torch.floor((upper + torch.floor(lower / HALF) + HALF / 2) / HALF).clamp(0, 255)
    return found.reshape(index.shape[0], *rows.shape[1:]).movedim(0, axis)


def taps(n: Tensor, m: Tensor, room: Any) -> tuple[Tensor, Tensor, Tensor]:
    """Pixels (room, T) that each output pixel looks at, and the upper and lower 11 bits of their weights, float32.

    Pillow's filter is a triangle about the centre of the output pixel that widens when it shrinks.

    Args:
        n, m: (), pixels of the input and of the output. room: to return, m at least; those beyond m mean nothing.
    """
    widest = 2 * torch.maximum(n, m)
    centre = (2 * torch.arange(room) + 1).unsqueeze(1) * n  # in units of 1 / (2 m) of an input pixel
    first = torch.div(centre - widest - m, 2 * m, rounding_mode="floor") + 1
    index = first + torch.arange(open_size(_divide_up(widest, m)))  # (room, T)
    parts = (widest - ((2 * index + 1) * m - centre).abs()).clamp(min=0)
    parts = (parts * ((index >= 0) & (index < n))).double()
    total = parts.sum(1, keepdim=True).clamp(min=1)  # 0 beyond m
    # In two steps, because engines that compute float64 in float32 keep all digits of each.
    high = torch.floor(parts * HALF / total)
    low = torch.floor((parts * HALF - high * total) / total * HALF + 0.5)
    return torch.minimum(index.clamp(min=0), n - 1), high.float(), low.float()
