"""Bootstrap confidence intervals of AP at one IoU threshold, over images.

Letters: D detections, I images.
"""

import contextlib
import io
from dataclasses import dataclass

import numpy as np
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from d2road.utils.bootstrap import paired_intervals
from d2road.utils.errors import DataError

RECALL_POINTS = np.linspace(0, 1, 101)  # COCO's
KITTI_RECALL_POINTS = np.arange(1, 41) / 40


@dataclass
class MatchTable:
    """All detections of one category, best score first, matched at one overlap.

    image (D,) index of the image, hit (D,) bool; ignored detections are left out. objects (I,) counted objects.
    """

    image: np.ndarray
    hit: np.ndarray
    objects: np.ndarray


def match_tables(
    coco_gt: COCO, detections: list[dict], iou: float, category_ids: list[int] | None = None
) -> list[MatchTable]:
    """Match by COCO's rules (100 detections an image, crowd regions ignored); an object counts whatever its id.

    Args:
        detections: COCO results, as in coco_instances_results.json.
        category_ids: those to evaluate; all if None.
    Returns:
        one MatchTable per category, images in the order of their sorted ids.
    """
    coco_gt = _with_ids_from_one(coco_gt)
    coco_eval = COCOeval(coco_gt, coco_gt.loadRes(detections), "bbox")
    coco_eval.params.iouThrs = np.array([iou])
    coco_eval.params.areaRng, coco_eval.params.areaRngLbl = [[0, 1e10]], ["all"]
    if category_ids is not None:
        coco_eval.params.catIds = category_ids
    coco_eval.evaluate()
    images = len(coco_eval.params.imgIds)
    tables = []
    for k in range(len(coco_eval.params.catIds)):
        score, hit, image, objects = [], [], [], np.zeros(images, dtype=np.int64)
        for i in range(images):
            entry = coco_eval.evalImgs[k * images + i]
            if entry is None:
                continue
            counted = entry["dtIgnore"][0] == 0
            score.append(np.asarray(entry["dtScores"])[counted])
            hit.append(entry["dtMatches"][0][counted] > 0)
            image.append(np.full(counted.sum(), i))
            objects[i] = int((np.asarray(entry["gtIgnore"]) == 0).sum())
        order = np.argsort(-np.concatenate(score), kind="mergesort") if score else np.zeros(0, dtype=np.int64)
        take = lambda parts, order=order: np.concatenate(parts)[order] if parts else np.zeros(0, dtype=np.int64)  # noqa: E731
        tables.append(MatchTable(take(image), take(hit).astype(bool), objects))
    return tables


def _with_ids_from_one(coco_gt: COCO) -> COCO:
    """The same data where pycocotools does not take a match, which it stores as the id of the object, for none."""
    annotations = coco_gt.dataset["annotations"]
    if all(type(a["id"]) is int and a["id"] > 0 for a in annotations):
        return coco_gt
    numbered = COCO()
    numbered.dataset = {**coco_gt.dataset, "annotations": [{**a, "id": i} for i, a in enumerate(annotations, 1)]}
    with contextlib.redirect_stdout(io.StringIO()):
        numbered.createIndex()
    return numbered


def average_precision(
    table: MatchTable, weight: np.ndarray | None = None, recall_points: np.ndarray = RECALL_POINTS
) -> float:
    """AP in percent at `recall_points` with each image counted `weight` (I,) times; NaN without objects."""
    weight = np.ones(len(table.objects)) if weight is None else weight
    total = (table.objects * weight).sum()
    if total == 0:
        return float("nan")
    each = weight[table.image]
    hits = np.cumsum(each * table.hit)
    precision = hits / np.maximum(np.cumsum(each), 1e-12)
    precision = np.maximum.accumulate(precision[::-1])[::-1]
    position = np.searchsorted(hits / total, recall_points, side="left")
    return 100 * float(np.append(precision, 0.0)[np.minimum(position, len(precision))].mean())


def mean_ap(
    tables: list[MatchTable], weight: np.ndarray | None = None, recall_points: np.ndarray = RECALL_POINTS
) -> float:
    """Mean over the categories that have objects."""
    return float(np.nanmean([average_precision(t, weight, recall_points) for t in tables]))


def paired_bootstrap(
    a: list[MatchTable],
    b: list[MatchTable],
    samples: int = 1000,
    seed: int = 0,
    level: float = 0.95,
    recall_points: np.ndarray = RECALL_POINTS,
) -> dict[str, float]:
    """How sure the difference of two models on the same images is.

    Images are drawn with replacement, the same draw for both models.

    Args:
        a, b: from `match_tables` on the same ground truth.
        recall_points: KITTI_RECALL_POINTS for tables of 3D boxes (`roadside_protocol.match_tables`).
    Returns:
        difference (b - a of the mean AP, in points), low and high ends of the percentile interval.
    Raises:
        ValueError: the tables are of different images or categories.
    """
    if len(a) != len(b) or any(not np.array_equal(x.objects, y.objects) for x, y in zip(a, b)):
        raise DataError("paired_bootstrap needs predictions on the same images and categories")
    generator, images = np.random.default_rng(seed), len(a[0].objects)
    draws = np.empty((2, samples))
    for number in range(samples):
        weight = np.bincount(generator.integers(images, size=images), minlength=images).astype(np.float64)
        draws[:, number] = [mean_ap(tables, weight, recall_points) for tables in (a, b)]
    low, high = paired_intervals({"ap": draws[0]}, {"ap": draws[1]}, level)["ap"]
    return {"difference": mean_ap(b, None, recall_points) - mean_ap(a, None, recall_points), "low": low, "high": high}
