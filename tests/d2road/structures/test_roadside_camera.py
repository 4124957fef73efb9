"""Roadside camera against OpenCV, the renderer's own camera, closed forms and Monte Carlo."""

import subprocess
import sys

import cv2
import numpy as np
import pytest

from d2road.structures.road_axis import RoadAxis
from d2road.structures.roadside_camera import RoadsideCamera, angles_of_plane, plane_from_angles
from d2road.structures.upright_boxes import heading_to_ry
from d2road.synthetic.roadside.views import make_view
from d2road.utils.errors import DataError

K = np.array([[1200.0, 0, 470], [0, 1180.0, 280], [0, 0, 1]])
PITCH, ROLL, HEIGHT = np.deg2rad(11.0), np.deg2rad(1.4), 6.5
LENS = np.array([-0.21, 0.05, 0.001, -0.0008, 0.01])


def camera(distortion=(), covariance=None) -> RoadsideCamera:
    return RoadsideCamera(960, 540, K, plane_from_angles(PITCH, ROLL, HEIGHT), distortion, covariance)


def test_its_frames_are_those_of_the_renderer():
    view = make_view(K, HEIGHT, PITCH, ROLL)
    points = np.random.default_rng(0).uniform([-20, 8, 0], [20, 80, 3], (40, 3))
    ours = RoadsideCamera.from_camera(view.camera, 960, 540)
    np.testing.assert_allclose(ours.ground_to_camera(points), view.to_camera(points), atol=1e-6)
    np.testing.assert_allclose(ours.camera_to_ground(view.to_camera(points)), points, atol=1e-6)
    np.testing.assert_allclose([ours.pitch_rad, ours.roll_rad, ours.height_m], [PITCH, ROLL, HEIGHT], atol=1e-8)


def test_headings_and_label_angles_are_those_of_the_renderer():
    view = make_view(K, HEIGHT, PITCH, ROLL)
    heading = np.linspace(-3, 3, 9)
    directions = np.stack([np.cos(heading), np.sin(heading), np.zeros(9)], axis=1) @ view.R.T
    ry = heading_to_ry(directions, view.camera.ground_rotation())
    np.testing.assert_allclose(camera().heading_of_ry(ry), heading, atol=1e-8)
    np.testing.assert_allclose(camera().ry_of_heading(heading), ry, atol=1e-8)


def test_distorted_points_are_those_of_opencv():
    points = np.random.default_rng(1).uniform([-12, -5, 20], [12, 5, 80], (50, 3))
    expected, _ = cv2.projectPoints(points, np.zeros(3), np.zeros(3), K, LENS)
    pixels = camera(LENS).camera_to_image(points)
    np.testing.assert_allclose(pixels, expected[:, 0], atol=1e-8)
    np.testing.assert_allclose(camera(LENS).undistort(pixels), camera().camera_to_image(points), atol=1e-5)


def test_undistortion_maps_are_those_of_opencv():
    ours = camera(LENS).undistortion_maps()
    moved = K - [[0, 0, 0.5], [0, 0, 0.5], [0, 0, 0]]  # OpenCV's first pixel centre is (0, 0)
    theirs = cv2.initUndistortRectifyMap(moved, LENS, None, moved, (960, 540), cv2.CV_32FC1)
    np.testing.assert_allclose(ours, theirs, atol=1e-3)


def test_a_point_beyond_the_fold_of_the_lens_has_no_source():
    strong = camera([-0.6])
    assert np.isnan(strong.undistort(np.array([[5000.0, 280.0]]))).all()
    np.testing.assert_allclose(strong.undistort(K[:2, 2]), K[:2, 2], atol=1e-9)


@pytest.mark.parametrize("lens", [(), LENS])
def test_image_and_ground_are_inverse_and_the_sky_has_no_ground(lens):
    pixels = np.random.default_rng(2).uniform([0, 100], [960, 540], (40, 2))
    ground = camera(lens).image_to_ground(pixels)
    np.testing.assert_allclose(camera(lens).ground_to_image(ground), pixels, atol=1e-5)
    assert np.isnan(camera(lens).image_to_ground(np.array([480.0, 10.0]))).all()
    assert np.isnan(camera(lens).ground_to_image(np.array([0.0, -5.0]))).all()


