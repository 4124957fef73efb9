import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from d2road.evaluation.metrics.kitti_ap import Pairs
from d2road.evaluation.metrics.rope_similarity import bottom_corners, level_rotations, mutual_best, similarities
from d2road.structures.camera import Camera
from d2road.structures.upright_boxes import box_corners

TILTED = Camera(np.diag([1000.0, 1100.0, 1.0]), np.array([0.03, -0.96, -0.26, 6.0]))
LEVEL = Camera(np.eye(3), np.array([0.0, -1.0, 0.0, 6.0]))
BOX = np.array([[3.0, 6.0, 40.0, 1.5, 1.8, 4.4, 0.3]])


def score(truth, predicted, mode, camera=LEVEL, pedestrian=False):
    values = similarities(truth, predicted, level_rotations([camera] * len(truth), mode), pedestrian, mode)
    return {name: float(value[0]) for name, value in values.items()}


def changed(**changes):
    """BOX with some of x, y, z, h, w, l, ry changed."""
    box = BOX.copy()
    for name, value in changes.items():
        box[0, ["x", "y", "z", "h", "w", "l", "ry"].index(name)] = value
    return box


@pytest.mark.parametrize("mode", ["compat", "true"])
@pytest.mark.parametrize("camera", [LEVEL, TILTED])
def test_a_perfect_prediction_scores_one(mode, camera):
    assert score(BOX, BOX, mode, camera) == pytest.approx(dict.fromkeys(("ACS", "AOS", "AAS", "AGS"), 1.0))


def test_a_shift_by_one_metre_is_two_thirds_in_the_published_distance():
    shifted = changed(x=4.0)
    ground_range = np.hypot(3, 40)
    assert score(BOX, shifted, "compat")["AGS"] == pytest.approx(1 - 2 / 3 / ground_range, abs=1e-8)
    assert score(BOX, shifted, "true")["AGS"] == pytest.approx(1 - 1 / ground_range, abs=1e-8)
    assert score(BOX, shifted, "true")["ACS"] == pytest.approx(1 - 1 / np.linalg.norm([3, 6, 40]))


def test_heading():
    quarter, half = changed(ry=0.3 + np.pi / 4), changed(ry=0.3 + np.pi)
    assert score(BOX, quarter, "compat")["AOS"] == pytest.approx((3 + np.cos(np.pi / 4)) / 4)
    assert score(BOX, quarter, "true")["AOS"] == pytest.approx((1 + np.cos(np.pi / 4)) / 2)
    # The published tool turns a prediction that is more than pi/2 off: opposite headings are forgiven.
    assert score(BOX, half, "compat")["AOS"] == pytest.approx(1)
    assert score(BOX, half, "true")["AOS"] == pytest.approx(0, abs=1e-12)
    # ... and it does not wrap: the same heading written as -pi and pi is turned away.
    truth, same = changed(ry=-np.pi + 0.01), changed(ry=np.pi + 0.01)
    assert score(truth, same, "compat")["AOS"] == pytest.approx(0.5)
    assert score(truth, same, "true")["AOS"] == pytest.approx(1)
    assert score(truth, same, "compat")["AGS"] == pytest.approx(1)


def test_corners_do_not_ask_for_the_front():
    assert score(BOX, changed(ry=0.3 + np.pi), "true")["AGS"] == pytest.approx(1)


def test_pedestrians_get_the_headings_of_the_ground_truth_in_compat_mode_only():
    turned = changed(ry=1.5)
    assert score(BOX, turned, "compat", pedestrian=True) == pytest.approx(score(BOX, BOX, "compat"))
    assert score(BOX, turned, "true", pedestrian=True)["AOS"] == pytest.approx((1 + np.cos(1.2)) / 2)


def test_area_and_limits():
    assert score(BOX, changed(w=0.9), "compat")["AAS"] == pytest.approx(0.5)
    assert score(BOX, changed(l=44.0), "true")["AAS"] == 0  # nine times too much is no less than 0
    far = score(BOX, changed(x=500.0), "true")
    assert far["ACS"] == 0 and far["AGS"] == 0


def test_true_corners_are_those_of_the_ground_frame_and_compat_ones_lack_roll():
    rotation = TILTED.ground_rotation()
    expected = box_corners(BOX[:, :3], BOX[:, 3:6], BOX[:, 6], rotation)[:, :4]
    got = bottom_corners(BOX, BOX[:, 6], level_rotations([TILTED], "true"))
    assert np.allclose(got, expected)
    heights = got[0] @ TILTED.ground[:3]
    assert np.ptp(heights) < 1e-12
    rolled = bottom_corners(BOX, BOX[:, 6], level_rotations([TILTED], "compat"))
    assert 0.01 < np.ptp(rolled[0] @ TILTED.ground[:3]) < 0.3
    assert np.ptp(rolled[0] @ (TILTED.ground[:3] * (0, 1, 1))) < 1e-12


def test_a_camera_without_ground_and_an_unknown_mode_are_refused():
    with pytest.raises(ValueError, match="frame 1 has no ground plane"):
        level_rotations([LEVEL, Camera(np.eye(3))], "compat")
    with pytest.raises(ValueError, match="expected compat or true"):
        level_rotations([LEVEL], "official")
    with pytest.raises(ValueError, match="expected compat or true"):
        score(BOX, BOX, "compact")


@settings(max_examples=60, deadline=None)
@given(st.lists(st.lists(st.sampled_from([0.0, 0.4, 0.6, 0.7, 0.8, 1.0]), min_size=4, max_size=4), max_size=5))
def test_mutual_best_as_a_table_says_it(rows):
    """Rows are predictions, columns ground truth; ties go to the first, as `list.index` does."""
    table = np.array(rows).reshape(-1, 4)
    expected = []
    for i, row in enumerate(table):
        j = int(np.argmax(row))
        if row[j] > 0.5 and i == int(np.argmax(table[:, j])):
            expected.append((j, i))
    p, t = np.nonzero(table > 0)
    order = np.random.default_rng(0).permutation(len(p))
    got = mutual_best(Pairs(t[order], p[order], table[p, t][order]), 0.5)
    assert sorted(zip(*(x.tolist() for x in got))) == sorted(expected)


def test_the_published_distance_forgives_a_change_of_axes():
    truth, permuted = changed(x=10, y=20, z=30, w=1e-6, l=1e-6), changed(x=30, y=10, z=20, w=1e-6, l=1e-6)
    assert score(truth, permuted, "compat")["AGS"] == pytest.approx(1, abs=1e-6)
    assert score(truth, permuted, "true")["AGS"] < 0.3
    assert score(truth, permuted, "compat")["ACS"] < 0.4
