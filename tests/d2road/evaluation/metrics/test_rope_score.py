import json
import time
import zipfile

import numpy as np
import pytest

from d2road.data.datasets.rope3d import TYPES
from d2road.evaluation.metrics.ground_frame import ground_rotations, to_ground_frame
from d2road.evaluation.metrics.kitti_objects import ObjectTable
from d2road.evaluation.metrics.kitti_protocol import evaluate_kitti
from d2road.evaluation.metrics.rope_score import CLASSES, evaluate_rope, moderate_ap, rope_score, rope_similarities
from d2road.evaluation.rope_files import read_rope_folders
from d2road.structures import Boxes3D
from d2road.structures.camera import Camera

PITCH, ROLL = 0.2, 0.03
CAMERA = Camera(np.array([[2000.0, 0, 960], [0, 2050, 540], [0, 0, 1]]), np.array([ROLL, -1.0, -PITCH, 6.0]))


@pytest.fixture(scope="module")
def golden(golden_dir, tmp_path_factory):
    source, root = golden_dir / "rope_score", tmp_path_factory.mktemp("rope")
    with zipfile.ZipFile(source / "data.zip") as archive:
        archive.extractall(root)
    data = read_rope_folders(root / "label_2", root / "pred", root / "calib", root / "denorm")
    return data, json.loads((source / "expected.json").read_text())["scores"]


def objects(boxes, kind="car", frame=None, scores=None, occluded=0, truncated=0, image=None):
    boxes = np.asarray(boxes, dtype=np.float64).reshape(-1, 7)
    n = len(boxes)
    return ObjectTable(
        frame=np.zeros(n, dtype=np.int64) if frame is None else frame,
        type=np.full(n, kind),
        truncated=np.full(n, truncated),
        occluded=np.full(n, occluded),
        alpha=np.zeros(n),
        boxes_xyxy=np.tile([100.0, 100.0, 200.0, 160.0], (n, 1)) if image is None else image,
        boxes3d=boxes,
        scores=np.ones(n) if scores is None else scores,
    )


def test_classes_are_those_of_the_data():
    assert list(CLASSES) == TYPES.classes


def test_equals_the_published_tool(golden):
    (truth, predictions, cameras), expected = golden
    got = rope_similarities(truth, predictions, cameras)
    for name, scores in expected.items():
        for key in ("matched", "ACS", "AOS", "AAS", "AGS", "S"):
            assert got[name][key] == pytest.approx(scores[key], abs=0.00051), (name, key)
            for label, part in scores["by_range"].items():
                assert got[name]["by_range"][label][key] == pytest.approx(part[key], abs=0.00051), (name, label, key)


def test_true_mode_differs_where_its_quirks_are(golden):
    (truth, predictions, cameras), _ = golden
    compat, true = (rope_similarities(truth, predictions, cameras, mode) for mode in ("compat", "true"))
    for name in CLASSES:
        assert true[name]["matched"] == compat[name]["matched"]
        assert true[name]["AOS"] < compat[name]["AOS"]
        by_range = [(part["matched"], part["ACS"]) for part in compat[name]["by_range"].values()]
        within = sum(n * value for n, value in by_range) / sum(n for n, _ in by_range)
        assert true[name]["ACS"] == pytest.approx(within)  # nothing beyond 120 m
        assert compat[name]["ACS"] != pytest.approx(within, abs=1e-6)


def test_rope_and_ap_of_golden_frames_fit_together(golden):
    data, _ = golden
    results = evaluate_rope(*data)
    for name, scores in results.items():
        for overlap in ("0.5", "0.7"):
            assert 0 <= scores["AP"][overlap] <= 100
            assert scores["Rope"][overlap] == pytest.approx(0.8 * scores["AP"][overlap] + 20 * scores["S"])
        kitti = evaluate_kitti(*data[:2], classes=[name], min_overlaps={name: 0.7}, neighbors={})
        assert scores["AP"]["0.7"] == pytest.approx(kitti[name]["3d"]["R40"][1])


def test_bins_take_their_upper_end_and_far_matches_count_overall_only_in_compat_mode():
    boxes = [[0, 1, z, 1.5, 1.8, 4.4, 0.1] for z in (30.0, 30.001, 120.0, 121.0)]
    guesses = np.array(boxes)
    guesses[:, 4] *= 0.5
    guesses[3, 4] = 1.8
    image = np.array([[i * 200.0, 300, i * 200.0 + 90, 380] for i in range(4)])
    truth, predictions = objects(boxes, image=image), objects(guesses, image=image)
    compat = rope_similarities(truth, predictions, [CAMERA])["car"]
    assert [part["matched"] for part in compat["by_range"].values()] == [1, 1, 0, 1]
    assert compat["by_range"]["60-90"] == {"matched": 0, **dict.fromkeys(("ACS", "AOS", "AAS", "AGS", "S"))}
    assert compat["matched"] == 3
    assert compat["AAS"] == pytest.approx((3 * 0.5 + 1) / 4)
    true = rope_similarities(truth, predictions, [CAMERA], "true")["car"]
    assert true["matched"] == 3 and true["AAS"] == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("truth_change", "prediction_change", "matched"),
    [
        ({}, {}, 1),
        ({3: 1.0}, {}, 0),  # height must exceed 1 m on both sides
        ({}, {3: 1.0}, 0),
        ({2: 0.0}, {}, 0),  # in front of the camera on both sides
        ({}, {2: -1.0}, 0),
        ({3: 0, 4: 0, 5: 0}, {}, 0),  # a label with a 2D box only
    ],
)
def test_who_takes_part(truth_change, prediction_change, matched):
    boxes = [np.array([2.0, 3, 30, 1.5, 1.8, 4.4, 0]) for _ in range(2)]
    for box, change in zip(boxes, (truth_change, prediction_change)):
        for column, value in change.items():
            box[column] = value
    assert rope_similarities(objects(boxes[0]), objects(boxes[1]), [CAMERA])["car"]["matched"] == matched


