"""Roadside protocol, for boxes on the ground: AP of 3D boxes and footprints, and errors of matches. Pure.

Boxes are those of the ground frame (`ground_frame.to_ground_frame`): upright on the plane, height along its normal, so
that overlaps mean what they say although the camera looks down. Matching and AP (40 recall points) are KITTI's.

Counted are truths of at most occlusion 2 and truncation 0.5 that have a 3D box; others are ignored, as is a detection
that lies on a truth with a 2D box only. Subsets, besides "all":

    "10-30m"        by range sqrt(x^2 + z^2) on the ground: truths of other ranges are ignored, and a detection that
                    matches nothing and claims another range is no false positive
    "occluded_0"    by visibility label: truths of other labels are ignored. Detections have no such label, so the
                    false positives are those of "all"

Errors are of the most confident detection on each counted truth by 2D IoU above 0.5.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from d2road.evaluation.metrics.ap_bootstrap import MatchTable
from d2road.evaluation.metrics.kitti_ap import (
    ABSENT,
    COUNTED,
    IGNORED,
    Pairs,
    best_score_matches,
    interpolated_ap,
    precision_curve,
)
from d2road.evaluation.metrics.kitti_objects import ObjectTable
from d2road.evaluation.metrics.kitti_overlaps import box_pairs, solid_pairs
from d2road.evaluation.metrics.kitti_protocol import Difficulty, truth_flags, without_flat
from d2road.structures.upright_boxes import wrap_angle

LIMITS = Difficulty("all", min_height_px=0, max_occluded=2, max_truncated=0.5)
OVERLAPS = (0.5, 0.25)
RANGES_M = ((10, 30), (30, 50), (50, 80))
OCCLUSIONS = (0, 1, 2)
MATCH_IOU = 0.5  # of 2D boxes, for errors


@dataclass(frozen=True)
class Subset:
    """Truths (G,) that count and detections (D,) that are no false positives if they match nothing."""

    counted: np.ndarray
    excused: np.ndarray


@dataclass(frozen=True)
class RoadsideOverlaps:
    """Pairs of truths and detections by 3D IoU, by IoU of footprints and by IoU of 2D boxes."""

    solid: Pairs
    footprint: Pairs
    image: Pairs

    @staticmethod
    def of(truth: ObjectTable, predictions: ObjectTable) -> "RoadsideOverlaps":
        """All pairs that overlap."""
        return RoadsideOverlaps(*solid_pairs(truth, predictions), box_pairs(truth, predictions))


def evaluate_roadside(
    truth: ObjectTable,
    predictions: ObjectTable,
    classes: Sequence[str],
    overlaps: Sequence[float] = OVERLAPS,
    ranges_m: Sequence[tuple[float, float]] = RANGES_M,
    limits: Difficulty = LIMITS,
    neighbors: Mapping[str, Sequence[str]] | None = None,
    pairs: RoadsideOverlaps | None = None,
) -> dict[str, dict[str, dict]]:
    """AP and errors of each class.

    Args:
        truth, predictions: boxes3d in the ground frame.
        classes: types, lower case.
        ranges_m: bins, each from its first value to below its second.
        limits: truths beyond are ignored.
        neighbors: class -> types that are ignored truths of it.
        pairs: `RoadsideOverlaps.of(truth, predictions)`, if it is known already.
    Returns:
        class -> "objects" -> subset -> number of counted truths;
        class -> "3d@0.5", "bev@0.5", ... -> subset -> AP R40 in percent, NaN without counted truths;
        class -> "errors" -> subset -> see `summary`.
    """
    pairs = pairs or RoadsideOverlaps.of(truth, predictions)
    results = {}
    for name in classes:
        near = (neighbors or {}).get(name, ())
        flags, judged = class_flags(truth, predictions, name, limits, near)
        flat = on_flat_truths(truth, predictions, pairs.image, name)
        subsets = subsets_of(truth, predictions, flags, flat, ranges_m)
        table: dict[str, dict] = {
            "objects": {key: int((s.counted & (flags == COUNTED)).sum()) for key, s in subsets.items()}
        }
        for metric, overlapping in (("3d", pairs.solid), ("bev", pairs.footprint)):
            for overlap in overlaps:
                table[f"{metric}@{overlap:g}"] = {
                    key: _average_precision(overlapping, overlap, truth, predictions, flags, judged, subset)
                    for key, subset in subsets.items()
                }
        errors = matched_errors(truth, predictions, pairs.image, flags, judged)
        table["errors"] = {key: summary(select(errors, key, ranges_m)) for key in subsets}
        results[name] = table
    return results


def class_flags(
    truth: ObjectTable, predictions: ObjectTable, name: str, limits: Difficulty = LIMITS, neighbors: Sequence[str] = ()
) -> tuple[np.ndarray, np.ndarray]:
    """(G,) and (D,) flags of `kitti_ap` for one class."""
    flags = without_flat(truth_flags(truth, name, neighbors, limits), truth)
    return flags, np.where(predictions.type == name, COUNTED, ABSENT)


def on_flat_truths(truth: ObjectTable, predictions: ObjectTable, image: Pairs, name: str) -> np.ndarray:
    """(D,) detections on a truth of the class that has a 2D box only: nobody knows whether they are right in 3D."""
    flags = np.zeros(len(predictions), dtype=bool)
    flat = (truth.type == name) & ~truth.has_3d
    flags[image.prediction[flat[image.truth] & (image.overlap > MATCH_IOU)]] = True
    return flags


def subsets_of(
    truth: ObjectTable,
    predictions: ObjectTable,
    flags: np.ndarray,
    flat: np.ndarray,
    ranges_m: Sequence[tuple[float, float]],
) -> dict[str, Subset]:
    """All subsets by name."""
    every = np.ones(len(flags), dtype=bool)
    subsets = {"all": Subset(every, flat)}
    for low, high in ranges_m:
        mine, theirs = (_within(objects.range_m, low, high) for objects in (truth, predictions))
        subsets[range_name(low, high)] = Subset(mine, flat | ~theirs)
    for level in OCCLUSIONS:
        subsets[f"occluded_{level}"] = Subset(truth.occluded == level, flat)
    return subsets


def range_name(low_m: float, high_m: float) -> str:
    """How results name a range."""
    return f"{low_m:g}-{high_m:g}m"


def _within(values: np.ndarray, low: float, high: float) -> np.ndarray:
    return (values >= low) & (values < high)


def _average_precision(
    pairs: Pairs,
    overlap: float,
    truth: ObjectTable,
    predictions: ObjectTable,
    flags: np.ndarray,
    judged: np.ndarray,
    subset: Subset,
) -> float:
    flags = np.where((flags == COUNTED) & ~subset.counted, IGNORED, flags)
    curve = precision_curve(pairs, overlap, predictions.scores, truth.frame, flags, judged, subset.excused)
    return interpolated_ap(curve.precision, curve.num_truth)["R40"]


def matched_errors(
    truth: ObjectTable, predictions: ObjectTable, image: Pairs, flags: np.ndarray, judged: np.ndarray
) -> dict[str, np.ndarray]:
    """A row for each counted truth that a detection matches in the image.

    Args:
        image: pairs by 2D IoU.
        flags, judged: of one class, from `class_flags`.
    Returns:
        (M,) columns: truth, prediction (indices), frame, score, range_m, occluded; depth (z' - z) / z; edges x1, y1,
        x2, y2 (predicted less true, over the height of the true box); h, w, l (relative errors); yaw_rad (wrapped).
    """
    judged = np.where((judged == COUNTED) & ~predictions.has_3d, ABSENT, judged)
    t, p = best_score_matches(image, MATCH_IOU, predictions.scores, truth.frame, flags, judged)
    keep = flags[t] == COUNTED
    t, p = t[keep], p[keep]
    actual, found = truth.boxes3d[t], predictions.boxes3d[p]
    edges = (predictions.boxes_xyxy[p] - truth.boxes_xyxy[t]) / np.maximum(truth.height_px[t], 1e-9)[:, None]
    sizes = found[:, 3:6] / actual[:, 3:6] - 1
    return {
        "truth": t,
        "prediction": p,
        "frame": truth.frame[t],
        "score": predictions.scores[p],
        "range_m": truth.range_m[t],
        "occluded": truth.occluded[t],
        "depth": (found[:, 2] - actual[:, 2]) / np.maximum(np.abs(actual[:, 2]), 1e-9),
        **dict(zip(("x1", "y1", "x2", "y2"), edges.T)),
        **dict(zip(("h", "w", "l"), sizes.T)),
        "yaw_rad": wrap_angle(found[:, 6] - actual[:, 6]),
    }


def select(
    errors: Mapping[str, np.ndarray], subset: str, ranges_m: Sequence[tuple[float, float]] = RANGES_M
) -> dict[str, np.ndarray]:
    """The rows of `matched_errors` that are of a subset."""
    keep = np.ones(len(errors["truth"]), dtype=bool)
    for low, high in ranges_m:
        if subset == range_name(low, high):
            keep = _within(errors["range_m"], low, high)
    for level in OCCLUSIONS:
        if subset == f"occluded_{level}":
            keep = errors["occluded"] == level
    return {key: column[keep] for key, column in errors.items()}


def summary(errors: Mapping[str, np.ndarray]) -> dict[str, float]:
    """Figures of `matched_errors`, in percent where they are relative; NaN without matches.

    "matched"; "depth_median", "depth_p90" of the absolute error and "depth_signed_p10", "_median", "_p90"; medians
    "edge_x1" ... of the absolute error over the box's height; medians "size_h" ... of the absolute error; "yaw_median"
    and "yaw_p90" in degrees, and "yaw_reversed", the share that is more than 90 degrees off.
    """
    depth, yaw = 100 * errors["depth"], np.degrees(np.abs(errors["yaw_rad"]))
    figures = {
        "matched": len(depth),
        "depth_median": _percentile(np.abs(depth), 50),
        "depth_p90": _percentile(np.abs(depth), 90),
        **{f"depth_signed_{key}": _percentile(depth, q) for key, q in (("p10", 10), ("median", 50), ("p90", 90))},
        **{f"edge_{key}": _percentile(100 * np.abs(errors[key]), 50) for key in ("x1", "y1", "x2", "y2")},
        **{f"size_{key}": _percentile(100 * np.abs(errors[key]), 50) for key in ("h", "w", "l")},
        "yaw_median": _percentile(yaw, 50),
        "yaw_p90": _percentile(yaw, 90),
        "yaw_reversed": 100 * float((yaw > 90).mean()) if len(yaw) else float("nan"),
    }
    return figures


def _percentile(values: np.ndarray, q: float) -> float:
    return float(np.percentile(values, q)) if len(values) else float("nan")


def match_tables(
    truth: ObjectTable,
    predictions: ObjectTable,
    num_frames: int,
    classes: Sequence[str],
    overlaps: Sequence[float] = OVERLAPS,
    limits: Difficulty = LIMITS,
    neighbors: Mapping[str, Sequence[str]] | None = None,
    pairs: RoadsideOverlaps | None = None,
) -> dict[str, MatchTable]:
    """What `ap_bootstrap.paired_bootstrap` needs: "car 3d@0.5" -> detections, best score first, and counted truths.

    Each truth takes the most confident detection that overlaps it enough, whatever the threshold, so that AP of a
    table (at `bootstrap.KITTI_RECALL_POINTS`) differs a little from that of `evaluate_roadside`; it is not capped
    where there are fewer than 41 truths.
    """
    pairs = pairs or RoadsideOverlaps.of(truth, predictions)
    tables = {}
    for metric, overlapping in (("3d", pairs.solid), ("bev", pairs.footprint)):
        for name in classes:
            flags, judged = class_flags(truth, predictions, name, limits, (neighbors or {}).get(name, ()))
            excused = on_flat_truths(truth, predictions, pairs.image, name)
            objects = np.bincount(truth.frame[flags == COUNTED], minlength=num_frames)
            for overlap in overlaps:
                t, p = best_score_matches(overlapping, overlap, predictions.scores, truth.frame, flags, judged)
                hit, spared = np.zeros(len(predictions), dtype=bool), excused.copy()
                hit[p[flags[t] == COUNTED]] = True
                spared[p[flags[t] != COUNTED]] = True
                rows = np.flatnonzero((judged == COUNTED) & (hit | ~spared))
                rows = rows[np.argsort(-predictions.scores[rows], kind="stable")]
                tables[f"{name} {metric}@{overlap:g}"] = MatchTable(predictions.frame[rows], hit[rows], objects)
    return tables
