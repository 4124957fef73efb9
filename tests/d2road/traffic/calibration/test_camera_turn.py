"""Turns of a camera against cameras with other angles, and against the homography of a rotation."""

import numpy as np
import pytest

from d2road.structures.roadside_camera import RoadsideCamera, plane_from_angles
from d2road.traffic.calibration.camera_turn import turn_matrix, turn_of_matrix, turned_ground, turned_homography
from tests.factories.camera_sites import FOCAL, HEIGHT_M, PITCH, straight_camera

POINTS = np.array([[-3.0, 20.0], [2.0, 35.0], [-7.0, 60.0]])


def camera_at(pitch_rad, roll_rad):
    K = np.array([[FOCAL, 0.0, 480.0], [0.0, FOCAL, 270.0], [0.0, 0.0, 1.0]])
    return RoadsideCamera(960, 540, K, plane_from_angles(pitch_rad, roll_rad, HEIGHT_M))


@pytest.mark.parametrize("turn", [(0, 0.5, 0), (0, -0.3, 0), (0, 0, 0.4)])
def test_pitch_and_roll_are_those_of_a_camera_with_other_angles(turn):
    before = camera_at(0.0, 0.0) if turn[2] else straight_camera()
    after = camera_at(np.deg2rad(turn[1]) + before.pitch_rad, np.deg2rad(turn[2]))
    pixels = after.ground_to_image(POINTS)
    np.testing.assert_allclose(turned_ground(before, POINTS, np.array(turn)), before.image_to_ground(pixels), atol=1e-6)


def test_a_camera_that_looks_further_right_sees_things_further_left():
    moved = turned_ground(straight_camera(), POINTS, np.array([0.2, 0.0, 0.0]))
    assert (moved[:, 0] < POINTS[:, 0]).all()
    # 0.2 degrees at 60 m, along the ray.
    assert moved[2, 0] - POINTS[2, 0] == pytest.approx(-60 * np.deg2rad(0.2), rel=0.05)


def test_points_move_in_the_image_by_the_homography():
    camera, turn = straight_camera(), np.array([0.3, -0.2, 0.5])
    pixels = np.column_stack([camera.ground_to_image(POINTS), np.ones(3)]) @ turned_homography(camera.K, turn).T
    lifted = camera.image_to_ground(pixels[:, :2] / pixels[:, 2:])
    np.testing.assert_allclose(turned_ground(camera, POINTS, turn), lifted, atol=1e-6)


def test_a_matrix_tells_its_turn():
    np.testing.assert_allclose(turn_of_matrix(turn_matrix(np.array([1.0, -2.0, 3.0]))), [1.0, -2.0, 3.0], atol=1e-9)


def test_points_that_rise_above_the_horizon_are_nowhere():
    far = np.array([[0.0, 2000.0]])
    assert np.isnan(turned_ground(straight_camera(), far, np.array([0.0, 1.0, 0.0]))).all()
    assert PITCH > 0
