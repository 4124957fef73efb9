"""Omni3D's AP3D on cases whose result is known."""

import math

import numpy as np
import pytest
import torch
from detectron2.config import get_cfg
from detectron2.structures import Boxes, BoxMode, Instances

from d2road.data import register_lazily
from d2road.evaluation import build_evaluator
from d2road.evaluation.metrics.omni3d_protocol import evaluate_omni3d
from d2road.structures import Boxes3D
from d2road.structures.upright_boxes import box_corners

CLASSES = ["car", "bus"]


def _object(image: int, x: float, z: float, category: int = 0, shift: float = 0.0, **more) -> dict:
    corners = box_corners([[x + shift, 1.5, z]], [[1.5, 1.8, 4.0]], [0.0])[0]
    box = [300 + 10 * x, 100, 340 + 10 * x, 140]
    return {"image": image, "category": category, "bbox": box, "corners": corners, **more}


def _iou(shift: float) -> float:
    return (4 - shift) / (4 + shift)


def test_perfect_predictions():
    truth = [_object(i, 8.0 * i, z) for i, z in enumerate((5.0, 20.0, 50.0))]
    results = evaluate_omni3d(truth, [{**t, "score": 0.9} for t in truth], CLASSES)
    assert all(results[k] == pytest.approx(100) for k in results if k != "AP3D-bus")
    assert math.isnan(results["AP3D-bus"])


@pytest.mark.parametrize("shift", [0.5, 1.5, 2.5, 3.2])
def test_shifted_predictions_match_up_to_their_overlap(shift):
    truth = [_object(i, 0.0, 20.0) for i in range(4)]
    found = [{**_object(i, 0.0, 20.0, shift=shift), "score": 0.5} for i in range(4)]
    results = evaluate_omni3d(truth, found, CLASSES)
    thresholds = np.linspace(0.05, 0.5, 10)
    assert results["AP3D"] == pytest.approx(100 * np.mean(_iou(shift) >= thresholds))
    assert results["AP3D-25"] == pytest.approx(100 * (_iou(shift) >= 0.25))
    assert results["AP2D"] == pytest.approx(100)


def test_misses_and_false_alarms():
    truth = [_object(0, 0.0, 20.0), _object(0, 20.0, 20.0)]
    found = [{**_object(0, -20.0, 20.0), "score": 0.9}, {**_object(0, 0.0, 20.0), "score": 0.5}]
    # One of two found, at precision 1/2: 51 of 101 points of recall.
    assert evaluate_omni3d(truth, found, CLASSES)["AP3D"] == pytest.approx(100 * 51 / 101 / 2)
    assert evaluate_omni3d(truth, [], CLASSES)["AP3D"] == 0
    assert math.isnan(evaluate_omni3d([], found, CLASSES)["AP3D"])


def test_depth_ranges_count_their_objects_only():
    truth = [_object(0, 0.0, 6.0), _object(0, 20.0, 20.0), _object(0, 0.0, 60.0)]
    results = evaluate_omni3d(truth, [{**truth[1], "score": 0.9}], CLASSES)
    assert [results[f"AP3D-{r}"] for r in ("near", "medium", "far")] == pytest.approx([0, 100, 0])


def test_ignored_objects_excuse_one_detection_each():
    truth = [_object(0, 0.0, 20.0), _object(0, 20.0, 20.0, ignore=True)]
    hit, on_ignored = {**truth[0], "score": 0.5}, {**_object(0, 20.0, 20.0), "score": 0.9}
    assert evaluate_omni3d(truth, [hit, on_ignored], CLASSES)["AP3D"] == pytest.approx(100)
    # A second one on the same ignored object is a false alarm (it would not be on a crowd).
    assert evaluate_omni3d(truth, [hit, on_ignored, {**on_ignored, "score": 0.8}], CLASSES)["AP3D"] == pytest.approx(50)
    flat = {**truth[1], "corners": None}
    assert evaluate_omni3d([truth[0], flat], [hit], CLASSES)["AP3D"] == pytest.approx(100)


def test_classes_are_kept_apart_and_averaged():
    truth = [_object(0, 0.0, 20.0), _object(0, 20.0, 20.0, category=1)]
    found = [{**truth[0], "score": 0.9}, {**truth[1], "category": 0, "score": 0.95}]
    results = evaluate_omni3d(truth, found, CLASSES)
    assert (results["AP3D-car"], results["AP3D-bus"], results["AP3D"]) == pytest.approx((50, 0, 25))