def test_homography_maps_as_the_rays_do_and_tells_the_sky_by_its_sign():
    pixels = np.random.default_rng(3).uniform([0, 100], [960, 540], (40, 2))
    mapped = np.concatenate([pixels, np.ones((40, 1))], axis=1) @ camera().homography().T
    np.testing.assert_allclose(mapped[:, :2] / mapped[:, 2:], camera().image_to_ground(pixels), rtol=1e-9)
    assert (mapped[:, 2] > 0).all() and camera().homography()[2] @ [480, 10, 1] < 0
    line = camera().horizon()
    np.testing.assert_allclose(camera().homography()[2], line, rtol=1e-9)


def test_ground_covariance_is_that_of_monte_carlo():
    std = np.array([0.002, 0.0008, 0.002, 0.01])
    correlation = np.eye(4)
    correlation[0, 1] = correlation[1, 0] = -0.6
    known = camera(covariance=correlation * np.outer(std, std))
    pixel, rng = np.array([600.0, 200.0]), np.random.default_rng(4)
    draws = rng.multivariate_normal(np.zeros(4), known.covariance, 20000)
    where = np.empty((len(draws), 2))
    for i, (focal, pitch, roll, height) in enumerate(draws):
        scaled = K * [[np.exp(focal), 1, 1], [1, np.exp(focal), 1], [1, 1, 1]]
        plane = plane_from_angles(PITCH + pitch, ROLL + roll, HEIGHT * np.exp(height))
        where[i] = RoadsideCamera(960, 540, scaled, plane).image_to_ground(pixel + rng.normal(0, 0.5, 2))
    np.testing.assert_allclose(known.ground_covariance(pixel, 0.5), np.cov(where.T), rtol=0.06, atol=2e-3)


def test_scaling_keeps_the_ground_and_refuses_another_shape():
    half = camera(LENS).scaled(480, 270)
    np.testing.assert_allclose(half.image_to_ground([300.0, 150.0]), camera(LENS).image_to_ground([600.0, 300.0]))
    with pytest.raises(DataError, match="another shape"):
        camera().scaled(640, 480)
    with pytest.raises(DataError, match=r"1920x1080.*960x540.*scaling"):
        camera().require_size(1920, 1080)


@pytest.mark.parametrize(
    "change, message",
    [
        ({"ground": [0, -1, 0, -3]}, "below its ground"),
        ({"K": np.eye(4)}, "K is a 3x3"),
        ({"covariance": -np.eye(4)}, "covariance"),
        ({"distortion": np.zeros(8)}, "up to five"),
        ({"width": 0}, "0 x 540"),
    ],
)
def test_what_no_camera_can_be_is_refused(change, message):
    arguments = {"width": 960, "height": 540, "K": K, "ground": [0, -1, 0, 3], **change}
    with pytest.raises(DataError, match=message):
        RoadsideCamera(**arguments)


def test_lanes_are_counted_from_the_right_of_the_axis():
    road = RoadAxis(np.pi / 2, [-7.0, -3.5, 0.0, 3.5], [1, 1, -1])  # ahead; left is -X
    np.testing.assert_allclose(road.along_across([2.0, 30.0]), [30.0, -2.0], atol=1e-12)
    np.testing.assert_allclose(road.to_ground(road.along_across([2.0, 30.0])), [2.0, 30.0])
    np.testing.assert_array_equal(road.lane_of([-9.0, -5.0, -2.0, 3.5, 4.0]), [-1, 0, 1, 2, -1])
    with pytest.raises(DataError, match="need 1 directions"):
        RoadAxis(0.0, [0.0, 3.0], [])


def test_angles_are_the_inverse_of_the_plane():
    np.testing.assert_allclose(angles_of_plane(plane_from_angles(0.3, -0.1, 5)), (0.3, -0.1))


def test_neither_torch_nor_opencv_is_loaded(repo_dir):
    code = "import sys, d2road.structures.roadside_camera; print({'torch', 'cv2', 'detectron2'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], cwd=repo_dir, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
