"""Average precision of boxes by COCO's and LVIS's protocols, matched in C++ by faster-coco-eval.

The figures are those of pycocotools and of lvis, bit for bit (see `_as_published`). As there, crowds excuse detections,
100 detections of an image and class count in COCO and 300 of an image in LVIS, and precision is the envelope at 101
recalls. Unlike pycocotools, which stores the id of a match where 0 means none, an object counts whatever its id.

Letters: T overlaps 0.50 to 0.95, R recalls, K categories, A ranges of area.
Source: Lin et al., COCO, ECCV 2014, and Gupta et al., LVIS, CVPR 2019, with their evaluation tools.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from faster_coco_eval import COCO, COCOeval_faster

OVERLAPS = np.linspace(0.5, 0.95, 10)
RECALLS = np.linspace(0.0, 1.0, 101)
# px^2; both ends count.
AREAS = {"all": (0, 1e5**2), "small": (0, 32**2), "medium": (32**2, 96**2), "large": (96**2, 1e5**2)}
COCO_DETECTIONS = 100  # of an image and class
LVIS_DETECTIONS = 300  # of an image
FREQUENCIES = ("r", "c", "f")  # of classes in LVIS: rare, common, frequent


@dataclass(frozen=True)
class BoxTruth:
    """What detections are compared with.

    Args:
        images: ids in the order of the evaluation, which decides between equal scores.
        categories: ids in order.
        annotations: each with image_id, category_id, bbox (x, y, width, height), area, iscrowd.
        negatives, not_exhaustive: of LVIS, by image id: categories that are known to be absent, and those of which not
            every object is labelled.
    """

    images: Sequence[int | str]
    categories: Sequence[int]
    annotations: Sequence[Mapping[str, Any]]
    negatives: Mapping[int | str, Iterable[int]] = field(default_factory=dict)
    not_exhaustive: Mapping[int | str, Iterable[int]] = field(default_factory=dict)


@dataclass(frozen=True)
class BoxPrecision:
    """(T, R, K, A) precision, -1 where a category has no object of such an area."""

    precision: np.ndarray

    def mean(self, overlap: float | None = None, area: str = "all", categories: Sequence[int] | None = None) -> float:
        """Percent, over what is defined; NaN where nothing is.

        Args:
            overlap: one of OVERLAPS; all if None.
            categories: positions among those of the truth; all if None.
        """
        chosen = self.precision[..., list(AREAS).index(area)]
        if overlap is not None:
            chosen = chosen[np.isclose(OVERLAPS, overlap)]
        if categories is not None:
            chosen = chosen[:, :, list(categories)]
        defined = chosen[chosen > -1]
        return float(np.mean(defined) * 100) if defined.size else float("nan")


def coco_precision(truth: BoxTruth, detections: Sequence[Mapping[str, Any]]) -> BoxPrecision:
    """By COCO's protocol.

    Args:
        detections: each with image_id, category_id, bbox (x, y, width, height), score.
    """
    return _precision(truth, detections, COCO_DETECTIONS, federated=False)


def lvis_precision(truth: BoxTruth, detections: Sequence[Mapping[str, Any]]) -> BoxPrecision:
    """By LVIS's protocol: an image is only judged on categories that are known to be in it or not.

    There are no crowds; of an image the 300 best detections count; and as in the package lvis, objects and detections
    without area are left out.
    """
    truth = replace(truth, annotations=[a for a in truth.annotations if a["area"] > 0])
    per_image: dict[Any, list[Mapping[str, Any]]] = defaultdict(list)
    for detection in detections:
        per_image[detection["image_id"]].append(detection)
    best = [sorted(rows, key=lambda row: row["score"], reverse=True)[:LVIS_DETECTIONS] for rows in per_image.values()]
    counted = [row for rows in best for row in rows if row["bbox"][2] * row["bbox"][3] > 0]
    return _precision(truth, counted, LVIS_DETECTIONS, federated=True)


def _precision(truth: BoxTruth, detections: Sequence[Mapping], most: int, federated: bool) -> BoxPrecision:
    counted = _counted_objects(truth, federated)
    if not detections:  # not handled by the tool
        precision = np.where(counted > 0, 0.0, -1.0)
        return BoxPrecision(np.broadcast_to(precision, (len(OVERLAPS), len(RECALLS), *counted.shape)).copy())
    number = {image: i for i, image in enumerate(truth.images, 1)}  # ids may be texts
    rows = [
        {
            "id": i,
            "image_id": number[a["image_id"]],
            "category_id": a["category_id"],
            "bbox": list(a["bbox"]),
            "area": a["area"],
            "iscrowd": 0 if federated else int(a["iscrowd"]),
        }
        for i, a in enumerate(truth.annotations, 1)
    ]
    images: list[dict[str, Any]] = [{"id": i} for i in number.values()]
    categories: list[dict[str, Any]] = [{"id": i} for i in truth.categories]
    if federated:
        for entry, image in zip(images, truth.images):
            entry["neg_category_ids"] = list(truth.negatives.get(image, ()))
            entry["not_exhaustive_category_ids"] = list(truth.not_exhaustive.get(image, ()))
        categories = [{"id": i, "frequency": "f"} for i in truth.categories]
    found = [{**{k: d[k] for k in ("category_id", "score")}, "bbox": list(d["bbox"])} for d in detections]
    for row, detection in zip(found, detections):
        row["image_id"] = number[detection["image_id"]]
    objects = COCO({"images": images, "categories": categories, "annotations": rows})
    tool = COCOeval_faster(objects, objects.loadRes(found), "bbox", lvis_style=federated)
    tool.params.catIds = list(truth.categories)
    tool.params.maxDets = [most]
    tool.params.areaRng, tool.params.areaRngLbl = [list(limits) for limits in AREAS.values()], list(AREAS)
    recalls = np.unique(np.concatenate([RECALLS, _HALVES]))
    tool.params.recThrs = recalls
    tool.evaluate()
    tool.accumulate()
    return BoxPrecision(_as_published(np.asarray(tool.eval["precision"])[..., 0], recalls, counted))


def _counted_objects(truth: BoxTruth, federated: bool) -> np.ndarray:
    """(K, A) objects that are to be found."""
    position = {category: k for k, category in enumerate(truth.categories)}
    counted = np.zeros((len(truth.categories), len(AREAS)), dtype=np.int64)
    for a in truth.annotations:
        if federated or not a["iscrowd"]:
            counted[position[a["category_id"]]] += [low <= a["area"] <= high for low, high in AREAS.values()]
    return counted


# With n objects, exactly one of these lies above the recall of one hit, 1/n, and not above that of two.
_HALVES = 0.5 ** np.arange(31)


def _as_published(precision: np.ndarray, recalls: np.ndarray, counted: np.ndarray) -> np.ndarray:
    """(T, R, K, A) at RECALLS as pycocotools has it: there a precision is hits / (hits + misses + the spacing of 1).

    The sum differs from that without the spacing only where the best detection alone is counted: where it hits and the
    second does not, its precision is one bit below 1. C++ has 1 there.
    """
    ours = precision[:, np.searchsorted(recalls, RECALLS)].copy()
    exponent = np.frexp(np.maximum(counted, 2) - 1.0)[1] - 1  # 2 ** -exponent is the one in (1 / n, 2 / n]
    place = np.searchsorted(recalls, 0.5**exponent)
    k, a = np.indices(counted.shape)
    at_second = np.where(counted > 1, precision[:, place, k, a], 0.0)  # (T, K, A)
    one = 1 / np.maximum(counted, 1)
    alone = (ours == 1) & (RECALLS[None, :, None, None] <= one[None, None]) & (at_second[:, None] < 1)
    ours[alone] = 1 / (1 + np.spacing(1))
    return ours
