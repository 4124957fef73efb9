"""Rope3D's scores: similarities of matched objects, AP, and the Rope score made of both. Pure functions.

An object and a prediction of its class match if they are each other's best by 2D IoU, above 0.5; both must be higher
than 1 m and lie in front of the camera. Similarities (see rope_similarity.py) are averaged over matches, overall and by
the ground truth's range sqrt(x^2 + z^2) in (0, 30], (30, 60], (60, 90] and (90, 120] m. AP is that of KITTI's protocol
at moderate difficulty, 40 points, 3D IoU 0.5 and 0.7: of camera-upright boxes in mode "compat", as published tables
have it, and of boxes on the ground in mode "true".

    S = (ACS + AOS + AAS + AGS) / 4          Rope = (8 AP + 2 S) / 10, with both in percent

Units: similarities and S are fractions, as the published tool prints them; AP and Rope are percentages, as published
tables print them.
Source: Ye et al., Rope3D, CVPR 2022, and its evaluation tool (which gives no AP).
"""

from collections.abc import Mapping, Sequence

import numpy as np

from d2road.evaluation.metrics.ground_frame import ground_rotations, to_ground_frame
from d2road.evaluation.metrics.kitti_ap import interpolated_ap, precision_curve
from d2road.evaluation.metrics.kitti_objects import ObjectTable
from d2road.evaluation.metrics.kitti_overlaps import box_pairs, solid_pairs
from d2road.evaluation.metrics.kitti_protocol import DIFFICULTIES, prediction_flags, truth_flags, without_flat
from d2road.evaluation.metrics.rope_similarity import SIMILARITIES, level_rotations, mutual_best, similarities
from d2road.structures.camera import Camera

CLASSES = ("car", "big_vehicle", "cyclist", "pedestrian")
RANGES_M = ((0, 30), (30, 60), (60, 90), (90, 120))
MIN_HEIGHT_M = 1.0
AP_OVERLAPS = (0.5, 0.7)
MODERATE = next(d for d in DIFFICULTIES if d.name == "moderate")


def evaluate_rope(
    truth: ObjectTable,
    predictions: ObjectTable,
    cameras: Sequence[Camera],
    mode: str = "compat",
    classes: Sequence[str] = CLASSES,
    neighbors: Mapping[str, Sequence[str]] | None = None,
) -> dict:
    """All scores of each class.

    Args:
        truth, predictions, cameras, mode, classes: as in `rope_similarities`.
        neighbors: as in `moderate_ap`.
    Returns:
        as `rope_similarities`, and for each class `"AP": {"0.5": ..., "0.7": ...}` and `"Rope": {"0.5": ..., "0.7":
        ...}` in percent; None for the AP of a class without counted objects.
    """
    results = rope_similarities(truth, predictions, cameras, mode, classes)
    if mode == "true":
        rotations = ground_rotations(cameras)
        truth, predictions = (to_ground_frame(objects, rotations) for objects in (truth, predictions))
    for name, ap in moderate_ap(truth, predictions, classes, neighbors).items():
        results[name]["AP"] = ap
        results[name]["Rope"] = {overlap: rope_score(value, results[name]["S"]) for overlap, value in ap.items()}
    return results


def moderate_ap(
    truth: ObjectTable,
    predictions: ObjectTable,
    classes: Sequence[str] = CLASSES,
    neighbors: Mapping[str, Sequence[str]] | None = None,
) -> dict[str, dict[str, float | None]]:
    """AP of 3D boxes in percent, R40, moderate: `{class: {"0.5": ..., "0.7": ...}}`, None without counted objects.

    Boxes are upright about the y axis of their frame. Labels that have a 2D box only are ignored.

    Args:
        neighbors: class -> types that are ignored truths of it; Rope3D has none.
    """
    pairs = solid_pairs(truth, predictions)[0]
    results: dict[str, dict[str, float | None]] = {}
    for name in classes:
        flags = without_flat(truth_flags(truth, name, (neighbors or {}).get(name, ()), MODERATE), truth)
        judged = prediction_flags(predictions, name, MODERATE)
        results[name] = {}
        for overlap in AP_OVERLAPS:
            curve = precision_curve(pairs, overlap, predictions.scores, truth.frame, flags, judged)
            ap = interpolated_ap(curve.precision, curve.num_truth)["R40"]
            results[name][f"{overlap:g}"] = None if np.isnan(ap) else ap
    return results


def rope_similarities(
    truth: ObjectTable,
    predictions: ObjectTable,
    cameras: Sequence[Camera],
    mode: str = "compat",
    classes: Sequence[str] = CLASSES,
    min_iou: float = 0.5,
) -> dict:
    """The similarities of each class, overall and by range.

    Args:
        truth, predictions: with merged types; locations in the camera frame, ry about the ground's normal.
        cameras: of each frame, with ground plane.
        mode: "compat" or "true".
        min_iou: 2D IoU that a match must exceed.
    Returns:
        `{class: {"matched": n, "ACS": ..., "AOS": ..., "AAS": ..., "AGS": ..., "S": ..., "by_range": {"0-30":
        {...}}}}`; None without matches. `matched` counts those within 120 m; the overall similarities are of all in
        mode "compat".
    Raises:
        ValueError: unknown mode, or a camera without ground plane.
    """
    rotations = level_rotations(cameras, mode)
    results = {}
    for name in classes:
        actual, guessed = truth[_eligible(truth, name)], predictions[_eligible(predictions, name)]
        t, p = mutual_best(box_pairs(actual, guessed), min_iou)
        actual, guessed = actual[t], guessed[p]
        turns = rotations[actual.frame]
        values = similarities(actual.boxes3d, guessed.boxes3d, turns, name == "pedestrian", mode)
        results[name] = _table(values, actual.range_m, mode)
    return results


def _eligible(objects: ObjectTable, name: str) -> np.ndarray:
    """Indices of the objects of a class that take part: in 3D, above 1 m and in front of the camera."""
    boxes = objects.boxes3d
    return np.flatnonzero((objects.type == name) & objects.has_3d & (boxes[:, 3] > MIN_HEIGHT_M) & (boxes[:, 2] > 0))


def _table(values: dict[str, np.ndarray], ranges: np.ndarray, mode: str) -> dict:
    """Means of the similarities (M,) at ranges (M,), overall and by range."""
    near = (ranges > RANGES_M[0][0]) & (ranges <= RANGES_M[-1][1])
    counted = np.ones_like(near) if mode == "compat" else near
    return {
        "matched": int(near.sum()),
        **_means(values, counted),
        "by_range": {
            f"{low}-{high}": {"matched": int(bin_.sum()), **_means(values, bin_)}
            for low, high in RANGES_M
            for bin_ in [(ranges > low) & (ranges <= high)]
        },
    }


def _means(values: dict[str, np.ndarray], chosen: np.ndarray) -> dict[str, float | None]:
    if not chosen.any():
        return dict.fromkeys((*SIMILARITIES, "S"))
    means = {name: float(values[name][chosen].mean()) for name in SIMILARITIES}
    return {**means, "S": sum(means.values()) / len(means)}


def rope_score(ap_percent: float | None, similarity: float | None) -> float | None:
    """Rope score in percent: 8 parts AP (percent), 2 parts S (fraction); None if one is missing."""
    if ap_percent is None or similarity is None:
        return None
    return (8 * ap_percent + 2 * 100 * similarity) / 10
