"""Large images in overlapping tiles of the size that the networks were trained on.

Letters: T tiles, H x W pixels, c channels.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from d2road.utils.errors import ConfigError

Boxes = list[tuple[int, int, int, int]]  # top, left, bottom, right

# Pixels of tiles that pass through the networks together: four tiles of 256 x 256, some 600 MB in the middle size.
BATCH_PIXELS = 4 * 256 * 256
# Weight of a tile's margin where another tile could say more; not zero, for there the image may end.
LEAST_WEIGHT = 1e-4


@dataclass(frozen=True)
class Tiling:
    """How images are divided.

    Args:
        tile: height and width of tiles in pixels, or None to take images whole.
        overlap: of tiles, as a share of their side.
    """

    tile: tuple[int, int] | None = None
    overlap: float = 0.25

    def boxes(self, image: Tensor) -> Boxes:
        """Tiles of an image (..., H, W); one with everything if it is taken whole."""
        height, width = image.shape[-2:]
        if self.tile is None:
            return [(0, 0, height, width)]
        return tile_boxes((height, width), self.tile, self.overlap)

    def random_box(self, image: Tensor) -> tuple[int, int, int, int]:
        """A tile of an image (..., H, W) to train on, drawn where there are several."""
        boxes = self.boxes(image)
        return boxes[int(torch.randint(len(boxes), (1,)))] if len(boxes) > 1 else boxes[0]


def tile_starts(length: int, tile: int, overlap: float) -> list[int]:
    """First pixels of tiles along an axis: evenly spread, the last one ends where the image does.

    Args:
        length: of the image; one tile from 0 if it is not longer than `tile`.
        tile: length of a tile.
        overlap: share of a tile that neighbours have in common at least, 0 <= overlap < 1.
    Raises:
        ValueError: a tile without length, or an overlap out of range.
    """
    if tile < 1 or not 0 <= overlap < 1:
        raise ConfigError(f"tile of {tile} pixels with overlap {overlap}: expected 1 or more, and 0 <= overlap < 1")
    if length <= tile:
        return [0]
    step = max(1, int(tile * (1 - overlap)))
    count = math.ceil((length - tile) / step) + 1
    return [round(number * (length - tile) / (count - 1)) for number in range(count)]


def tile_boxes(size: tuple[int, int], tile: tuple[int, int], overlap: float) -> Boxes:
    """Tiles (top, left, bottom, right) of an image of `size` (height, width), row by row; see `tile_starts`."""
    height, width = (min(side, whole) for side, whole in zip(tile, size))
    return [
        (top, left, top + height, left + width)
        for top in tile_starts(size[0], tile[0], overlap)
        for left in tile_starts(size[1], tile[1], overlap)
    ]


def tile_size(boxes: Boxes) -> tuple[int, int]:
    """Height and width of tiles, which are all alike."""
    top, left, bottom, right = boxes[0]
    return bottom - top, right - left


def cut(image: Tensor, boxes: Boxes) -> Tensor:
    """Tiles (T, c, h, w) of an image (c, H, W)."""
    return torch.stack([image[:, top:bottom, left:right] for top, left, bottom, right in boxes])


def cut_in_batches(image: Tensor, boxes: Boxes) -> Iterator[Tensor]:
    """Tiles of an image (c, H, W) in order, a few at a time, (t, c, h, w): memory does not grow with the image."""
    height, width = tile_size(boxes)
    few = max(1, BATCH_PIXELS // (height * width))
    for start in range(0, len(boxes), few):
        yield cut(image, boxes[start : start + few])


def merge(tiles: Tensor, boxes: Boxes, size: tuple[int, int], margin: int = 0) -> Tensor:
    """Blend tiles into one map.

    A tile weighs most in its middle, falls off towards its sides and says next to nothing within `margin` pixels of
    them, so that seams do not show. Where only one tile is, it counts alone.

    Args:
        tiles: (T, c, h, w), pixel by pixel those of `boxes`.
        boxes: of `tile_boxes`.
        size: height and width of the image.
        margin: pixels at a tile's sides without a value of their own.
    Returns:
        (c, H, W).
    """
    height, width = tiles.shape[-2:]
    weight = _window(height, margin, tiles)[:, None] * _window(width, margin, tiles)
    total = tiles.new_zeros(tiles.shape[1], *size)
    weights = tiles.new_zeros(size)
    for tile, (top, left, bottom, right) in zip(tiles, boxes):
        total[:, top:bottom, left:right] += tile * weight
        weights[top:bottom, left:right] += weight
    return total / weights


def _window(length: int, margin: int, like: Tensor) -> Tensor:
    """(length,) weights that rise from the margins to the middle."""
    place = torch.arange(length, device=like.device, dtype=like.dtype) + 0.5
    inside = torch.minimum(place, length - place) - margin
    return (inside / max(length / 2 - margin, 1)).clamp(min=LEAST_WEIGHT)
