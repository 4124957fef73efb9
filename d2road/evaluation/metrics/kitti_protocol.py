"""KITTI's object protocol on columns of labels and predictions: AP of 2D boxes, orientation, footprints and 3D boxes.

Overlaps are computed once, for all frames together; matching and curves come from `kitti_ap`. On 3,769 frames with 20
objects and 50 detections each this is about 25 times as fast as a loop over frames (docs/benchmarks.md has the
command).
Source: Geiger et al., Are we ready for autonomous driving?, CVPR 2012, and the behaviour of the published C++ program
(41 recall points). Differs: 0 true of 0 judged detections is precision 0; a class without counted objects is NaN.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from d2road.evaluation.metrics.kitti_ap import ABSENT, COUNTED, IGNORED, Pairs, interpolated_ap, precision_curve
from d2road.evaluation.metrics.kitti_objects import DONT_CARE, ObjectTable
from d2road.evaluation.metrics.kitti_overlaps import box_pairs, covered_pairs, solid_pairs

logger = logging.getLogger(__name__)

CLASSES = ("car", "pedestrian", "cyclist")
MIN_OVERLAPS = {"car": 0.7, "pedestrian": 0.5, "cyclist": 0.5}
OTHER_MIN_OVERLAP = 0.5
NEIGHBORS = {"car": ("van",), "pedestrian": ("person_sitting",)}
METRICS = ("bbox", "aos", "bev", "3d")
FEW = 41  # with fewer objects even a perfect detector has no 41 thresholds, so its AP is below 100
UNKNOWN_ALPHA = -10


@dataclass(frozen=True)
class Difficulty:
    """Truths beyond a limit are ignored; so are detections that are less high than `min_height_px`."""

    name: str
    min_height_px: float
    max_occluded: float
    max_truncated: float


DIFFICULTIES = (
    Difficulty("easy", 40, 0, 0.15),
    Difficulty("moderate", 25, 1, 0.30),
    Difficulty("hard", 25, 2, 0.50),
)


def evaluate_kitti(
    truth: ObjectTable,
    predictions: ObjectTable,
    classes: Sequence[str] = CLASSES,
    min_overlaps: Mapping[str, float] | None = None,
    extra_overlaps: Mapping[str, Sequence[float]] | None = None,
    neighbors: Mapping[str, Sequence[str]] = NEIGHBORS,
) -> dict[str, dict[str, dict[str, list[float]]]]:
    """AP in percent of every class, metric and difficulty.

    Args:
        classes: evaluated types, any case.
        min_overlaps: IoU above which a match counts, by class; default KITTI's, 0.5 for classes that KITTI lacks.
        extra_overlaps: further ones, by class; their metrics are named as "3d@0.5".
        neighbors: class -> types that are ignored truths of it.
        Truths without a 3D box are ignored in bev and 3d.
    Returns:
        class -> metric ("bbox", "aos", "bev", "3d", and those at extra overlaps) -> "R40" and "R11" -> values for
        easy, moderate and hard. NaN: no counted objects; aos where a detection's alpha is -10; bev and 3d where there
        are detections but none has a 3D box.
    """
    overlaps = KittiOverlaps.of(truth, predictions)
    results = {}
    for name in (c.lower() for c in classes):
        official = (min_overlaps or {}).get(name, MIN_OVERLAPS.get(name, OTHER_MIN_OVERLAP))
        results[name] = _evaluate_class(overlaps, name, official, neighbors.get(name, ()))
        for value in (extra_overlaps or {}).get(name, ()):
            extra = _evaluate_class(overlaps, name, value, neighbors.get(name, ()))
            results[name].update({f"{metric}@{value:g}": ap for metric, ap in extra.items()})
    warn_of_few(truth, classes)
    return results


@dataclass(frozen=True)
class KittiOverlaps:
    """All pairs of all frames, in the image and in space."""

    truth: ObjectTable
    predictions: ObjectTable
    pairs: dict[str, Pairs]
    care_pairs: Pairs  # of regions and predictions, by the part of the prediction that is covered

    @classmethod
    def of(cls, truth: ObjectTable, predictions: ObjectTable) -> "KittiOverlaps":
        solid, footprint = solid_pairs(truth, predictions)
        pairs = {"bbox": box_pairs(truth, predictions), "bev": footprint, "3d": solid}
        return cls(truth, predictions, pairs, covered_pairs(truth[truth.type == DONT_CARE], predictions))

    def excused(self, min_overlap: float) -> np.ndarray:
        """(D,) predictions that lie in a DontCare region by more than `min_overlap` of their area."""
        flags = np.zeros(len(self.predictions), dtype=bool)
        flags[self.care_pairs.prediction[self.care_pairs.overlap > min_overlap]] = True
        return flags


def truth_flags(truth: ObjectTable, name: str, neighbors: Sequence[str], difficulty: Difficulty) -> np.ndarray:
    """(G,) flags of truths for one class."""
    ignored = (
        (truth.occluded > difficulty.max_occluded)
        | (truth.truncated > difficulty.max_truncated)
        | (truth.height_px <= difficulty.min_height_px)
    )
    same, near = truth.type == name, np.isin(truth.type, [n.lower() for n in neighbors])
    return np.where(same & ~ignored, COUNTED, np.where(same | near, IGNORED, ABSENT))


def without_flat(flags: np.ndarray, truth: ObjectTable) -> np.ndarray:
    """(G,) the flags for measures in 3D: truths without a 3D box cannot be found there and are ignored."""
    return np.where((flags == COUNTED) & ~truth.has_3d, IGNORED, flags)


def prediction_flags(predictions: ObjectTable, name: str, difficulty: Difficulty) -> np.ndarray:
    """(D,) flags of predictions for one class: small ones of every class are ignored, as the published program does."""
    small = np.abs(predictions.height_px) < difficulty.min_height_px
    return np.where(small, IGNORED, np.where(predictions.type == name, COUNTED, ABSENT))


def _evaluate_class(overlaps: KittiOverlaps, name: str, min_overlap: float, neighbors: Sequence[str]) -> dict:
    truth, predictions = overlaps.truth, overlaps.predictions
    points: dict[str, dict[str, list[float]]] = {metric: {"R40": [], "R11": []} for metric in METRICS}
    alike = _orientation_similarity(overlaps)
    no_boxes = len(predictions) > 0 and not predictions.has_3d.any()
    for difficulty in DIFFICULTIES:
        flags = truth_flags(truth, name, neighbors, difficulty), prediction_flags(predictions, name, difficulty)
        for metric in ("bbox", "bev", "3d"):
            image = metric == "bbox"
            truth_flag = flags[0] if image else without_flat(flags[0], truth)
            curve = precision_curve(
                overlaps.pairs[metric],
                min_overlap,
                predictions.scores,
                truth.frame,
                truth_flag,
                flags[1],
                excused=overlaps.excused(min_overlap) if image else None,
                similarity=alike if image else None,
            )
            precision = None if no_boxes and not image else curve.precision
            parts = {metric: precision, **({"aos": curve.similarity} if image else {})}
            for key, values in parts.items():
                for recall, ap in interpolated_ap(values, curve.num_truth).items():
                    points[key][recall].append(ap)
    return points


def _orientation_similarity(overlaps: KittiOverlaps) -> np.ndarray | None:
    """(P,) of the 2D pairs, or None if a prediction lacks alpha."""
    if (overlaps.predictions.alpha == UNKNOWN_ALPHA).any():
        return None
    pairs = overlaps.pairs["bbox"]
    turn = overlaps.truth.alpha[pairs.truth] - overlaps.predictions.alpha[pairs.prediction]
    return (1 + np.cos(turn)) / 2


def warn_of_few(truth: ObjectTable, classes: Sequence[str]) -> None:
    """Say which classes have too few objects for AP values that can be compared."""
    few = []
    for name in (c.lower() for c in classes):
        counts = {d.name: int((truth_flags(truth, name, (), d) == COUNTED).sum()) for d in DIFFICULTIES}
        few += [f"{name} {level} {n}" for level, n in counts.items() if n < FEW]
    if few:
        logger.warning(
            "fewer than %d objects: even a perfect detector has an AP below 100 there (%s)", FEW, ", ".join(few)
        )
