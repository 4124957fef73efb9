"""Pose from map points: OpenCV's own pose, honest deviations, and points that tell none."""

import cv2
import numpy as np
import pytest

from d2road.structures.roadside_camera import RoadsideCamera, plane_from_angles
from d2road.traffic.calibration.point_pose import pose_from_points
from d2road.utils.errors import DataError

K = np.array([[1200.0, 0, 470], [0, 1190.0, 280], [0, 0, 1]])
CAMERA = RoadsideCamera(960, 540, K, plane_from_angles(0.2, 0.02, 7.0))
GROUND = np.array([[-5.0, 18], [6, 16], [-7, 60], [8, 55], [0, 30], [3, 80], [-4, 40], [5, 28]])


def map_of(ground: np.ndarray) -> np.ndarray:
    """The points in a map that is turned and lies elsewhere."""
    return (ground - [100.0, -40.0]) @ np.array([[np.cos(0.7), -np.sin(0.7)], [np.sin(0.7), np.cos(0.7)]])


def test_exact_points_give_the_camera_that_opencv_finds():
    pixels, points = CAMERA.ground_to_image(GROUND), map_of(GROUND)
    found = pose_from_points(pixels, points, (960, 540), K, np.zeros(5))
    np.testing.assert_allclose(found.camera.ground, CAMERA.ground, atol=1e-6)
    flat = np.concatenate([points, np.zeros((len(points), 1))], axis=1)
    _, turn, move = cv2.solvePnP(flat, pixels, K, None)
    up = cv2.Rodrigues(turn)[0][:, 2]
    np.testing.assert_allclose(found.camera.ground, np.append(up, -up @ move[:, 0]), atol=1e-5)


def test_focal_length_and_radial_distortion_are_found_where_asked():
    lens = RoadsideCamera(960, 540, K, CAMERA.ground, [-0.2])
    heights = np.concatenate([GROUND, np.zeros((8, 1))], axis=1)
    heights[2:5, 2] = (3.0, 5.0, 2.0)
    points = np.concatenate([map_of(GROUND), heights[:, 2:]], axis=1)
    wrong = K * [[1.15, 1, 1], [1, 1.15, 1], [1, 1, 1]]
    found = pose_from_points(lens.ground_to_image(heights), points, (960, 540), wrong, np.zeros(5), 0.5, lens=True)
    assert found.camera.K[0, 0] == pytest.approx(1200, rel=0.01)
    assert found.camera.distortion[0] == pytest.approx(-0.2, abs=0.02)


def test_deviations_are_those_of_monte_carlo():
    rng, wide = np.random.default_rng(0), []
    for _ in range(60):
        pixels = CAMERA.ground_to_image(GROUND) + rng.normal(size=GROUND.shape)
        found = pose_from_points(pixels, map_of(GROUND), (960, 540), K, np.zeros(5)).camera
        error = np.array([found.pitch_rad - 0.2, found.roll_rad - 0.02, np.log(found.height_m / 7)])
        wide.append(error / np.sqrt(np.diag(found.covariance))[1:])
    inside = (np.abs(wide) < 1).mean()
    assert 0.6 < inside < 0.86  # 68 %, and a little more since deviations never shrink below what was stated


@pytest.mark.parametrize(
    "ground, message", [(GROUND[:3], "at least 4"), (np.c_[np.zeros(6), np.arange(6) * 9.0 + 15], "one line")]
)
def test_points_that_tell_no_pose_are_refused(ground, message):
    with pytest.raises(DataError, match=message):
        pose_from_points(CAMERA.ground_to_image(ground), map_of(ground), (960, 540), K, np.zeros(5))


def test_a_mirrored_map_is_refused():
    with pytest.raises(DataError, match="order, their axes"):
        pose_from_points(CAMERA.ground_to_image(GROUND), map_of(GROUND) * [1, -1], (960, 540), K, np.zeros(5))
