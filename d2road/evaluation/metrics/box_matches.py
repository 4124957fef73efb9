"""Detections matched with labelled boxes at one overlap, as COCO matches them, and the confusion of classes. Pure.

Letters: D detections, G labelled objects of an image, C classes.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from d2road.evaluation.metrics.box_ap import COCO_DETECTIONS, BoxTruth

OVERLAP = 0.5


@dataclass(frozen=True)
class BoxMatches:
    """What became of each detection that counts: crowds excuse some, and 100 of an image and class count.

    Args:
        image: (D,) positions among the images of the truth.
        category: (D,) positions among its categories.
        score: (D,).
        hit: (D,) bool.
        objects: (images, categories) labelled objects, crowds left out.
    """

    image: np.ndarray
    category: np.ndarray
    score: np.ndarray
    hit: np.ndarray
    objects: np.ndarray


def match_boxes(truth: BoxTruth, detections: Sequence[Mapping[str, Any]], overlap: float = OVERLAP) -> BoxMatches:
    """Match by COCO's rules: within image and class, best score first, each takes the free object it overlaps most.

    Args:
        detections: each with image_id, category_id, bbox (x, y, width, height), score.
    Source: Lin et al., COCO, ECCV 2014, with its evaluation tool.
    """
    number = {image: i for i, image in enumerate(truth.images)}
    position = {category: k for k, category in enumerate(truth.categories)}
    objects = np.zeros((len(number), len(position)), dtype=np.int64)
    labels: dict[tuple[int, int], list[Mapping]] = defaultdict(list)
    for a in truth.annotations:
        key = (number[a["image_id"]], position[a["category_id"]])
        labels[key].append(a)
        objects[key] += not a["iscrowd"]
    image = np.array([number[d["image_id"]] for d in detections], dtype=np.int64)
    category = np.array([position[d["category_id"]] for d in detections], dtype=np.int64)
    score = np.array([d["score"] for d in detections], dtype=np.float64)
    order = np.lexsort((-score, category, image))  # stable: of equal scores the first given comes first
    group = image[order] * len(position) + category[order]
    starts = np.flatnonzero(np.r_[True, group[1:] != group[:-1]]) if len(group) else np.zeros(0, dtype=np.int64)
    hit, kept = np.zeros(len(order), dtype=bool), np.zeros(len(order), dtype=bool)
    for start, end in zip(starts.tolist(), [*starts[1:].tolist(), len(order)]):
        end = min(end, start + COCO_DETECTIONS)
        kept[start:end] = True
        labelled = labels.get(divmod(int(group[start]), len(position)))
        if labelled:
            found = [detections[i]["bbox"] for i in order[start:end].tolist()]
            hit[start:end], excused = _match_image(found, labelled, overlap)
            kept[start:end] &= ~excused
    chosen = order[kept]
    return BoxMatches(image[chosen], category[chosen], score[chosen], hit[kept], objects)


def _match_image(
    found_xywh: Sequence[Sequence[float]], labelled: Sequence[Mapping], overlap: float
) -> tuple[np.ndarray, np.ndarray]:
    """(D,) hits and (D,) excused by a crowd; boxes by falling score."""
    hits, excused = np.zeros(len(found_xywh), dtype=bool), np.zeros(len(found_xywh), dtype=bool)
    labelled = sorted(labelled, key=lambda a: bool(a["iscrowd"]))
    crowd = np.array([bool(a["iscrowd"]) for a in labelled])
    overlaps = overlaps_of(found_xywh, [a["bbox"] for a in labelled], crowd)
    free = np.ones(len(labelled), dtype=bool)
    for i in np.flatnonzero((overlaps >= overlap).any(axis=1)):
        for kind, outcome in ((~crowd, hits), (crowd, excused)):
            # The last of equal overlaps, as in COCO's tool.
            candidates = np.where(kind & (free | crowd) & (overlaps[i] >= overlap), overlaps[i], -1.0)[::-1]
            best = len(labelled) - 1 - int(np.argmax(candidates))
            if candidates.max() >= overlap:
                outcome[i], free[best] = True, False
                break
    return hits, excused


def overlaps_of(found_xywh: Any, labelled_xywh: Any, crowd: np.ndarray | None = None) -> np.ndarray:
    """(D, G) IoU of boxes x, y, width, height; over a crowd the share of the detection that lies in it."""
    a = np.asarray(found_xywh, dtype=np.float64).reshape(-1, 1, 4)
    b = np.asarray(labelled_xywh, dtype=np.float64).reshape(1, -1, 4)
    low = np.maximum(a[..., :2], b[..., :2])
    high = np.minimum(a[..., :2] + a[..., 2:], b[..., :2] + b[..., 2:])
    shared = np.clip(high - low, 0, None).prod(axis=-1)
    areas = a[..., 2:].prod(axis=-1), b[..., 2:].prod(axis=-1)
    union = areas[0] + areas[1] - shared
    if crowd is not None:
        union = np.where(crowd, areas[0], union)
    return shared / np.maximum(union, 1e-12)


def confusion_matrix(
    truth: BoxTruth, detections: Sequence[Mapping[str, Any]], min_score: float, overlap: float = OVERLAP
) -> np.ndarray:
    """Counts (C + 1, C + 1): rows are predicted classes, columns true ones, the last of each is the background.

    Whatever their classes, detections of at least `min_score` and objects are paired one to one, the largest overlap
    first. Objects without a partner count in the last row, detections without one in the last column, unless half of
    one lies in a crowd.

    Args:
        detections: as for `match_boxes`.
        overlap: pairs of more than it count.
    """
    position = {category: k for k, category in enumerate(truth.categories)}
    background = len(position)
    counts = np.zeros((background + 1, background + 1), dtype=np.int64)
    labels: dict[Any, list[Mapping]] = defaultdict(list)
    found: dict[Any, list[Mapping]] = defaultdict(list)
    for a in truth.annotations:
        labels[a["image_id"]].append(a)
    for d in detections:
        if d["score"] >= min_score:
            found[d["image_id"]].append(d)
    for image in truth.images:
        objects = [a for a in labels[image] if not a["iscrowd"]]
        crowds = [a["bbox"] for a in labels[image] if a["iscrowd"]]
        true = np.array([position[a["category_id"]] for a in objects], dtype=np.int64)
        predicted = np.array([position[d["category_id"]] for d in found[image]], dtype=np.int64)
        boxes = [d["bbox"] for d in found[image]]
        rows, columns = pair_by_overlap(overlaps_of(boxes, [a["bbox"] for a in objects]), overlap)
        np.add.at(counts, (predicted[rows], true[columns]), 1)
        counts[background] += np.bincount(np.delete(true, columns), minlength=background + 1)
        alone = np.setdiff1d(np.arange(len(boxes)), rows)
        if crowds and len(alone):
            inside = overlaps_of([boxes[i] for i in alone], crowds, np.ones(len(crowds), dtype=bool))
            alone = alone[inside.max(axis=1) < overlap]
        counts[:, background] += np.bincount(predicted[alone], minlength=background + 1)
    return counts


def pair_by_overlap(table: np.ndarray, overlap: float) -> tuple[np.ndarray, np.ndarray]:
    """Rows and columns of one-to-one pairs of a table (D, G) above `overlap`, the largest first."""
    rows, columns = np.nonzero(table > overlap)
    order = np.argsort(-table[rows, columns], kind="stable")
    taken_rows, taken_columns = np.zeros(table.shape[0], dtype=bool), np.zeros(table.shape[1], dtype=bool)
    kept = []
    for i in order:
        if not taken_rows[rows[i]] and not taken_columns[columns[i]]:
            taken_rows[rows[i]] = taken_columns[columns[i]] = True
            kept.append(i)
    return rows[kept], columns[kept]
