"""AP3D as in Omni3D: COCO's matching on the overlap of 3D boxes of any orientation.

Overlaps are exact (see `oriented_iou`); the published tool computes the same quantity in 32 bits. AP3D is the mean over
IoU 0.05 to 0.50 by 0.05; near, medium and far are depths of the centre up to 10 m, 10 to 35 m and beyond. Objects that
the evaluation's rules ignore (truncation or visibility of a third, 1/16 of the image's height, ...) count neither way,
and no more than 100 detections of an image and class do. In data that is not exhaustively labelled, detections whose
2D box overlaps no label of their class by more than 0.3 are left out. AP2D uses the same rules with 2D boxes.
Source: Brazil et al., Omni3D, CVPR 2023, and the protocol of its evaluation code.
"""

import contextlib
import io
from collections import defaultdict
from collections.abc import Collection, Sequence
from typing import Any

import numpy as np
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from d2road.evaluation.metrics.oriented_iou import pairwise_oriented_iou
from d2road.utils.values import id_order

DEPTH_RANGES = {"all": [0, 1e5], "near": [0, 10], "medium": [10, 35], "far": [35, 1e5]}
MAX_DETECTIONS = 100
PROXIMITY_IOU = 0.3

ObjectsByKey = defaultdict[tuple[int, int], list[dict]]  # by image and category


def evaluate_omni3d(
    truth: Sequence[dict],
    predictions: Sequence[dict],
    class_names: Sequence[str],
    exhaustive: bool = True,
    sparse_images: Collection[int | str] = (),
) -> dict[str, float]:
    """AP of 3D boxes and, by the same rules, of 2D boxes.

    Args:
        truth: objects {image (number or text), category (int, index of class_names), bbox (x1 y1 x2 y2), corners
            (8, 3) in the order of structures/upright_boxes.py, ignore (bool)}; corners are None where there is no 3D
            box, which needs `ignore`.
        predictions: the same with `score` for `ignore`, and always with corners.
        exhaustive: whether every object is labelled; else the rule of proximity applies.
        sparse_images: images of data in which not every object is labelled, where only some are.
    Returns:
        percent: AP3D, AP3D-15, AP3D-25, AP3D-50, AP3D-near, AP3D-medium, AP3D-far, AP3D-<class>, AP2D; NaN where no
        object counts.
    """
    return results_of(*match_omni3d(truth, predictions, class_names, exhaustive, sparse_images), class_names)


def match_omni3d(
    truth: Sequence[dict],
    predictions: Sequence[dict],
    class_names: Sequence[str],
    exhaustive: bool = True,
    sparse_images: Collection[int | str] = (),
) -> tuple["Omni3DEval", "Omni3DEval"]:
    """The accumulated evaluations of 2D and of 3D boxes; arguments as of `evaluate_omni3d`."""
    ids = {"truth": _annotations(truth), "predictions": _annotations(predictions)}
    found = {a["image_id"] for rows in ids.values() for a in rows}
    images = {image: number for number, image in enumerate(sorted(found, key=id_order), 1)}
    for row in (*ids["truth"], *ids["predictions"]):  # COCO's tools sort them, and JSON may mix numbers and texts
        row["image_id"] = images[row["image_id"]]
    sparse = {number for image, number in images.items() if not exhaustive or image in sparse_images}
    coco_truth, coco_predictions = (_coco(ids[k], list(images.values()), class_names) for k in ("truth", "predictions"))
    flat = Omni3DEval(coco_truth, coco_predictions, in_3d=False, sparse_images=sparse)
    solid = Omni3DEval(coco_truth, coco_predictions, in_3d=True, sparse_images=sparse)
    for evaluation in (flat, solid):
        with contextlib.redirect_stdout(io.StringIO()):
            evaluation.evaluate()
            evaluation.accumulate()
    return flat, solid


def results_of(flat: "Omni3DEval", solid: "Omni3DEval", class_names: Sequence[str]) -> dict[str, float]:
    """What `evaluate_omni3d` returns, of the evaluations of `match_omni3d`."""
    results = {"AP3D": solid.mean_ap()}
    results |= {f"AP3D-{round(100 * iou)}": solid.mean_ap(iou=iou) for iou in (0.15, 0.25, 0.5)}
    results |= {f"AP3D-{name}": solid.mean_ap(depth=name) for name in ("near", "medium", "far")}
    results |= {f"AP3D-{name}": solid.mean_ap(category=i) for i, name in enumerate(class_names)}
    return results | {"AP2D": flat.mean_ap()}


