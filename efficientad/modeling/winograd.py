"""Winograd convolution of stride 1: fewer multiplications, for processors without matrix units of their own.

A tile of m x m outputs takes n x n = (m + r - 1)^2 products a channel pair instead of m^2 r^2: with m = 4, 5.2 times
fewer for the 4 x 4 kernels that do most of EfficientAD's work, 4 times fewer for 3 x 3. Around these products stand
linear maps of input tiles, kernels and output tiles; here each is one matrix product. Results differ from direct
convolution by rounding alone: in float32 by some millionths of their spread, ten times what that itself rounds.

Letters: B images, C input and O output channels, T tiles, r side of a kernel, m of an output tile, n of an input tile.

Source: Lavin and Gray, Fast algorithms for convolutional neural networks, CVPR 2016. Points: Barabasz et al., Error
analysis and improving the accuracy of Winograd convolution, ACM TOMS 2020.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

TILE = 4  # m
# Places at which the polynomials behind the tiles are evaluated, beside infinity; by r.
POINTS = {3: "0 1 -1 1/2 -2", 4: "0 1 -1 1/2 -1/2 2"}
ONE = 1  # place of the point 1, whose product reaches all outputs alike: the bias joins there
# Tiles to work on at once: enough for wide matrix products, few enough for the caches.
CHUNK = 500
# Fewer channels or outputs gain nothing.
LEAST_CHANNELS, LEAST_OUTPUTS = 128, 196


@dataclass(frozen=True)
class Maps:
    """The linear maps for kernels of side r, both axes at once.

    Attributes:
        inputs: (n^2, n^2) of an input tile; kernel: (n^2, r^2); outputs: (m^2, n^2) of a tile of products.
        side: n.
    """

    inputs: Tensor
    kernel: Tensor
    outputs: Tensor
    side: int


@cache
def maps_for(kernel: int, dtype: torch.dtype = torch.float32) -> Maps:
    """The maps of Toom and Cook, computed in fractions."""
    points, side = [Fraction(point) for point in POINTS[kernel].split()], TILE + kernel - 1
    inverse = _inverse(_powers(points, side))
    inputs = [list(column) for column in zip(*inverse)]  # transposed
    outputs, kernels = _powers(points, TILE), _powers(points, kernel)
    for row in range(side):  # scale the rows of the inputs to a largest value of 1, the kernel's inversely
        scale = max(map(abs, inputs[row]))
        inputs[row] = [value / scale for value in inputs[row]]
        kernels[row] = [value * scale for value in kernels[row]]
    both_axes: list[Tensor] = []
    for matrix in (inputs, kernels, [list(column) for column in zip(*outputs)]):
        single = torch.tensor([[float(value) for value in row] for row in matrix], dtype=torch.float64)
        both_axes.append(torch.kron(single, single).to(dtype))
    of_inputs, of_kernel, of_outputs = both_axes
    return Maps(of_inputs, of_kernel, of_outputs, side)


def _powers(points: list[Fraction], count: int) -> list[list[Fraction]]:
    """Rows 1, p, p^2, ... of `count` entries for each point, and for infinity the last entry alone."""
    return [[point**power for power in range(count)] for point in points] + [
        [Fraction(0)] * (count - 1) + [Fraction(1)]
    ]


def _inverse(matrix: list[list[Fraction]]) -> list[list[Fraction]]:
    """Gauss and Jordan."""
    size = len(matrix)
    rows = [list(row) + [Fraction(int(i == j)) for j in range(size)] for i, row in enumerate(matrix)]
    for column in range(size):
        pivot = next(i for i in range(column, size) if rows[i][column])
        rows[column], rows[pivot] = rows[pivot], rows[column]
        rows[column] = [value / rows[column][column] for value in rows[column]]
        for i in range(size):
            if i != column and rows[i][column]:
                factor = rows[i][column]
                rows[i] = [a - factor * b for a, b in zip(rows[i], rows[column])]
    return [row[size:] for row in rows]


def suits(conv: nn.Conv2d, x: Tensor) -> bool:
    """Whether `convolve` can do a convolution of images (B, C, H, W), and is faster at it."""
    r, pad = conv.kernel_size[0], padding_of(conv)
    return (
        x.device.type == "cpu"
        and x.dtype in (torch.float32, torch.float64)
        and not torch.is_autocast_enabled("cpu")
        and conv.kernel_size in ((3, 3), (4, 4))
        and (conv.stride, conv.dilation, conv.groups) == ((1, 1), (1, 1), 1)
        and min(conv.in_channels, conv.out_channels) >= LEAST_CHANNELS
        and (x.shape[2] + 2 * pad - r + 1) * (x.shape[3] + 2 * pad - r + 1) >= LEAST_OUTPUTS
    )


def bias_of(conv: nn.Conv2d) -> Tensor:
    """The bias (O,) of a convolution that has one, as all of the networks do."""
    assert conv.bias is not None
    return conv.bias


def padding_of(conv: nn.Conv2d) -> int:
    """Zeros on each side, which are as many up and down as left and right."""
    return conv.padding if isinstance(conv.padding, int) else int(conv.padding[0])


def transform_weight(weight: Tensor) -> Tensor:
    """Kernels (O, C, r, r) as `convolve` takes them, (n^2, C, O)."""
    outputs, inputs, r, _ = weight.shape
    flat = weight.permute(2, 3, 1, 0).reshape(r * r, inputs * outputs)
    return (maps_for(r, weight.dtype).kernel @ flat).view(-1, inputs, outputs)


def conv2d(x: Tensor, weight: Tensor, bias: Tensor, padding: int = 0) -> Tensor:
    """As F.conv2d with stride 1, with gradients.

    Args:
        x: (B, C, H, W), best channels last.
        weight: (O, C, r, r), r 3 or 4.
        bias: (O,).
    Returns:
        (B, O, h, w), channels last.
    """
    return _Convolution.apply(x, weight, bias, padding)


@dataclass(frozen=True)
class Grid:
    """Tiles of padded images, (B, H, W, C).

    Attributes:
        padded: the images, with whole tiles.
        size: height and width of the outputs.
        rows, columns: tiles of an image.
        spare: rows and columns of outputs that the last tiles have too many.
    """

    padded: Tensor
    kernel: int
    size: tuple[int, int]
    rows: int
    columns: int
    spare: tuple[int, int]

    @classmethod
    def of(cls, x: Tensor, kernel: int, padding: int) -> "Grid":
        """Of images (B, C, H, W)."""
        less = kernel - 1 - 2 * padding
        size = x.shape[2] - less, x.shape[3] - less
        rows, columns = (-(-side // TILE) for side in size)
        more = rows * TILE - size[0], columns * TILE - size[1]
        last = x.permute(0, 2, 3, 1)
        if padding or any(more):
            last = F.pad(last, (0, 0, padding, padding + more[1], padding, padding + more[0]))
        return cls(last.contiguous(), kernel, size, rows, columns, more)

    def chunks(self) -> Iterator[tuple[slice, slice]]:
        """Images and rows of tiles to work on at once."""
        images, each = len(self.padded), self.rows * self.columns
        together, rows = max(1, CHUNK // each), math.ceil(self.rows / max(1, round(each / CHUNK)))
        for first in range(0, images, together):
            for top in range(0, self.rows, rows):
                yield slice(first, min(first + together, images)), slice(top, min(top + rows, self.rows))

    def inputs(self, images: slice, rows: slice) -> Tensor:
        """Transformed input tiles (n^2, T, C)."""
        maps, (a, b, c, _) = maps_for(self.kernel, self.padded.dtype), self.padded.stride()
        side, channels = maps.side, self.padded.shape[3]
        part = self.padded[images]
        tiles = part.as_strided(
            (side, side, len(part), rows.stop - rows.start, self.columns, channels),
            (b, c, a, TILE * b, TILE * c, 1),
            part.storage_offset() + rows.start * TILE * b,
        )
        return (maps.inputs @ tiles.reshape(side**2, -1)).view(side**2, -1, channels)

    def blocks(self, maps: Tensor, images: slice, rows: slice) -> Tensor:
        """View (m, m, b, rows, columns, O) of the tiles in outputs (B, rows * m, columns * m, O)."""
        split = maps.view(len(maps), self.rows, TILE, self.columns, TILE, -1)
        return split[images, rows].permute(2, 4, 0, 1, 3, 5)


def convolve(x: Tensor, transformed: Tensor, bias: Tensor, kernel: int, padding: int = 0) -> Tensor:
    """Convolution with kernels of `transform_weight`; see `conv2d`. Without gradients."""
    grid, maps, outputs = Grid.of(x, kernel, padding), maps_for(kernel, x.dtype), transformed.shape[2]
    size = len(x), outputs, grid.rows * TILE, grid.columns * TILE
    result = torch.empty(size, dtype=x.dtype, memory_format=torch.channels_last)
    for images, rows in grid.chunks():
        products = torch.bmm(grid.inputs(images, rows), transformed)  # (n^2, T, O)
        products[ONE * maps.side + ONE] += bias
        blocks = grid.blocks(result.permute(0, 2, 3, 1), images, rows)
        blocks.copy_((maps.outputs @ products.flatten(1)).view(blocks.shape))
    if any(grid.spare):
        # Copied, for a view of a function's own output must not be changed in place.
        result = result[:, :, : grid.size[0], : grid.size[1]].clone(memory_format=torch.channels_last)
    return result


class _Convolution(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, padding: int) -> Tensor:
        transformed = transform_weight(weight)
        ctx.save_for_backward(x, transformed)
        ctx.kernel, ctx.padding = weight.shape[2], padding
        return convolve(x, transformed, bias, weight.shape[2], padding)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None, None]:
        x, transformed = ctx.saved_tensors
        wants_x, wants_weight, wants_bias, _ = ctx.needs_input_grad
        grid, maps = Grid.of(x, ctx.kernel, ctx.padding), maps_for(ctx.kernel, x.dtype)
        inputs, outputs = transformed.shape[1:]
        gradient = gradient.permute(0, 2, 3, 1)  # (B, h, w, O)
        whole = F.pad(gradient, (0, 0, 0, grid.spare[1], 0, grid.spare[0])).contiguous()
        of_weight = torch.zeros_like(transformed) if wants_weight else None
        # Input tiles overlap by r - 1: each adds to its own block of m x m pixels and to those behind it.
        of_x = x.new_zeros(len(x), grid.rows + 1, TILE, grid.columns + 1, TILE, inputs) if wants_x else None
        for images, rows in grid.chunks():
            products = (maps.outputs.T @ grid.blocks(whole, images, rows).reshape(TILE**2, -1)).view(
                maps.side**2, -1, outputs
            )
            if of_weight is not None:
                of_weight.baddbmm_(grid.inputs(images, rows).transpose(1, 2), products)
            if of_x is not None:
                tiles = maps.inputs.T @ torch.bmm(products, transformed.transpose(1, 2)).flatten(1)
                _add_tiles(of_x, tiles, images, rows, maps.side)
        if of_x is not None:
            (height, width), pad = x.shape[2:], ctx.padding
            of_x = of_x.view(len(x), (grid.rows + 1) * TILE, (grid.columns + 1) * TILE, inputs)
            of_x = of_x[:, pad : pad + height, pad : pad + width].permute(0, 3, 1, 2)
        if of_weight is not None:
            r = ctx.kernel
            of_weight = (maps.kernel.T @ of_weight.flatten(1)).view(r, r, inputs, outputs).permute(3, 2, 0, 1)
        return of_x, of_weight, gradient.sum((0, 1, 2)) if wants_bias else None, None


def _add_tiles(total: Tensor, tiles: Tensor, images: slice, rows: slice, side: int) -> None:
    """Add input tiles (n^2, T * C) of some images and rows to blocks (B, rows + 1, m, columns + 1, m, C)."""
    count, columns = images.stop - images.start, total.shape[3] - 1
    tiles = tiles.view(side, side, count, rows.stop - rows.start, columns, -1).permute(2, 3, 0, 4, 1, 5)
    for down in (0, 1):
        for right in (0, 1):
            part = tiles[:, :, down * TILE : (down + 1) * TILE, :, right * TILE : (right + 1) * TILE]
            total[
                images,
                rows.start + down : rows.stop + down,
                : part.shape[2],
                right : columns + right,
                : part.shape[4],
            ] += part


class WinogradConv2d(nn.Module):
    """A convolution for inference alone, with its kernels transformed once; directly where that is faster.

    Args:
        conv: of stride 1 with kernels of 3 x 3 or 4 x 4; it stays as it is.
    """

    transformed: Tensor

    def __init__(self, conv: nn.Conv2d):
        super().__init__()
        self.conv = conv
        self.register_buffer("transformed", transform_weight(conv.weight.detach()), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to (B, O, h, w), in the dtype of the kernels."""
        x = x.to(self.transformed.dtype)
        if not suits(self.conv, x):
            return self.conv(x)
        return convolve(x, self.transformed, bias_of(self.conv), self.conv.kernel_size[0], padding_of(self.conv))
