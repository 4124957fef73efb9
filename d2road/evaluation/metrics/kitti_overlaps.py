"""Overlaps between the objects of each frame, as flat lists of pairs; only pairs that overlap are kept."""

from collections.abc import Iterator

import numpy as np

from d2road.evaluation.metrics.kitti_ap import Pairs
from d2road.evaluation.metrics.kitti_objects import ObjectTable
from d2road.structures import aligned_iou_3d, aligned_iou_bev

# Pairs that are looked at together: bounds the memory, and small arrays stay in the cache.
CHUNK = 1 << 17
POLYGON_CHUNK = 1 << 14


def box_pairs(truth: ObjectTable, predictions: ObjectTable) -> Pairs:
    """Pairs by intersection over union of the 2D boxes."""
    return _image_pairs(truth, predictions, over_prediction=False)


def covered_pairs(regions: ObjectTable, predictions: ObjectTable) -> Pairs:
    """Pairs by the part of the prediction's 2D box that a region covers."""
    return _image_pairs(regions, predictions, over_prediction=True)


def solid_pairs(truth: ObjectTable, predictions: ObjectTable) -> tuple[Pairs, Pairs]:
    """Pairs by IoU of 3D boxes and by IoU of their footprints, both upright about the frame's y axis.

    Objects without a 3D box are in no pair.
    """
    near = _concatenate(_near_pairs(truth, predictions))
    a, b = truth.boxes3d, predictions.boxes3d
    overlaps: tuple[list[np.ndarray], list[np.ndarray]] = ([], [])
    for low in range(0, len(near[0]), POLYGON_CHUNK):
        i, j = (part[low : low + POLYGON_CHUNK] for part in near)
        rows = a[i], b[j]
        for values, function in zip(overlaps, (aligned_iou_3d, aligned_iou_bev)):
            values.append(function(*rows))
    solid, footprint = (np.concatenate(v) if v else np.zeros(0) for v in overlaps)
    return _positive(*near, solid), _positive(*near, footprint)


def _near_pairs(truth: ObjectTable, predictions: ObjectTable) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Pairs whose circles around the footprints meet: all that can overlap, and few others."""
    a, b = truth.boxes3d, predictions.boxes3d
    radius_a, radius_b = (np.hypot(rows[:, 4], rows[:, 5]) / 2 for rows in (a, b))
    solid_a, solid_b = truth.has_3d, predictions.has_3d
    for i, j in frame_pairs(truth.frame, predictions.frame):
        distance = np.hypot(a[i, 0] - b[j, 0], a[i, 2] - b[j, 2])
        keep = (distance < radius_a[i] + radius_b[j]) & solid_a[i] & solid_b[j]
        yield i[keep], j[keep]


def _image_pairs(truth: ObjectTable, predictions: ObjectTable, over_prediction: bool) -> Pairs:
    a, b = truth.boxes_xyxy, predictions.boxes_xyxy
    area_a, area_b = ((rows[:, 2] - rows[:, 0]) * (rows[:, 3] - rows[:, 1]) for rows in (a, b))
    parts = []
    for i, j in frame_pairs(truth.frame, predictions.frame):
        width = np.minimum(a[i, 2], b[j, 2]) - np.maximum(a[i, 0], b[j, 0])
        height = np.minimum(a[i, 3], b[j, 3]) - np.maximum(a[i, 1], b[j, 1])
        keep = (width > 0) & (height > 0)
        i, j, inter = i[keep], j[keep], (width * height)[keep]
        parts.append((i, j, inter / (area_b[j] if over_prediction else area_a[i] + area_b[j] - inter)))
    if not parts:
        return Pairs(np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64), np.zeros(0))
    return Pairs(*(np.concatenate(column) for column in zip(*parts)))


def frame_pairs(frame_a: np.ndarray, frame_b: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """All pairs (index in a, index in b) of the same frame, in portions.

    Args:
        frame_a, frame_b: (N,) and (M,) frame indices, any order.
    """
    order_a, order_b = np.argsort(frame_a, kind="stable"), np.argsort(frame_b, kind="stable")
    sorted_b = frame_b[order_b]
    first = np.searchsorted(sorted_b, frame_a[order_a], side="left")
    count = np.searchsorted(sorted_b, frame_a[order_a], side="right") - first
    total = np.cumsum(count)
    low = 0
    while low < len(order_a):
        done = total[low - 1] if low else 0
        high = max(int(np.searchsorted(total, done + CHUNK, side="right")), low + 1)
        counts = count[low:high]
        i = np.repeat(order_a[low:high], counts)
        offset = np.arange(len(i)) - np.repeat(np.cumsum(counts) - counts, counts)
        yield i, order_b[np.repeat(first[low:high], counts) + offset]
        low = high


def _concatenate(parts: Iterator[tuple[np.ndarray, np.ndarray]]) -> tuple[np.ndarray, np.ndarray]:
    columns = list(zip(*parts))
    if not columns:
        return np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64)
    return np.concatenate(columns[0]), np.concatenate(columns[1])


def _positive(truth: np.ndarray, prediction: np.ndarray, overlap: np.ndarray) -> Pairs:
    keep = overlap > 0
    return Pairs(truth[keep], prediction[keep], overlap[keep])
