"""KITTI's protocol frame by frame, threshold by threshold: oracle and yardstick of `d2road.evaluation`."""

import numpy as np
import torch

from d2road.evaluation.metrics.kitti_ap import ABSENT, COUNTED, IGNORED
from d2road.evaluation.metrics.kitti_objects import DONT_CARE, ObjectTable
from d2road.evaluation.metrics.kitti_protocol import (
    DIFFICULTIES,
    MIN_OVERLAPS,
    NEIGHBORS,
    OTHER_MIN_OVERLAP,
    prediction_flags,
    truth_flags,
)
from d2road.structures import pairwise_iou_3d, pairwise_iou_bev


def evaluate_plain(truth: ObjectTable, predictions: ObjectTable, num_frames: int, classes: list[str]) -> dict:
    """As `evaluate_kitti`, for data where all objects but DontCare have a 3D box and every alpha is known."""
    frames = [_Frame(truth[truth.frame == i], predictions[predictions.frame == i]) for i in range(num_frames)]
    results = {}
    for name in classes:
        minimum = MIN_OVERLAPS.get(name, OTHER_MIN_OVERLAP)
        results[name] = {metric: {"R40": [], "R11": []} for metric in ("bbox", "aos", "bev", "3d")}
        for difficulty in DIFFICULTIES:
            for frame in frames:
                frame.truth_flag = truth_flags(frame.truth, name, NEIGHBORS.get(name, ()), difficulty).tolist()
                frame.prediction_flag = prediction_flags(frame.predictions, name, difficulty).tolist()
            for metric in ("bbox", "bev", "3d"):
                for key, points in _points(frames, metric, minimum).items():
                    results[name][key]["R40"].append(100 * sum(points[1:]) / 40)
                    results[name][key]["R11"].append(100 * sum(points[::4]) / 11)
    return results


class _Frame:
    """Objects of a frame and their overlaps."""

    def __init__(self, truth: ObjectTable, predictions: ObjectTable):
        regions = truth[truth.type == DONT_CARE]
        self.truth, self.predictions = truth[truth.type != DONT_CARE], predictions
        rows = torch.from_numpy(self.truth.boxes3d), torch.from_numpy(predictions.boxes3d)
        self.overlap = {
            "bbox": _image_overlap(self.truth.boxes_xyxy, predictions.boxes_xyxy, over_b=False).tolist(),
            "bev": pairwise_iou_bev(*rows).tolist(),
            "3d": pairwise_iou_3d(*rows).tolist(),
        }
        self.covered = _image_overlap(regions.boxes_xyxy, predictions.boxes_xyxy, over_b=True).tolist()
        self.scores = predictions.scores.tolist()
        self.truth_flag: list[int] = []
        self.prediction_flag: list[int] = []


def _image_overlap(a: np.ndarray, b: np.ndarray, over_b: bool) -> np.ndarray:
    low, high = np.maximum(a[:, None, :2], b[None, :, :2]), np.minimum(a[:, None, 2:], b[None, :, 2:])
    inter = np.clip(high - low, 0, None).prod(axis=2)
    area_a, area_b = ((box[:, 2:] - box[:, :2]).prod(axis=1) for box in (a, b))
    return inter / (area_b[None] if over_b else area_a[:, None] + area_b[None] - inter)


def _points(frames: list[_Frame], metric: str, minimum: float) -> dict[str, list[float]]:
    hits = [score for frame in frames for score in _first_pass(frame, metric, minimum)]
    num_truth = sum(frame.truth_flag.count(COUNTED) for frame in frames)
    precision, similarity = [0.0] * 41, [0.0] * 41
    for index, threshold in enumerate(_thresholds(sorted(hits, reverse=True), num_truth)):
        counts = [_second_pass(frame, metric, minimum, threshold) for frame in frames]
        tp, fp, alike = (sum(column) for column in zip(*counts))
        if tp + fp:
            precision[index], similarity[index] = tp / (tp + fp), alike / (tp + fp)
    points = {metric: precision, **({"aos": similarity} if metric == "bbox" else {})}
    return {key: [max(values[i:]) for i in range(41)] for key, values in points.items()}


def _thresholds(scores: list[float], num_truth: int) -> list[float]:
    chosen, recall = [], 0.0
    for i, score in enumerate(scores):
        left, right = (i + 1) / num_truth, (i + 2) / num_truth
        if i < len(scores) - 1 and right - recall < recall - left:
            continue
        chosen.append(score)
        recall += 1 / 40
    return chosen


def _first_pass(frame: _Frame, metric: str, minimum: float) -> list[float]:
    """Scores of the true positives when every truth takes the free prediction with the highest score."""
    taken, found = set(), []
    for i, flag in enumerate(frame.truth_flag):
        best = None
        if flag == ABSENT:
            continue
        for j, other in enumerate(frame.prediction_flag):
            if other == ABSENT or j in taken or not frame.overlap[metric][i][j] > minimum:
                continue
            if best is None or frame.scores[j] > frame.scores[best]:
                best = j
        if best is not None:
            taken.add(best)
            if flag == COUNTED and frame.prediction_flag[best] == COUNTED:
                found.append(frame.scores[best])
    return found


def _second_pass(frame: _Frame, metric: str, minimum: float, threshold: float) -> tuple[int, int, float]:
    """True positives, false positives and summed orientation similarity at a score threshold."""
    taken, tp, alike = set(), 0, 0.0
    usable = [j for j, flag in enumerate(frame.prediction_flag) if flag != ABSENT and frame.scores[j] >= threshold]
    for i, flag in enumerate(frame.truth_flag):
        if flag == ABSENT:
            continue
        best, largest, small = None, 0.0, None
        for j in usable:
            overlap = frame.overlap[metric][i][j]
            if j in taken or not overlap > minimum:
                continue
            if frame.prediction_flag[j] == IGNORED:
                small = j if small is None else small
            elif overlap > largest:
                best, largest = j, overlap
        chosen = small if best is None else best
        if chosen is not None:
            taken.add(chosen)
            if flag == COUNTED and frame.prediction_flag[chosen] == COUNTED:
                tp += 1
                alike += (1 + np.cos(frame.truth.alpha[i] - frame.predictions.alpha[chosen])) / 2
    wrong = [j for j in usable if frame.prediction_flag[j] == COUNTED and j not in taken]
    if metric == "bbox":
        wrong = [j for j in wrong if not any(row[j] > minimum for row in frame.covered)]
    return tp, len(wrong), alike
