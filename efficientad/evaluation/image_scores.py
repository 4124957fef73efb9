"""What one test image contributes to the metrics, small enough to keep for all images and to send between processes."""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from d2road.utils.errors import DataError
from efficientad.evaluation.mask_files import MaskFacts
from efficientad.evaluation.spro import Defect, defect_scores
from efficientad.evaluation.weighted_scores import BINS, NO_SCORES, WeightedScores, pool, summarize

GOOD = "good"
# Half the bins for what is anomalous: there is less of it.
POSITIVE_BINS = BINS // 2


@dataclass(frozen=True)
class ImageScores:
    """Weighted scores of one image, either every pixel or summarized.

    name: unique; kind: "good" or the type of anomaly; score: of the image, the maximum of its map.
    negatives, positives: pixels outside and inside the mask; regions: positives weighted 1 / area of their connected
    region; defects: weighted as `spro.defect_scores`. has_pixels is False for an anomalous image without a mask. masks:
    what is odd about those that do not tell types of defects.
    """

    name: str
    kind: str
    score: float
    has_pixels: bool = True
    negatives: WeightedScores = NO_SCORES
    positives: WeightedScores = NO_SCORES
    regions: WeightedScores = NO_SCORES
    defects: WeightedScores = NO_SCORES
    region_count: int = 0
    defect_count: int = 0
    masks: tuple[MaskFacts, ...] = ()

    @property
    def anomalous(self) -> bool:
        """Whether the image counts as anomalous."""
        return self.kind != GOOD


def score_image(
    name: str,
    kind: str,
    anomaly_map: np.ndarray,
    mask: np.ndarray | None = None,
    defects: Sequence[Defect] = (),
    score: float | None = None,
    exact: bool = False,
    ignore: np.ndarray | None = None,
) -> ImageScores:
    """Measure one image.

    Args:
        name: of the image or of its map, for messages.
        kind: "good", or the type of anomaly.
        anomaly_map: (H, W), higher is more anomalous; any range, no NaN.
        mask: (H, W), not 0 inside anomalies; None for good images, and for anomalous ones whose pixels are not marked.
        defects: for sPRO; their union should be the mask.
        score: of the image; the maximum of the map if None.
        exact: keep every pixel instead of some thousand weighted scores.
        ignore: (H, W), not 0 where pixels count neither as good nor as anomalous, unless they are in the mask; the
            score of the image is as it is.
    Raises:
        ValueError: not a map, not finite, or a mask is of another size.
    """
    anomaly_map = check_map(anomaly_map, name)
    score = float(anomaly_map.max()) if score is None else float(score)
    if not np.isfinite(score):
        raise DataError(f"{name}: anomaly score is {score}, expected a finite number")
    if mask is None and kind != GOOD:
        return ImageScores(name, kind, score, has_pixels=False)
    bins, positive_bins = (None, None) if exact else (BINS, POSITIVE_BINS)
    for other, what in ((ignore, "ignore mask"), (mask, "mask")):
        if other is not None and other.any() and other.shape != anomaly_map.shape:
            raise DataError(f"{name}: map is {size_text(anomaly_map)}, its {what} {size_text(other)} (width x height)")
    counted = np.ones(anomaly_map.shape, dtype=bool) if ignore is None or not ignore.any() else ignore == 0
    if mask is None or not mask.any():
        return ImageScores(name, kind, score, negatives=summarize(anomaly_map[counted], bins=bins))
    inside = mask != 0
    regions, region_count = region_scores(anomaly_map, inside, positive_bins)
    return ImageScores(
        name,
        kind,
        score,
        negatives=summarize(anomaly_map[~inside & counted], bins=bins),
        positives=summarize(anomaly_map[inside], bins=positive_bins),
        regions=regions,
        region_count=region_count,
        defects=pool(defect_scores(anomaly_map, defects, positive_bins)),
        defect_count=len(defects),
    )


def check_map(anomaly_map: np.ndarray, name: str) -> np.ndarray:
    """The map as (H, W) floats; 16-bit ones become 32-bit, integers exact.

    Raises:
        ValueError: other dimensions, no numbers, or values that are not finite.
    """
    anomaly_map = np.asarray(anomaly_map)
    if anomaly_map.ndim == 3 and 1 in (anomaly_map.shape[0], anomaly_map.shape[2]):
        anomaly_map = anomaly_map.squeeze(0 if anomaly_map.shape[0] == 1 else 2)
    if anomaly_map.ndim != 2 or not anomaly_map.size or anomaly_map.dtype.kind not in "fiub":
        shape = f"{anomaly_map.dtype} {anomaly_map.shape}"
        raise DataError(f"{name} is not an anomaly map: {shape}, expected numbers of shape (height, width)")
    if anomaly_map.dtype.kind != "f" or anomaly_map.dtype.itemsize < 4:
        anomaly_map = anomaly_map.astype(np.float32 if anomaly_map.dtype.itemsize <= 2 else np.float64)
    finite = np.isfinite(anomaly_map)
    if not finite.all():
        y, x = np.argwhere(~finite)[0].tolist()
        raise DataError(
            f"{name} has {int((~finite).sum())} value(s) that are not finite, the first at x {x}, y {y}: "
            f"{anomaly_map[y, x]}"
        )
    return anomaly_map


def region_scores(anomaly_map: np.ndarray, inside: np.ndarray, bins: int | None) -> tuple[WeightedScores, int]:
    """Pixels of all 8-connected regions, weighted so that each region weighs 1; and the number of regions.

    Args:
        inside: (H, W) bool.
    """
    count, labels, statistics, _ = cv2.connectedComponentsWithStats(inside.astype(np.uint8), connectivity=8)
    areas = statistics[:, cv2.CC_STAT_AREA]
    large = np.zeros(count, dtype=bool) if bins is None else areas > bins
    large[0] = False
    found = labels[inside]
    scores = anomaly_map[inside]
    small = ~large[found]
    parts = [WeightedScores(scores[small], 1 / areas[found[small]].astype(np.float64))]
    parts += [summarize(scores[found == region], 1 / areas[region], bins) for region in np.flatnonzero(large)]
    return pool(parts), count - 1


def size_text(array: np.ndarray) -> str:
    """Size of an image as "640x480"."""
    return f"{array.shape[1]}x{array.shape[0]}"
