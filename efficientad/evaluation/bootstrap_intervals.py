"""Bootstrap confidence intervals of the metrics of a test set, over its images.

Images are drawn with replacement, good ones and each type of anomaly by themselves, so that every draw has as many of
each as the test set. Pixels of an image stay together: they are not independent.

Letters: I images, K thresholds, R draws.
"""

from collections.abc import Sequence

import numpy as np

from d2road.utils.bootstrap import draw_weights, map_arrays, paired_intervals, percentile_interval
from d2road.utils.errors import DataError
from efficientad.evaluation.anomaly_protocol import AUPRO_LIMITS, MEAN, anomaly_kinds, check_images, limit_name
from efficientad.evaluation.image_scores import GOOD, ImageScores
from efficientad.evaluation.ranking_metrics import histogram_areas, histogram_f1_max
from efficientad.evaluation.spro import MAX_FPRS
from efficientad.evaluation.weighted_scores import WeightedScores, pool

# False-positive rates at which thresholds are set: fine at the top, where the limits are.
RATES = np.concatenate([np.geomspace(1e-5, 0.1, 900, endpoint=False), np.linspace(0.1, 1, 900)])


def bootstrap(
    images: Sequence[ImageScores], spro: bool = False, draws: int = 1000, seed: int = 0, level: float = 0.95
) -> dict:
    """Percentile intervals of what `anomaly_protocol.evaluate` returns.

    Returns:
        the same keys with [low, high] for each number; without the keys of a threshold, which is no part of the test.
    Raises:
        ValueError: as `evaluate`, or fewer than 2 draws.
    """
    return map_arrays(draw_metrics(images, spro, draws, seed), lambda values: percentile_interval(values, level))


def paired_bootstrap(
    a: Sequence[ImageScores],
    b: Sequence[ImageScores],
    spro: bool = False,
    draws: int = 1000,
    seed: int = 0,
    level: float = 0.95,
) -> dict:
    """Percentile intervals of the differences b - a of two models on the same images, drawn alike for both.

    Raises:
        ValueError: the names or types of the images differ, or as `bootstrap`.
    """
    if {(i.name, i.kind) for i in a} != {(i.name, i.kind) for i in b}:
        raise DataError("paired_bootstrap needs both models' maps of the same images")
    first, second = (draw_metrics(images, spro, draws, seed) for images in (a, b))
    return paired_intervals(first, second, level)


def draw_metrics(images: Sequence[ImageScores], spro: bool, draws: int, seed: int) -> dict:
    """Every metric (R,) over the draws; metrics of pixels at `RATES` thresholds, right to about 1e-3.

    Raises:
        ValueError: as `bootstrap`.
    """
    pixels = check_images(images)
    if draws < 2:
        raise DataError(f"an interval from {draws} draws; expected at least 2, better 1000")
    images = sorted(images, key=lambda image: image.name)  # equal draws for every model
    kinds = anomaly_kinds(images)
    weights = draw_weights([image.kind for image in images], draws, seed)
    results = image_draws(images, kinds, weights)
    if spro:
        results["image_auroc_by_type"][MEAN] = _mean(list(results["image_auroc_by_type"].values()), draws)
    nothing = np.full(draws, np.nan)
    results.update(dict.fromkeys(("pixel_auroc", *AUPRO_LIMITS, "pixel_f1_max"), nothing), auspro=None)
    if pixels:
        results.update(pixel_draws(images, kinds if spro else None, weights))
    return results


def image_draws(images: Sequence[ImageScores], kinds: Sequence[str], weights: np.ndarray) -> dict:
    """Draws of the metrics of images."""
    _, column = np.unique([-image.score for image in images], return_inverse=True)
    table = np.zeros((len(images), column.max() + 1))
    table[np.arange(len(images)), column] = 1  # (I, K), highest score first
    of_kind = np.array([image.kind for image in images])
    histogram = {kind: weights[:, of_kind == kind] @ table[of_kind == kind] for kind in (GOOD, *kinds)}
    anomalous = weights[:, of_kind != GOOD] @ table[of_kind != GOOD]
    return {
        "image_auroc": histogram_areas(histogram[GOOD], anomalous),
        "image_auroc_by_type": {kind: histogram_areas(histogram[GOOD], histogram[kind]) for kind in kinds},
        "f1_max": histogram_f1_max(histogram[GOOD], anomalous),
    }


def pixel_draws(images: Sequence[ImageScores], kinds: Sequence[str] | None, weights: np.ndarray) -> dict:
    """Draws of the metrics of pixels, with sPRO for `kinds`."""
    edges = thresholds([image.negatives for image in images])
    drawn = {
        part: weights @ np.stack([histogram(getattr(image, part), edges) for image in images])
        for part in ("negatives", "positives", "regions")
    }
    results = {
        "pixel_auroc": histogram_areas(drawn["negatives"], drawn["positives"]),
        **{n: histogram_areas(drawn["negatives"], drawn["regions"], limit) for n, limit in AUPRO_LIMITS.items()},
        "pixel_f1_max": histogram_f1_max(drawn["negatives"], drawn["positives"]),
    }
    if kinds is None:
        return results
    areas: dict[str, dict[str, np.ndarray]] = {}
    for kind in kinds:
        of_kind = [i for i, image in enumerate(images) if image.kind in (GOOD, kind)]
        members, chosen = [images[i] for i in of_kind], weights[:, of_kind]
        edges = thresholds([image.negatives for image in members])
        negatives, defects = (
            chosen @ np.stack([histogram(getattr(image, part), edges) for image in members])
            for part in ("negatives", "defects")
        )
        areas[kind] = {limit_name(limit): histogram_areas(negatives, defects, limit) for limit in MAX_FPRS}
    mean = {limit_name(m): _mean([areas[kind][limit_name(m)] for kind in kinds], len(weights)) for m in MAX_FPRS}
    return {**results, "auspro": {**areas, MEAN: mean}}


def thresholds(negatives: Sequence[WeightedScores]) -> np.ndarray:
    """Scores (K - 1,), increasing, at which the false-positive rate of all together takes the values of `RATES`."""
    weighted = pool(negatives).ascending()
    if not len(weighted):
        return weighted.scores
    weights = np.ones(len(weighted)) if weighted.weights is None else weighted.weights
    below = np.cumsum(weights) / weights.sum()
    position = np.searchsorted(below, 1 - RATES, side="left")
    return np.unique(weighted.scores[np.minimum(position, len(weighted) - 1)])


def histogram(weighted: WeightedScores, edges: np.ndarray) -> np.ndarray:
    """Weight of the scores between thresholds, the highest first: (K,)."""
    place = np.searchsorted(edges, weighted.scores, side="right")
    return np.bincount(place, weighted.weights, minlength=len(edges) + 1)[::-1]


def _mean(values: Sequence[np.ndarray], draws: int) -> np.ndarray:
    return np.mean(values, axis=0) if len(values) else np.full(draws, np.nan)