def test_matches_are_of_one_frame_and_one_class():
    box = [2.0, 3, 30, 1.5, 1.8, 4.4, 0]
    elsewhere = objects([box], frame=np.array([1]))
    assert rope_similarities(objects([box]), elsewhere, [CAMERA] * 2)["car"]["matched"] == 0
    other = rope_similarities(objects([box]), objects([box], kind="cyclist"), [CAMERA])
    assert other["car"]["matched"] == other["cyclist"]["matched"] == 0


@pytest.mark.parametrize("mode", ["compat", "true"])
def test_nothing_at_all_is_null(mode):
    nothing = objects(np.zeros((0, 7)))
    results = evaluate_rope(nothing, nothing, [], mode)
    assert results["car"]["S"] is None and results["car"]["matched"] == 0
    assert results["car"]["AP"] == results["car"]["Rope"] == {"0.5": None, "0.7": None}


def test_rope_score_needs_both_parts():
    assert rope_score(50.0, 0.9) == pytest.approx(58.0)
    assert rope_score(None, 0.9) is None and rope_score(50.0, None) is None


def test_ap_ignores_occluded_and_flat_labels():
    box, flat = [2.0, 3, 30, 1.5, 1.8, 4.4, 0], np.zeros(7)
    columns = np.arange(60)[:, None] * np.array([30.0, 0, 30, 0]) + np.array([0, 100, 25, 160])
    boxes = np.tile(box, (60, 1))
    boxes[:, 0] += 10 * np.arange(60)
    perfect = moderate_ap(objects(boxes, image=columns), objects(boxes, image=columns))
    assert perfect["car"] == {"0.5": 100.0, "0.7": 100.0} and perfect["cyclist"]["0.5"] is None
    boxes2d = np.concatenate([boxes, np.tile(flat, (60, 1))])
    twice = np.concatenate([columns, columns + 60])
    assert moderate_ap(objects(boxes2d, image=twice), objects(boxes, image=columns))["car"]["0.5"] == 100.0
    assert moderate_ap(objects(boxes, image=columns, occluded=2), objects(boxes, image=columns))["car"]["0.5"] is None


def test_true_ap_takes_boxes_on_the_ground():
    """A box that is 0.5 m off along the ground's normal: its height overlap is by the normal, not by the camera's y."""
    box = np.array([[2.0, 5, 60, 2.0, 2.5, 10.0, 0.7]])
    lifted = box.copy()
    lifted[0, :3] += 0.5 * CAMERA.ground[:3]
    truth, predictions = objects(box), objects(lifted)
    rotations = ground_rotations([CAMERA])
    a, b = (to_ground_frame(o, rotations).boxes3d[0] for o in (truth, predictions))
    assert np.allclose(b - a, [0, -0.5, 0, 0, 0, 0, 0])
    corners = Boxes3D.from_kitti(box, CAMERA.ground_rotation()).corners().numpy()[0]
    height_of_corners = corners @ CAMERA.ground[:3]
    assert np.allclose(height_of_corners[:4], -a[1]) and np.allclose(height_of_corners[4:], 2.0 - a[1])


def test_thousands_of_frames_in_seconds():
    generator = np.random.default_rng(0)
    frames, per_frame = 2000, 20
    n = frames * per_frame
    boxes = np.column_stack([
        generator.uniform(-40, 40, n), generator.uniform(4, 8, n), generator.uniform(10, 130, n),
        generator.uniform(1.3, 1.8, n), generator.uniform(1.6, 2, n), generator.uniform(3.5, 5, n),
        generator.uniform(-3, 3, n),
    ])  # fmt: skip
    corner = generator.uniform(0, 1000, (n, 2))
    image = np.hstack([corner, corner + generator.uniform(40, 120, (n, 2))])
    frame = np.repeat(np.arange(frames), per_frame)
    noisy = boxes + generator.normal(0, 0.05, boxes.shape)
    began = time.process_time()
    results = evaluate_rope(
        objects(boxes, frame=frame, image=image),
        objects(noisy, frame=frame, image=image, scores=generator.uniform(size=n)),
        [CAMERA] * frames,
    )
    assert results["car"]["matched"] > 0.9 * n * 11 / 12
    assert time.process_time() - began < 30
