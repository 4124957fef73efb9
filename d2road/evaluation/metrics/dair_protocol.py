"""DAIR-V2X-I's protocol: KITTI's AP at IoU 0.5 for cars and 0.25 for pedestrians and cyclists, within a stated range.

The range decides much: published tables count objects up to 102 m or up to 140 m of the camera and differ by about 10
points for the same model. So the range is part of the name of every result. Objects beyond it count neither way, and
predictions beyond it are no false positives; one that matches an object within the range is a true positive.

Mode "compat" reads boxes as upright in the camera frame, as published tables do, although headings turn about the
ground's normal and the cameras look down. Mode "true" compares boxes as they stand on the ground.
Source: Yu et al., DAIR-V2X, CVPR 2022; Yang et al., BEVHeight, CVPR 2023 (its ranges).
"""

from collections.abc import Mapping, Sequence

import numpy as np

from d2road.evaluation.metrics.ground_frame import ground_rotations, to_ground_frame
from d2road.evaluation.metrics.kitti_ap import COUNTED, IGNORED, Pairs, interpolated_ap, precision_curve
from d2road.evaluation.metrics.kitti_objects import ObjectTable
from d2road.evaluation.metrics.kitti_overlaps import solid_pairs
from d2road.evaluation.metrics.kitti_protocol import (
    DIFFICULTIES,
    Difficulty,
    prediction_flags,
    truth_flags,
    warn_of_few,
)
from d2road.evaluation.metrics.rope_similarity import check_mode
from d2road.structures.camera import Camera

MIN_OVERLAPS = {"car": 0.5, "pedestrian": 0.25, "cyclist": 0.25}
MAX_RANGES_M = (102.0, 140.0)


def evaluate_dair(
    truth: ObjectTable,
    predictions: ObjectTable,
    cameras: Sequence[Camera],
    mode: str = "compat",
    max_ranges_m: Sequence[float] = MAX_RANGES_M,
    min_overlaps: Mapping[str, float] = MIN_OVERLAPS,
    neighbors: Mapping[str, Sequence[str]] | None = None,
) -> dict[str, dict[str, dict[str, dict[str, list[float]]]]]:
    """AP in percent of every range, class, metric and difficulty.

    Args:
        truth, predictions: with merged types; locations in the camera frame, ry about the ground's normal. Labels that
            have a 2D box only are ignored.
        cameras: of each frame, with ground plane; only mode "true" looks at them.
        mode: "compat" or "true".
        max_ranges_m: farthest sqrt(x^2 + z^2) in the camera frame that counts, in both modes.
        min_overlaps: class -> IoU above which a match counts.
        neighbors: class -> types that are ignored truths of it.
    Returns:
        "0-102m" -> class -> "3d" and "bev" -> "R40" and "R11" -> [easy, moderate, hard]; NaN without counted objects.
    Raises:
        ValueError: unknown mode; mode "true" and a camera without ground plane.
    """
    check_mode(mode)
    ranges = truth.range_m, predictions.range_m
    if mode == "true":
        rotations = ground_rotations(cameras)
        truth, predictions = (to_ground_frame(objects, rotations) for objects in (truth, predictions))
    pairs = dict(zip(("3d", "bev"), solid_pairs(truth, predictions)))
    results: dict[str, dict[str, dict[str, dict[str, list[float]]]]] = {range_name(limit): {} for limit in max_ranges_m}
    for limit in max_ranges_m:
        in_range = truth.has_3d & (ranges[0] <= limit)
        excused = ranges[1] > limit
        for name, overlap in min_overlaps.items():
            flags = [
                _flags(truth, predictions, name, (neighbors or {}).get(name, ()), difficulty, in_range)
                for difficulty in DIFFICULTIES
            ]
            results[range_name(limit)][name] = {
                metric: _average_precisions(truth, predictions, pairs[metric], overlap, flags, excused)
                for metric in pairs
            }
    warn_of_few(truth, list(min_overlaps))
    return results


def range_name(limit_m: float) -> str:
    """How results name the range up to `limit_m`."""
    return f"0-{limit_m:g}m"


def _flags(
    truth: ObjectTable,
    predictions: ObjectTable,
    name: str,
    neighbors: Sequence[str],
    difficulty: Difficulty,
    in_range: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """Flags (G,) and (D,) by KITTI's rules; truths that are not `in_range` (G,) are ignored."""
    flags = truth_flags(truth, name, neighbors, difficulty)
    flags = np.where((flags == COUNTED) & ~in_range, IGNORED, flags)
    return flags, prediction_flags(predictions, name, difficulty)


def _average_precisions(
    truth: ObjectTable,
    predictions: ObjectTable,
    pairs: Pairs,
    min_overlap: float,
    flags: Sequence[tuple[np.ndarray, np.ndarray]],
    excused: np.ndarray,
) -> dict[str, list[float]]:
    """R40 and R11 at each of the `flags`; `excused` (D,) bool."""
    values: dict[str, list[float]] = {"R40": [], "R11": []}
    for of_truth, of_predictions in flags:
        curve = precision_curve(pairs, min_overlap, predictions.scores, truth.frame, of_truth, of_predictions, excused)
        for recall, ap in interpolated_ap(curve.precision, curve.num_truth).items():
            values[recall].append(ap)
    return values
