"""Figures of 3D errors over range: depth, size and heading of boxes that were found. Pure.

Errors are of the most confident box on each labelled object by 2D IoU above 0.5 (see `metrics.roadside_protocol`), so
that an object that was placed wrongly counts as found and its error is seen.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from d2road.evaluation.metrics.kitti_ap import COUNTED, Pairs
from d2road.evaluation.metrics.kitti_objects import ObjectTable
from d2road.evaluation.metrics.kitti_overlaps import box_pairs
from d2road.evaluation.metrics.roadside_protocol import class_flags, matched_errors
from d2road.visualization.figure_data import Figure, Lines, Panels, Series

BIN_M = 10.0
MOST_CLASSES = 4
FEWEST = 3  # matches of a bin that is drawn
RANGE = "range over the ground (m)"
SHARE = (-3.0, 103.0)  # percent
MATCHED = "2D IoU above 0.5"


@dataclass(frozen=True)
class BoxErrors:
    """Errors of N matched boxes, predicted less labelled.

    Args:
        range_m: (N,) of the labels.
        depth_m: (N,).
        sizes: (N, 3) of height, width, length, relative to the label's.
        yaw_rad: (N,) wrapped.
    """

    range_m: np.ndarray
    depth_m: np.ndarray
    sizes: np.ndarray
    yaw_rad: np.ndarray


def table_errors(columns: Mapping[str, np.ndarray], truth: ObjectTable) -> BoxErrors:
    """The errors of `roadside_protocol.matched_errors`."""
    depth = np.asarray(columns["depth"]) * np.abs(truth.boxes3d[columns["truth"], 2])
    sizes = np.stack([columns[key] for key in ("h", "w", "l")], axis=1)
    return BoxErrors(columns["range_m"], depth, sizes, columns["yaw_rad"])


def object_range_figures(
    truth: ObjectTable, predictions: ObjectTable, classes: Sequence[str], pairs: Pairs | None = None
) -> dict[str, Figure]:
    """Errors over range of each class.

    Args:
        truth, predictions: boxes3d in one frame.
        classes: types, lower case.
        pairs: by 2D IoU, if they are known.
    """
    pairs = box_pairs(truth, predictions) if pairs is None else pairs
    by_class = {}
    for name in classes:
        flags, judged = class_flags(truth, predictions, name)
        if (flags == COUNTED).any():
            by_class[name] = table_errors(matched_errors(truth, predictions, pairs, flags, judged), truth)
    return range_figures(by_class)


def range_figures(
    by_class: Mapping[str, BoxErrors], matched: str = MATCHED, distance: str = RANGE
) -> dict[str, Figure]:
    """A figure for each of the classes with the most matches, "errors_CLASS".

    Args:
        matched: says when a box is one. distance: says what `range_m` is.
    """
    most = sorted(by_class, key=lambda name: -len(by_class[name].range_m))[:MOST_CLASSES]
    figures: dict[str, Figure] = {}
    for name in most:
        if len(by_class[name].range_m) >= FEWEST:
            figures["errors_" + re.sub(r"\W", "_", name)] = range_figure(name, by_class[name], matched, distance)
    return figures


def range_figure(name: str, errors: BoxErrors, matched: str = MATCHED, distance: str = RANGE) -> Panels:
    """Depth, size and heading of one class, and the number of matches, in bins of 10 m; see `range_figures`."""
    bins = range_bins(errors.range_m)
    at = [float(np.mean(errors.range_m[rows])) for rows in bins]
    yaw = np.degrees(np.abs(errors.yaw_rad))
    sizes = 100 * np.abs(errors.sizes)
    turned = [100 * float((yaw[rows] > 90).mean()) for rows in bins]
    panels = [
        Lines("Depth, predicted less labelled: median, 10 to 90 %", distance, "m",
              [_banded("depth", at, errors.depth_m, bins)], points=True),
        Lines("Size: median of the absolute error", distance, "%",
              [_median(side, at, sizes[:, i], bins) for i, side in enumerate(("height", "width", "length"))],
              points=True),
        Lines("Heading, front and rear not told apart, absolute error: median, 10 to 90 %", distance, "degrees",
              [_banded("heading", at, np.minimum(yaw, 180 - yaw), bins)], points=True),
        Lines("Heading more than 90 degrees off", distance, "%",
              [Series("reversed", at, turned)], y_range=SHARE, points=True),
        Lines("Boxes", distance, "count", [Series("boxes", at, [len(rows) for rows in bins])], points=True),
    ]  # fmt: skip
    return Panels(f"{name}: errors over range of {len(errors.range_m)} boxes found ({matched})", panels)


def range_bins(range_m: np.ndarray) -> list[np.ndarray]:
    """Rows of each bin of 10 m that holds enough of them, by rising range."""
    place = np.floor(np.asarray(range_m) / BIN_M).astype(int)
    bins = [np.flatnonzero(place == b) for b in np.unique(place)]
    return [rows for rows in bins if len(rows) >= FEWEST]


def _median(name: str, at: Sequence[float], values: np.ndarray, bins: Sequence[np.ndarray]) -> Series:
    return Series(name, at, [float(np.median(values[rows])) for rows in bins])


def _banded(name: str, at: Sequence[float], values: np.ndarray, bins: Sequence[np.ndarray]) -> Series:
    low, middle, high = ([float(np.percentile(values[rows], q)) for rows in bins] for q in (10, 50, 90))
    return Series(name, at, middle, low, high)
