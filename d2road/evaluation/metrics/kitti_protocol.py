"""KITTI's object protocol on columns of labels and predictions: AP of 2D boxes, orientation, footprints and 3D boxes.

Overlaps are computed once, for all frames together; matching and curves come from `kitti_ap`. On 3,769 frames with 20
objects and 50 detections each this is about 25 times as fast as a loop over frames (docs/benchmarks.md has the
command).
Source: Geiger et al., Are we ready for autonomous driving?, CVPR 2012, and the behaviour of the published C++ program
(41 recall points). Differs: 0 true of 0 judged detections is precision 0; a class without counted objects is NaN.
"""

import logging
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from d2road.evaluation.metrics.kitti_ap import ABSENT, COUNTED, IGNORED, Pairs, interpolated_ap, precision_curve
from d2road.evaluation.metrics.kitti_objects import DONT_CARE, ObjectTable
from d2road.evaluation.metrics.kitti_overlaps import box_pairs, covered_pairs, solid_pairs
from d2road.utils.errors import DataError

logger = logging.getLogger(__name__)

CLASSES = ("car", "pedestrian", "cyclist")
MIN_OVERLAPS = {"car": 0.7, "pedestrian": 0.5, "cyclist": 0.5}
OTHER_MIN_OVERLAP = 0.5
NEIGHBORS = {"car": ("van",), "pedestrian": ("person_sitting",)}
METRICS = ("bbox", "aos", "bev", "3d")
FEW = 41  # with fewer objects even a perfect detector has no 41 thresholds, so its AP is below 100
UNKNOWN_ALPHA = -10
LISTED_TYPES = 8


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
        easy, moderate and hard. NaN: no counted objects; aos where the alpha of any detection, or of a counted truth,
        is -10; what no detection of a class that has some states: bev and 3d without 3D boxes, all of it without 2D
        boxes.
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
    _warn_of_unknown(truth, predictions, classes)
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
    stated = _stated_metrics(predictions, name)
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
            parts: dict[str, np.ndarray | None] = {metric: curve.precision}
            if image:
                no_alpha = (truth.alpha[flags[0] == COUNTED] == UNKNOWN_ALPHA).any()
                parts["aos"] = None if no_alpha else curve.similarity
            for key, values in parts.items():
                for recall, ap in interpolated_ap(values if key in stated else None, curve.num_truth).items():
                    points[key][recall].append(ap)
    return points


def _stated_metrics(predictions: ObjectTable, name: str) -> set[str]:
    """The metrics that the detections of a class have values for, by the published program's flags for each class.

    A class without any detection is judged by those of the others: it found nothing, which is 0.
    """
    mine = predictions[predictions.type == name]
    mine = mine if len(mine) else predictions
    if not len(mine):
        return set(METRICS)
    if not (mine.height_px > 0).any():  # in every metric the height in the image decides what counts
        return set()
    return set(METRICS) if mine.has_3d.any() else {"bbox", "aos"}


def _orientation_similarity(overlaps: KittiOverlaps) -> np.ndarray | None:
    """(P,) of the 2D pairs, or None if a prediction lacks alpha."""
    if (overlaps.predictions.alpha == UNKNOWN_ALPHA).any():
        return None
    pairs = overlaps.pairs["bbox"]
    turn = overlaps.truth.alpha[pairs.truth] - overlaps.predictions.alpha[pairs.prediction]
    return (1 + np.cos(turn)) / 2


def warn_of_few(truth: ObjectTable, classes: Sequence[str]) -> None:
    """Say which classes have too few objects for AP values that can be compared, and the best that can be reached."""
    few = []
    for name in (c.lower() for c in classes):
        counts = {d.name: int((truth_flags(truth, name, (), d) == COUNTED).sum()) for d in DIFFICULTIES}
        for level, n in counts.items():
            if n < FEW:
                # n objects give n thresholds, and the points of recall beyond them count 0.
                best = f" (at most {100 * (n - 1) / (FEW - 1):.2f})" if n else ""
                few.append(f"{name} {level} {n}{best}")
    if few:
        logger.warning(
            "fewer than %d objects: even a perfect detector, or the labels themselves as predictions, have an AP (R40) "
            "below 100 there (%s)", FEW, ", ".join(few),
        )  # fmt: skip


def _warn_of_unknown(truth: ObjectTable, predictions: ObjectTable, classes: Sequence[str]) -> None:
    """Say how many objects lack what a measure needs, since nothing else tells a user why it is empty."""
    names = [c.lower() for c in classes]
    for what, objects in (("labels", truth), ("predictions", predictions)):
        mine = objects[np.isin(objects.type, names)]
        lacking = int((mine.height_px <= 0).sum())
        if lacking:
            logger.warning(
                "%d of %d %s have no 2D box (x1 y1 x2 y2): what counts goes by the height of the box in the image, so "
                "they count in no measure, 3D ones included; write the projected 3D box there",
                lacking, len(mine), what,
            )  # fmt: skip
        unknown = int((mine.alpha == UNKNOWN_ALPHA).sum())
        if unknown:
            logger.warning(
                "%d of %d %s have alpha %d (unknown): no orientation similarity (aos) can be given; alpha is "
                "rotation_y - atan2(x, z)", unknown, len(mine), what, UNKNOWN_ALPHA,
            )  # fmt: skip
    mine = truth[np.isin(truth.type, names)]
    unseen = int(((mine.occluded < 0) & (mine.truncated < 0)).sum())
    if unseen:
        logger.warning(
            "%d of %d labels have occluded and truncated -1 (unknown): they count as wholly visible, so easy, moderate "
            "and hard differ by height alone", unseen, len(mine),
        )  # fmt: skip


def check_types(truth: ObjectTable, predictions: ObjectTable, classes: Sequence[str], known: Iterable[str]) -> None:
    """Compare the types of two sets of files with each other and with the evaluated classes.

    Warns of predictions of types that no label has.

    Args:
        known: types that may be missing on either side, such as KITTI's own.
    Raises:
        DataError: of labels or predictions none is of an evaluated class, and some are of types that are not known.
    """
    evaluated, known = {c.lower() for c in classes}, {k.lower() for k in known}
    counts = {
        "labels": Counter(truth.type[truth.type != DONT_CARE].tolist()),
        "predictions": Counter(predictions.type.tolist()),
    }
    held = "; ".join(f"{what} are {_listed(count)}" for what, count in counts.items() if count)
    for what, count in counts.items():
        if count and not evaluated & set(count) and not set(count) <= known:
            raise DataError(
                f"none of the {count.total()} {what} is of an evaluated class ({', '.join(classes)}): {held}. Choose "
                "others by --classes, or rename the types in the files"
            )
    strange = Counter({k: n for k, n in counts["predictions"].items() if k not in {*counts["labels"], *known}})
    strange = Counter({k: n for k, n in strange.items() if k not in evaluated or counts["labels"]})
    if strange:
        logger.warning(
            "%d predictions are of types that no label has (%s) and find nothing; labels are %s",
            strange.total(), _listed(strange), _listed(counts["labels"]) or "none",
        )  # fmt: skip


def _listed(counts: Counter[str]) -> str:
    more = ["..."] if len(counts) > LISTED_TYPES else []
    return ", ".join([f"{kind!r} ({n})" for kind, n in counts.most_common(LISTED_TYPES)] + more)
