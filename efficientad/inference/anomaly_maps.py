"""From the raw maps of a picture's tiles to what the detector returns. No networks, no config.

Letters: T tiles (one if the picture is taken whole), h x w cells of a raw map. `boxes` are the tiles in the network
input (see `tiling`), `size` is its height and width, `quantiles` (2, 2) are those of both maps (see `state`).
"""

from torch import Tensor

from efficientad.calibration_statistics import finish_map, maps_for_quantiles, normalise_map, resize_maps
from efficientad.inference.image_batches import Boxes, tile_size
from efficientad.inference.tiling import merge

PIXELS_PER_CELL = 4


def combined_map(
    raw: Tensor,
    quantiles: Tensor,
    compat: str,
    border: int,
    boxes: Boxes,
    size: tuple[int, int],
    output: tuple[int, int],
) -> Tensor:
    """Anomaly map (height, width) of `output`: the mean of both normalised maps.

    Args:
        raw: (T, 2, h, w).
        compat: order of border, enlargement and quantiles, see `calibration`.
        border: cells that a raw map lacks on each side.
    """
    tile = tile_size(boxes)
    values = maps_for_quantiles(raw, compat, border, tile)
    combined = finish_map(normalised(values, quantiles).mean(1, keepdim=True), compat, border)
    if len(boxes) > 1:
        combined = _merged(resize_maps(combined, tile), boxes, size, border)[None]
    if combined.shape[-2:] != output:
        combined = resize_maps(combined, output)
    return combined[0, 0]


def part_maps(raw: Tensor, quantiles: Tensor, border: int, boxes: Boxes, size: tuple[int, int]) -> Tensor:
    """Both normalised maps, (2, h, w), or (2, height, width) of `size` from several tiles."""
    parts = normalised(raw, quantiles)
    return parts[0] if len(boxes) == 1 else _merged(resize_maps(parts, tile_size(boxes)), boxes, size, border)


def normalised(raw: Tensor, quantiles: Tensor) -> Tensor:
    """Maps (T, 2, h, w) with 0 at the lower quantile and 0.1 at the higher one."""
    start, end = quantiles.T.reshape(2, 2, 1, 1)
    return normalise_map(raw, start, end)


def _merged(tiles: Tensor, boxes: Boxes, size: tuple[int, int], border: int) -> Tensor:
    return merge(tiles, boxes, size, margin=border * PIXELS_PER_CELL)
