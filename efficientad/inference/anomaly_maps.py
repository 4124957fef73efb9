"""Anomaly maps from raw ones: normalised by the quantiles of good images, of all tiles together. No config.

Letters: T tiles (one if the image is taken whole), h x w cells of a raw map. `quantiles` (2, 2) are those of both maps,
see `calibration_state`; `border` are the cells that a raw map lacks on each side.
"""

from dataclasses import dataclass

from torch import Tensor

from efficientad.calibration_statistics import finish_map, maps_for_quantiles, normalise_map, resize_maps
from efficientad.inference.raw_maps import RawMaps
from efficientad.inference.tiling import merge, tile_size

PIXELS_PER_CELL = 4


@dataclass(frozen=True)
class NormalisedMaps:
    """The maps of one image, 0 at the lower quantile of good images and 0.1 at the higher one.

    Attributes:
        anomaly_map: (height, width), the mean of both.
        parts: (2, h, w), student-teacher and autoencoder map; of several tiles at the size of the network input.
    """

    anomaly_map: Tensor
    parts: Tensor


def combined_map(raw: RawMaps, quantiles: Tensor, compat: str, border: int, output: tuple[int, int]) -> Tensor:
    """Anomaly map (height, width) of `output`: the mean of both normalised maps.

    Args:
        compat: order of border, enlargement and quantiles, see `calibration_statistics`.
    """
    tile = tile_size(raw.boxes)
    values = maps_for_quantiles(raw.tiles, compat, tile)
    combined = finish_map(normalised(values, quantiles).mean(1, keepdim=True), compat, border)
    if len(raw.boxes) > 1:
        combined = _merged(resize_maps(combined, tile), raw, border)[None]
    if combined.shape[-2:] != output:
        combined = resize_maps(combined, output)
    return combined[0, 0]


def part_maps(raw: RawMaps, quantiles: Tensor, border: int) -> Tensor:
    """Both normalised maps, (2, h, w), or (2, height, width) of the network input from several tiles."""
    parts = normalised(raw.tiles, quantiles)
    return parts[0] if len(raw.boxes) == 1 else _merged(resize_maps(parts, tile_size(raw.boxes)), raw, border)


def normalised(maps: Tensor, quantiles: Tensor) -> Tensor:
    """Maps (T, 2, h, w) with 0 at the lower quantile and 0.1 at the higher one."""
    start, end = quantiles.T.reshape(2, 2, 1, 1)
    return normalise_map(maps, start, end)


def _merged(tiles: Tensor, raw: RawMaps, border: int) -> Tensor:
    return merge(tiles, raw.boxes, raw.size, margin=border * PIXELS_PER_CELL)
