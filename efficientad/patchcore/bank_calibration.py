"""Thresholds of a PatchCore model from the scores and maps of good images."""

import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from d2road.utils.errors import DataError
from efficientad.calibration_statistics import Quantiles
from efficientad.conformal import Guarantee
from efficientad.data.image_iteration import Entry, gathered, rows_of_all

logger = logging.getLogger(__name__)

MAP_START = 0.9  # quantile of the maps of good images where the colours of a heat map begin
# Of a threshold, so that a good image that lies on it does not cross it by the rounding of another batch size.
ROUNDING = 1e-4
# Relative distance of a vector of the bank to the image that it comes from, above which it does not come from there.
FOREIGN = 1e-2


@dataclass(frozen=True)
class Assessment:
    """What a bank says of an image.

    Attributes:
        score: (), of the image.
        distance: (), the largest distance of its features, before the score weighs it.
        anomaly_map: (height, width).
    """

    score: Tensor
    distance: Tensor
    anomaly_map: Tensor


@dataclass(frozen=True)
class GoodScores:
    """Of good images, in no order.

    Attributes:
        scores, distances: (I,) of the images.
        maxima: (I,) of their maps.
        map_start: the quantile MAP_START of the values of their maps.
    """

    scores: list[float]
    distances: list[float]
    maxima: list[float]
    map_start: float


def score_good_images(numbered: Iterable[tuple[Entry, int]], assess: Callable[[Entry, int], Assessment]) -> GoodScores:
    """Scores and maps of good images, the same in every process.

    Args:
        numbered: images and their numbers; of several processes each has its share.
        assess: an image and its number against a bank that does not hold it.
    Raises:
        DataError: no image, or maps that are not finite.
    """
    rows, values = [], Quantiles()
    for entry, number in numbered:
        found = assess(entry, number)
        values.update(found.anomaly_map)
        rows.append(torch.stack([found.score, found.distance, found.anomaly_map.max()]).float().cpu())
    table = rows_of_all(torch.stack(rows) if rows else torch.zeros(0, 3))  # (I, 3)
    (map_start,) = gathered(values).result([MAP_START])
    scores, distances, maxima = table.T.tolist()
    return GoodScores(scores, distances, maxima, map_start)


def with_rounding(threshold: float) -> float:
    """A threshold that a score which it was taken from does not cross by rounding."""
    return threshold + ROUNDING * abs(threshold)


def log_threshold(threshold: float, guarantee: Guarantee) -> None:
    """Say what a threshold promises."""
    logger.info("Calibrated on %d good images (%s): threshold %.6g", guarantee.n, guarantee.method, threshold)
    kept = guarantee.guaranteed_rate is not None and guarantee.guaranteed_rate <= guarantee.wanted_rate
    logger.log(logging.INFO if kept else logging.WARNING, "Threshold: %s", guarantee.text)


def require_origin(vectors: Tensor, own: Tensor, tolerance: float, name: str) -> None:
    """Raise DataError unless the vectors of a bank that are said to be of an image are among that image's.

    Args:
        vectors: (m, C) of the bank, of this image.
        own: (N, C) of the image.
        tolerance: distance that comes of the precision of the bank.
        name: of the image.
    """
    if not len(vectors):
        return
    nearest = (own - vectors[:1]).norm(dim=1).min()
    if float(nearest) > tolerance + FOREIGN * float(vectors[0].norm()):
        raise DataError(
            f"{name}: the bank was not made of this image: DATASETS.TRAIN is other data than that of the bank, and "
            "scores without an image's own vectors cannot be told. Name the data as it was, or calibrate on other good "
            "images: MODEL.PATCHCORE.CALIBRATION.METHOD held_out"
        )
