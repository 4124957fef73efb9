"""Metrics of anomaly detection over a test set, from what each image contributes.

Letters: I images, K thresholds, R draws.
"""

import math
from collections.abc import Sequence

import numpy as np

from d2road.evaluation.metrics.roc import auroc
from d2road.utils.errors import DataError
from efficientad.evaluation.image_scores import GOOD, ImageScores
from efficientad.evaluation.mask_files import report_masks
from efficientad.evaluation.ranking_metrics import Ranking, curve_area, f1_above, f1_max
from efficientad.evaluation.spro import MAX_FPRS
from efficientad.evaluation.weighted_scores import WeightedScores, pool

AUPRO_LIMITS = {"aupro": 0.3, "aupro@0.05": 0.05}  # false-positive rates: MVTec AD's, and MVTec AD 2's
MEAN = "mean"


def evaluate(
    images: Sequence[ImageScores],
    spro: bool = False,
    threshold: float | None = None,
    map_threshold: float | None = None,
) -> dict:
    """All metrics, as fractions; NaN where the data has nothing to measure.

    Args:
        images: of the test set, in any order, names unique.
        spro: whether the images carry defects.
        threshold: from good images that are not in the test; a score above it calls an image anomalous.
        map_threshold: likewise; a value of a map above it calls a pixel anomalous. None is `threshold`, NaN that there
            is none.
    Returns:
        {"image_auroc": pooled, "image_auroc_by_type": {kind: against the good images, ("mean" with spro)},
         "pixel_auroc", "aupro": to a false-positive rate of 0.3, "aupro@0.05": to one of 0.05,
         "auspro": {kind: {"0.01": ..., ...}, "mean": {...}}, or None without spro,
         "f1_max": of images, "pixel_f1_max"}, and with a threshold "good_threshold", "f1_at_good_threshold" and
        "pixel_f1_at_good_threshold", NaN where there is no threshold of maps.
    Raises:
        DataError: no images, a name twice, masks of some anomalous images only, or inverted ones.
    """
    pixels = check_images(images)
    report_masks([mask for image in images for mask in image.masks])
    kinds = anomaly_kinds(images)
    scores = {kind: np.array([i.score for i in images if i.kind == kind]) for kind in (GOOD, *kinds)}
    by_type = {kind: auroc(scores[GOOD], scores[kind]) for kind in kinds}
    if spro:
        by_type[MEAN] = float(np.mean(list(by_type.values()))) if by_type else float("nan")
    anomalous = np.concatenate([scores[kind] for kind in kinds]) if kinds else np.zeros(0)
    good, bad = Ranking(WeightedScores(scores[GOOD])), Ranking(WeightedScores(anomalous))
    results = {
        "image_auroc": auroc(scores[GOOD], anomalous),
        "image_auroc_by_type": by_type,
        **dict.fromkeys(("pixel_auroc", *AUPRO_LIMITS), float("nan")),
        "auspro": area_spro(images, kinds) if spro and pixels else None,
        "f1_max": f1_max(good, bad)[0],
        "pixel_f1_max": float("nan"),
    }
    if threshold is not None:
        results["good_threshold"] = float(threshold)
        results["f1_at_good_threshold"] = f1_above(good, bad, threshold)
        results["pixel_f1_at_good_threshold"] = float("nan")
    if pixels:
        of_map = threshold if map_threshold is None else map_threshold
        results.update(pixel_metrics(images, None if of_map is None or math.isnan(of_map) else of_map))
    return results


def check_images(images: Sequence[ImageScores]) -> bool:
    """Whether pixels can be judged.

    Raises:
        ValueError: as `evaluate`.
    """
    if not images:
        raise DataError("no image to evaluate")
    names = [image.name for image in images]
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise DataError(f"{twice} was evaluated twice")
    without = [image.name for image in images if not image.has_pixels]
    anomalous = sum(image.anomalous for image in images)
    if without and len(without) < anomalous:
        raise DataError(
            f"{len(without)} of {anomalous} anomalous images have no mask, {without[0]} first: add their masks, or "
            "leave out all masks to have metrics of images only"
        )
    return not without


def anomaly_kinds(images: Sequence[ImageScores]) -> list[str]:
    """Types of anomalies, sorted."""
    return sorted({image.kind for image in images if image.anomalous})


def pixel_metrics(images: Sequence[ImageScores], threshold: float | None = None) -> dict[str, float]:
    """Metrics of pixels, over the pixels of all images."""
    negatives = Ranking(pool(image.negatives for image in images))
    positives = pool(image.positives for image in images)
    regions = pool(image.regions for image in images)
    results = {"pixel_auroc": curve_area(negatives, positives)}
    results.update({name: curve_area(negatives, regions, limit) for name, limit in AUPRO_LIMITS.items()})
    ranked = Ranking(positives)
    results["pixel_f1_max"] = f1_max(negatives, ranked)[0]
    if threshold is not None:
        results["pixel_f1_at_good_threshold"] = f1_above(negatives, ranked, threshold)
    return results


def area_spro(images: Sequence[ImageScores], kinds: Sequence[str]) -> dict[str, dict[str, float]]:
    """Area under sPRO by type and limit, and the mean over the types.

    False positives of a type are counted on its own images and the good ones, as the official program does.
    """
    areas = {}
    for kind in kinds:
        negatives = Ranking(pool(image.negatives for image in images if image.kind in (GOOD, kind)))
        defects = pool(image.defects for image in images if image.kind == kind)
        areas[kind] = {limit_name(limit): curve_area(negatives, defects, limit) for limit in MAX_FPRS}
    names = [limit_name(limit) for limit in MAX_FPRS]
    return {**areas, MEAN: {n: float(np.mean([areas[k][n] for k in kinds])) if kinds else float("nan") for n in names}}


def limit_name(limit: float) -> str:
    """A limit as a key: "0.01", "1.0"."""
    return str(float(limit))