class Omni3DEval(COCOeval):
    """pycocotools' evaluation with 3D overlaps, ranges of depth instead of area, and ignored objects no crowds."""

    def __init__(self, truth: COCO, predictions: COCO, *, in_3d: bool, sparse_images: Collection[int]):
        super().__init__(truth, predictions, "bbox")
        self.in_3d = in_3d
        self.sparse_images = sparse_images
        self.params.maxDets = [1, 10, MAX_DETECTIONS]
        if in_3d:
            self.params.iouThrs = np.linspace(0.05, 0.5, 10)
        ranges = DEPTH_RANGES if in_3d else {"all": DEPTH_RANGES["all"]}
        self.params.areaRng, self.params.areaRngLbl = list(ranges.values()), list(ranges)

    def _prepare(self) -> None:
        """As its base, which takes crowds for ignored objects and lets many detections match one."""
        self._gts: ObjectsByKey = defaultdict(list)
        self._dts: ObjectsByKey = defaultdict(list)
        for store, coco in ((self._gts, self.cocoGt), (self._dts, self.cocoDt)):
            for row in coco.loadAnns(coco.getAnnIds(imgIds=self.params.imgIds, catIds=self.params.catIds)):
                store[row["image_id"], row["category_id"]].append(row)
        for key, rows in self._dts.items():
            if key[0] in self.sparse_images:
                self._dts[key] = _in_proximity(rows, self._gts[key])
        self.evalImgs: list[dict] = []
        self.eval: dict[str, Any] = {}

    def computeIoU(self, imgId: int, catId: int) -> np.ndarray | list:
        """(D, G) overlaps, detections by falling score."""
        truth, found = self._gts[imgId, catId], _best(self._dts[imgId, catId])
        if not truth or not found:
            return []
        if not self.in_3d:
            return _box_iou(found, truth)
        # An object without 3D box overlaps nothing; it is ignored, so this costs no one a miss.
        overlaps = np.zeros((len(found), len(truth)))
        solid = [i for i, row in enumerate(truth) if row["corners"] is not None]
        if solid:
            corners = np.array([truth[i]["corners"] for i in solid])
            overlaps[:, solid] = pairwise_oriented_iou(np.array([row["corners"] for row in found]), corners)
        return overlaps

    def precision(self, iou: float | None = None, depth: str = "all") -> np.ndarray:
        """(T, R, K) precision at the recalls of `params.recThrs`, -1 where a class has no object; T is 1 with `iou`."""
        table = self.eval["precision"][..., self.params.areaRngLbl.index(depth), -1]
        return table if iou is None else table[[np.abs(self.params.iouThrs - iou).argmin()]]

    def matched(self) -> list[tuple[dict, dict]]:
        """(prediction, object) pairs at the lowest overlap, objects that are ignored left out."""
        pairs = []
        for image in self.evalImgs[: len(self.params.imgIds) * len(self.params.catIds) * len(self.params.areaRng)]:
            if image is None or list(image["aRng"]) != list(self.params.areaRng[0]):
                continue
            for found, wanted, ignored in zip(image["dtIds"], image["dtMatches"][0], image["dtIgnore"][0]):
                if wanted and not ignored:
                    pairs.append((self.cocoDt.anns[found], self.cocoGt.anns[int(wanted)]))
        return pairs

    def mean_ap(self, iou: float | None = None, depth: str = "all", category: int | None = None) -> float:
        """Mean precision in percent over recall, overlaps and classes with objects; NaN if there are none."""
        precision = self.precision(iou, depth)
        if category is not None:
            precision = precision[..., [category]]
        counted = precision[precision > -1]
        return 100 * float(counted.mean()) if counted.size else float("nan")


def _best(rows: list[dict]) -> list[dict]:
    order = np.argsort([-row["score"] for row in rows], kind="mergesort")
    return [rows[i] for i in order[:MAX_DETECTIONS]]


def _box_iou(found: list[dict], truth: list[dict]) -> np.ndarray:
    boxes = [np.array([row["bbox"] for row in rows], dtype=np.float64) for rows in (found, truth)]
    return coco_mask.iou(*boxes, [0] * len(truth))


def _in_proximity(found: list[dict], truth: list[dict]) -> list[dict]:
    """Detections near a labelled object; all of them in an image that has no label of the class, as published."""
    if not found or not truth:
        return found
    found = _best(found)
    near = _box_iou(found, truth).max(axis=1) > PROXIMITY_IOU
    return [row for row, keep in zip(found, near) if keep]


def _annotations(objects: Sequence[dict]) -> list[dict]:
    """As COCO annotations; `area` is the depth, by which objects are divided."""
    rows = []
    for number, item in enumerate(objects, 1):
        x1, y1, x2, y2 = item["bbox"]
        corners = None if item["corners"] is None else np.asarray(item["corners"], dtype=np.float64)
        row = {
            "id": number,
            "image_id": item["image"],
            "category_id": item["category"],
            "bbox": [x1, y1, x2 - x1, y2 - y1],
            "corners": corners,
            "area": 0.0 if corners is None else float(corners[:, 2].mean()),
            "iscrowd": 0,
            "ignore": int(item.get("ignore", False)),
        }
        rows.append({**row, "score": item["score"]} if "score" in item else row)
    return rows


def _coco(annotations: list[dict], images: list[int], class_names: Sequence[str]) -> COCO:
    coco = COCO()
    coco.dataset = {
        "images": [{"id": image} for image in images],
        "categories": [{"id": i, "name": name} for i, name in enumerate(class_names)],
        "annotations": annotations,
    }
    with contextlib.redirect_stdout(io.StringIO()):
        coco.createIndex()
    return coco
