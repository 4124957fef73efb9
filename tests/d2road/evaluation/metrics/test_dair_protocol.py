import dataclasses

import numpy as np
import pytest

from d2road.data.datasets.dair import TYPES
from d2road.evaluation.metrics.dair_protocol import MIN_OVERLAPS, evaluate_dair, range_name
from d2road.evaluation.metrics.kitti_objects import ObjectTable
from d2road.evaluation.metrics.kitti_protocol import evaluate_kitti
from d2road.structures.camera import Camera

CAMERA = Camera(np.array([[2000.0, 0, 960], [0, 2000, 540], [0, 0, 1]]), np.array([0.02, -1.0, -0.2, 6.0]))
FRAMES = 12


@pytest.fixture
def scene():
    """Cars of all ranges to 150 m, and noisy predictions of them with a few wrong ones."""
    generator = np.random.default_rng(3)
    n = FRAMES * 30
    boxes = np.column_stack([
        generator.uniform(-150, 150, n), generator.uniform(2, 9, n), generator.uniform(10, 150, n),
        generator.uniform(1.4, 1.7, n), generator.uniform(1.6, 2, n), generator.uniform(4, 5, n),
        generator.uniform(-3, 3, n),
    ])  # fmt: skip
    boxes = boxes[np.hypot(boxes[:, 0], boxes[:, 2]) < 150]
    n = len(boxes)
    truth = ObjectTable(
        frame=np.arange(n) % FRAMES,
        type=np.array(["car", "Pedestrian", "Cyclist"])[np.arange(n) % 3],
        truncated=np.zeros(n),
        occluded=generator.integers(0, 3, n),
        alpha=np.zeros(n),
        boxes_xyxy=np.tile([100.0, 100, 200, 150], (n, 1)),
        boxes3d=boxes,
        scores=np.zeros(n),
    )
    noisy = boxes + generator.normal(0, [0.3, 0.05, 0.5, 0.1, 0.1, 0.2, 0.1], boxes.shape)
    noisy[::7, 2] += 8
    return truth, dataclasses.replace(truth, boxes3d=noisy, scores=generator.uniform(size=n))


def test_classes_are_those_of_the_data():
    assert list(MIN_OVERLAPS) == [name.lower() for name in TYPES.classes]


def test_without_a_limit_it_is_kittis_protocol(scene):
    got = evaluate_dair(*scene, [CAMERA] * FRAMES, max_ranges_m=[1e6])[range_name(1e6)]
    expected = evaluate_kitti(*scene, min_overlaps=MIN_OVERLAPS, neighbors={})
    for name in MIN_OVERLAPS:
        for metric in ("3d", "bev"):
            for recall in ("R40", "R11"):
                assert got[name][metric][recall] == pytest.approx(expected[name][metric][recall])
    assert 5 < got["car"]["3d"]["R40"][1] < 95


def test_a_range_is_as_if_there_were_nothing_beyond(scene):
    """Up to predictions on the other side of the limit than their object, of which this scene is freed."""
    truth, predictions = scene
    clear = (np.abs(truth.range_m - 102) > 10) & (np.abs(predictions.range_m - 102) > 10)
    truth, predictions = truth[clear], predictions[clear]
    got = evaluate_dair(truth, predictions, [CAMERA] * FRAMES)
    near = truth[truth.range_m < 102], predictions[predictions.range_m < 102]
    expected = evaluate_dair(*near, [CAMERA] * FRAMES, max_ranges_m=[1e6])[range_name(1e6)]
    assert list(got) == ["0-102m", "0-140m"]
    for name in MIN_OVERLAPS:
        assert got["0-102m"][name]["3d"]["R40"] == pytest.approx(expected[name]["3d"]["R40"])
        assert got["0-102m"][name]["3d"]["R40"] != pytest.approx(got["0-140m"][name]["3d"]["R40"])


def row(z, score=0.0):
    return ObjectTable(
        frame=[0], type=["car"], truncated=[0], occluded=[0], alpha=[0], boxes_xyxy=[[100, 100, 200, 150]],
        boxes3d=[[0, 5, z, 1.5, 1.8, 4.4, np.pi / 2]], scores=[score],
    )  # fmt: skip


@pytest.mark.parametrize("z", [101.9, 102.1])
def test_a_prediction_beyond_the_range_may_match_an_object_within(z):
    one = evaluate_dair(row(101.8), row(z, 0.9), [CAMERA], max_ranges_m=[102])["0-102m"]["car"]["3d"]["R11"]
    assert one == pytest.approx([100 / 11] * 3)  # all that a single object can give
    none = evaluate_dair(row(102.2), row(z, 0.9), [CAMERA], max_ranges_m=[102])["0-102m"]["car"]["3d"]["R11"]
    assert np.isnan(none).all()


def test_true_mode_compares_on_the_ground(scene):
    truth, predictions = scene
    compat, true = (evaluate_dair(*scene, [CAMERA] * FRAMES, mode)["0-140m"]["car"] for mode in ("compat", "true"))
    assert compat["3d"]["R40"] != pytest.approx(true["3d"]["R40"])
    # A shift by 0.5 m along the ground leaves an IoU above 0.5 on the ground, and less in the camera's upright frame.
    forward = CAMERA.ground_rotation()[:, 2]
    moved = truth.boxes3d.copy()
    moved[:, :3] += 0.5 * forward
    perfect = dataclasses.replace(truth, scores=predictions.scores)
    shifted = dataclasses.replace(perfect, boxes3d=moved)
    best = evaluate_dair(truth, perfect, [CAMERA] * FRAMES)["0-140m"]["car"]["3d"]["R40"]
    compat, true = (
        evaluate_dair(truth, shifted, [CAMERA] * FRAMES, mode)["0-140m"]["car"]["3d"]["R40"]
        for mode in ("compat", "true")
    )
    assert true == pytest.approx(best)
    assert compat[1] < best[1] - 5


def test_no_ground_plane_and_unknown_mode(scene):
    bare = [Camera(CAMERA.P)] * FRAMES
    evaluate_dair(*scene, bare)
    with pytest.raises(ValueError, match="ground plane"):
        evaluate_dair(*scene, bare, "true")
    with pytest.raises(ValueError, match="compat or true"):
        evaluate_dair(*scene, bare, "fair")
