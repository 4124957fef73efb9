"""Figures of an evaluation by Omni3D's protocol: what was put in comes out."""

import numpy as np
import pytest

from d2road.evaluation.metrics.omni3d_protocol import evaluate_omni3d, match_omni3d
from d2road.evaluation.omni3d_plots import corner_errors, matched_errors, omni3d_plots, precision_recall_figure
from d2road.structures.upright_boxes import box_axes, box_corners

CLASSES = ["car", "bus"]


def boxes(depths, *, depth_error=0.0, longer=0.0, turned=0.0, category=0, first=0, **more):
    """An object an image, in the same 2D box."""
    corners = [box_corners([[3.0, 1.5, z + depth_error]], [[1.5, 1.8, 4.0 + longer]], [turned])[0] for z in depths]
    ids = range(first, first + len(depths))
    return [
        {"image": i, "category": category, "bbox": [100, 100, 150, 140], "corners": c, **more}
        for i, c in zip(ids, corners)
    ]


def test_axes_of_boxes_of_any_turn_are_their_sides_and_heading():
    rng = np.random.default_rng(0)
    sizes, turns = rng.uniform(1, 5, (20, 3)), rng.uniform(-np.pi, np.pi, 20)
    rotation = np.linalg.qr(rng.normal(size=(3, 3)))[0]
    rotation *= np.sign(np.linalg.det(rotation))
    for frame in (None, rotation):
        found, ahead = box_axes(box_corners(rng.normal(size=(20, 3)), sizes, turns, frame))
        np.testing.assert_allclose(found, sizes)
        expected = sizes[:, 2:] * np.stack([np.cos(turns), 0 * turns, -np.sin(turns)], axis=1)
        np.testing.assert_allclose(ahead, expected if frame is None else expected @ rotation.T, atol=1e-12)


def test_errors_over_distance_are_those_that_were_put_in():
    depths = np.repeat([15.0, 35.0], 5)
    truth = boxes(depths) + boxes([20.0], category=1, first=10)
    found = boxes(depths, depth_error=2.0, longer=0.4, turned=0.1, score=0.9)
    flat, solid = match_omni3d(truth, found, CLASSES)
    errors = matched_errors(flat)
    assert list(errors) == [0]
    np.testing.assert_allclose(errors[0].depth_m, 2.0)
    np.testing.assert_allclose(errors[0].sizes, np.tile([0, 0, 0.1], (10, 1)), atol=1e-12)
    np.testing.assert_allclose(errors[0].yaw_rad, 0.1)
    np.testing.assert_allclose(np.sort(errors[0].range_m), np.hypot(3, depths))
    figures = omni3d_plots(flat, solid, CLASSES).figures
    assert list(figures) == ["precision_recall", "errors_car"]
    depth = figures["errors_car"].panels[0]
    assert depth.series[0].y == pytest.approx((2, 2)) and depth.x_label == "horizontal distance from the camera (m)"


def test_ignored_objects_and_those_without_3d_have_no_errors():
    truth = boxes([10.0], ignore=True) + [{**boxes([20.0], first=1)[0], "corners": None, "ignore": True}]
    flat, _ = match_omni3d(truth, boxes([10.0, 20.0], score=0.5), CLASSES)
    assert matched_errors(flat) == {}


def test_curves_have_the_area_that_the_metrics_have():
    rng = np.random.default_rng(1)
    truth = boxes(np.linspace(5, 60, 30)) + boxes(np.linspace(5, 60, 30), category=1, first=30)
    found = []
    for entry in truth:
        shift = rng.normal(0, 0.8, 3) * [1, 0, 1]
        found.append({**entry, "corners": entry["corners"] + shift, "score": float(rng.random())})
        found.append({**entry, "corners": entry["corners"] + 30, "bbox": [0, 0, 9, 9], "score": float(rng.random())})
    results = evaluate_omni3d(truth, found, CLASSES)
    _, solid = match_omni3d(truth, found, CLASSES)
    curves = {s.name.split(" (AP")[0]: np.mean(s.y) for s in precision_recall_figure(solid, CLASSES).series}
    assert 5 < results["AP3D"] < 95
    assert 100 * curves["all classes, IoU 0.05 to 0.5"] == pytest.approx(results["AP3D"])
    for iou in (15, 25, 50):
        assert 100 * curves[f"all classes, IoU {iou / 100:g}"] == pytest.approx(results[f"AP3D-{iou}"])
    for depth in ("near", "medium", "far"):
        assert 100 * curves[f"{depth}, IoU 0.05 to 0.5"] == pytest.approx(results[f"AP3D-{depth}"])
    assert {"car, IoU 0.25", "bus, IoU 0.25"} <= set(curves)


def test_a_reversed_box_is_half_a_turn_off():
    truth = box_corners([[0, 0, 10]], [[1.5, 1.8, 4.0]], [0.2])
    errors = corner_errors(box_corners([[0, 0, 10]], [[1.5, 1.8, 4.0]], [0.2 + np.pi]), truth)
    assert abs(errors.yaw_rad[0]) == pytest.approx(np.pi)