def test_detections_far_from_labels_where_not_all_objects_are_labelled():
    truth = [_object(0, 0.0, 20.0)]
    found = [{**_object(0, -20.0, 20.0), "score": 0.9}, {**truth[0], "score": 0.5}]
    assert evaluate_omni3d(truth, found, CLASSES)["AP3D"] == pytest.approx(50)
    assert evaluate_omni3d(truth, found, CLASSES, exhaustive=False)["AP3D"] == pytest.approx(100)
    assert evaluate_omni3d(truth, found, CLASSES, sparse_images={0})["AP3D"] == pytest.approx(100)
    assert evaluate_omni3d(truth, found, CLASSES, sparse_images={1})["AP3D"] == pytest.approx(50)


def test_a_hundred_detections_of_an_image_and_class_count():
    truth = [_object(0, 0.0, 20.0)]
    found = [{**_object(0, -20.0, 20.0), "score": 0.9}] * 100
    assert evaluate_omni3d(truth, [*found, {**truth[0], "score": 0.1}], CLASSES)["AP3D"] == 0
    assert evaluate_omni3d(truth, [*found[1:], {**truth[0], "score": 0.1}], CLASSES)["AP3D"] == pytest.approx(1)


def test_evaluator_reads_truth_from_the_data_set(tmp_path):
    """Through the registry: labels as predictions, without and with 3D boxes."""
    rotation = np.array([[0.0, 0, 1], [0, 1, 0], [-1, 0, 0]])
    base = {"bbox": [10, 10, 50, 40], "bbox_mode": BoxMode.XYXY_ABS, "category_id": 0, "iscrowd": 0, "has_3d": True}
    box = {"location": [1.0, 1.5, 20.0], "dimensions_hwl": [1.5, 1.8, 4.0], "box_rotation": rotation.tolist()}
    annotations = [{**base, **box, "ignore_in_test": False}, {**base, **box, "has_3d": False, "ignore_in_test": True}]
    record = {"file_name": "a.jpg", "image_id": 7, "width": 64, "height": 48, "annotations": annotations}
    register_lazily("omni-like", lambda: [record], thing_classes=["car"], evaluator_type="omni3d")
    evaluator = build_evaluator(get_cfg(), "omni-like", str(tmp_path))
    found = Instances((48, 64), scores=torch.tensor([0.5]), pred_classes=torch.tensor([0]))
    found.pred_boxes = Boxes(torch.tensor([[10.0, 10, 50, 40]]))
    evaluator.reset()
    evaluator.process([record], [{"instances": found}])
    assert set(evaluator.evaluate()) == {"bbox"}
    found.pred_boxes3d = Boxes3D(
        *(torch.tensor([box[k]]) for k in ("location", "dimensions_hwl")), torch.tensor([box["box_rotation"]])
    )
    evaluator.reset()
    evaluator.process([record], [{"instances": found}])
    results = evaluator.evaluate()
    assert results["omni3d"]["AP3D"] == pytest.approx(100)
    assert (tmp_path / "omni3d_instances_results.json").is_file()


def test_boxes_tilted_against_each_other():
    """General orientation: a box rolled by 90 degrees about its length has its height and width exchanged."""
    rolled = np.array([[1.0, 0, 0], [0, 0, -1], [0, 1, 0]])
    corners = box_corners([[0, 0, 20]], [[2.0, 1.0, 4.0]], [0.0])[0]
    # Upright: y from -2 to 0, z 19.5 to 20.5. Rolled about its bottom centre it reaches along z instead.
    other = box_corners([[0, -1.0, 21.0]], [[2.0, 1.0, 4.0]], [0.0], rolled)[0]
    low, high = np.maximum(corners.min(axis=0), other.min(axis=0)), np.minimum(corners.max(axis=0), other.max(axis=0))
    inter = np.clip(high - low, 0, None).prod()
    iou = inter / (16 - inter)
    assert 0.05 < iou < 0.5
    base = {"image": 0, "category": 0, "bbox": [0, 0, 10, 10]}
    found = evaluate_omni3d([{**base, "corners": corners}], [{**base, "corners": other, "score": 1.0}], CLASSES)
    assert found["AP3D"] == pytest.approx(100 * np.mean(iou >= np.linspace(0.05, 0.5, 10)))
