"""Camera and box corners against OpenCV, hand-made cases and the labels of a real roadside frame."""

import cv2
import numpy as np
import pytest
import yaml
from scipy.spatial.transform import Rotation

from d2road.structures.camera import Camera
from d2road.structures.upright_boxes import box_corners, heading_to_ry, project_boxes, ry_to_alpha, wrap_angle

K = np.array([[1200.0, 0, 470], [0, 1180.0, 280], [0, 0, 1]])
GROUND = np.array([0.02, -0.97, -0.21, 6.5])


def test_project_agrees_with_opencv():
    points = np.random.default_rng(0).uniform([-20, -5, 5], [20, 5, 80], (50, 3))
    expected, _ = cv2.projectPoints(points, np.zeros(3), np.zeros(3), K, None)
    pixels, depth = Camera(K).project(points)
    np.testing.assert_allclose(pixels, expected[:, 0], atol=1e-9)
    np.testing.assert_allclose(depth, points[:, 2])


def test_project_with_a_fourth_column_agrees_with_opencv():
    # KITTI's P2: the camera stands beside the frame's origin.
    P = np.array([[721.5377, 0, 609.5593, 44.85728], [0, 721.5377, 172.854, 0.2163791], [0, 0, 1, 0.002745884]])
    t = np.linalg.solve(P[:, :3], P[:, 3])
    points = np.random.default_rng(0).uniform([-20, -5, 5], [20, 5, 80], (50, 3))
    expected, _ = cv2.projectPoints(points, np.zeros(3), t, P[:, :3], None)
    camera = Camera(P)
    pixels, depth = camera.project(points)
    np.testing.assert_allclose(pixels, expected[:, 0], atol=1e-8)
    np.testing.assert_allclose(camera.unproject(pixels, depth), points, atol=1e-9)
    np.testing.assert_allclose(camera.project(camera.center)[1], 0, atol=1e-12)


@pytest.mark.parametrize("height_m", [0.0, 0.8])
def test_rays_meet_the_plane(height_m):
    camera = Camera(K, GROUND)
    pixels = np.random.default_rng(1).uniform([0, 100], [960, 540], (40, 2))
    points = camera.intersect_plane(pixels, height_m)
    np.testing.assert_allclose(points @ camera.ground[:3] + camera.ground[3], height_m, atol=1e-9)
    np.testing.assert_allclose(camera.project(points)[0], pixels, atol=1e-7)


def test_rays_above_the_horizon_meet_nothing():
    assert np.isnan(Camera(K, GROUND).intersect_plane(np.array([480.0, -2000.0]))).all()


def test_plane_is_normalised_to_point_up():
    for scale in (1.0, -3.0):
        camera = Camera(K, GROUND * scale)
        np.testing.assert_allclose(np.linalg.norm(camera.ground[:3]), 1)
        assert camera.ground[1] < 0
        np.testing.assert_allclose(camera.height_m, 6.5 / np.linalg.norm(GROUND[:3]))


def test_ground_rotation_is_a_rotation_that_levels():
    R = Camera(K, GROUND).ground_rotation()
    np.testing.assert_allclose(R.T @ R, np.eye(3), atol=1e-12)
    np.testing.assert_allclose(np.linalg.det(R), 1)
    np.testing.assert_allclose(R[:, 1], -Camera(K, GROUND).ground[:3])
    np.testing.assert_allclose(Camera(K).ground_rotation(), np.eye(3))


def test_corners_are_those_of_the_drawing():
    corners = box_corners(np.array([[1.0, 2.0, 30.0]]), np.array([[1.5, 2.0, 4.0]]), np.array([0.0]))[0]
    np.testing.assert_allclose(corners[0], [3, 2, 31])
    np.testing.assert_allclose(corners[6], [-1, 0.5, 29])
    # At pi/2 the length points along -z, towards the camera.
    turned = box_corners(np.array([[1.0, 2.0, 30.0]]), np.array([[1.5, 2.0, 4.0]]), np.array([np.pi / 2]))[0]
    np.testing.assert_allclose(turned[[0, 3]].mean(axis=0), [1, 2, 28], atol=1e-12)


def test_heading_and_ry_are_inverse():
    rotation = Camera(K, GROUND).ground_rotation()
    ry = np.linspace(-3.1, 3.1, 13)
    corners = box_corners(np.zeros((13, 3)), np.ones((13, 3)), ry, rotation)
    np.testing.assert_allclose(heading_to_ry(corners[:, 0] - corners[:, 1], rotation), ry, atol=1e-12)


def test_alpha_is_wrapped():
    assert ry_to_alpha(4.7, np.array([0.0, 0.0, 10.0])) == pytest.approx(4.7 - 2 * np.pi)
    assert wrap_angle(np.pi) == pytest.approx(-np.pi)


def test_boxes_behind_the_camera_are_nan():
    corners = box_corners(np.array([[0.0, 1, 0.5], [0, 1, 20]]), np.full((2, 3), 2.0), np.zeros(2))
    boxes, in_front = project_boxes(Camera(K), corners, (960, 540))
    assert in_front.tolist() == [False, True]
    assert np.isnan(boxes[0]).all() and np.isfinite(boxes[1]).all()


@pytest.mark.parametrize("P", [np.eye(2), np.full((3, 4), np.nan), np.diag([0.0, 1, 1])])
def test_bad_projection_is_refused(P):
    with pytest.raises(ValueError, match="3x4"):
        Camera(P)


@pytest.mark.parametrize("ground", [[0, 0, 0, 5], [0, -1, 0], [0, -1, np.nan, 5]])
def test_bad_plane_is_refused(ground):
    with pytest.raises(ValueError, match="plane"):
        Camera(K, np.array(ground, dtype=float))


def test_a_camera_without_plane_says_so():
    with pytest.raises(ValueError, match="denorm"):
        Camera(K).intersect_plane(np.zeros(2))


@pytest.fixture(scope="module")
def real_frame(shared_dir):
    """The Rope3D sample: camera, (N, 14) numbers of its untruncated cars, and the extrinsics' (3, 3) rotation."""
    root = shared_dir / "data" / "rope3d_sample"
    if not root.is_dir():
        pytest.skip(f"{root} is not there")
    text = {name: next((root / name).iterdir()).read_text() for name in ("label_2", "calib", "denorm", "extrinsics")}
    camera = Camera(np.array(text["calib"].split()[1:], float).reshape(3, 4), np.array(text["denorm"].split(), float))
    rows = [line.split() for line in text["label_2"].splitlines()]
    cars = np.array([[float(v) for v in row[1:]] for row in rows if row[0] == "car" and float(row[1]) == 0])
    inside = (cars[:, 3] > 1) & (cars[:, 4] > 1) & (cars[:, 5] < 1919) & (cars[:, 6] < 1079)
    q = yaml.safe_load(text["extrinsics"])["transform"]["rotation"]
    return camera, cars[inside], Rotation.from_quat([q["x"], q["y"], q["z"], q["w"]]).as_matrix()


def _mean_iou(boxes, labels):
    low, high = np.maximum(boxes[:, :2], labels[:, :2]), np.minimum(boxes[:, 2:], labels[:, 2:])
    overlap = np.clip(high - low, 0, None).prod(axis=1)
    areas = sum((b[:, 2:] - b[:, :2]).prod(axis=1) for b in (boxes, labels))
    return (overlap / (areas - overlap)).mean()


def test_corners_reproduce_the_labelled_boxes_of_a_real_frame(real_frame):
    camera, cars, _ = real_frame
    assert len(cars) == 12

    def boxes(rotation):
        return project_boxes(camera, box_corners(cars[:, 10:13], cars[:, 7:10], cars[:, 13], rotation), (1920, 1080))[0]

    assert _mean_iou(boxes(camera.ground_rotation()), cars[:, 3:7]) == pytest.approx(0.982, abs=0.003)
    # About the camera's y axis, as in KITTI, the boxes would not fit.
    assert _mean_iou(boxes(None), cars[:, 3:7]) < 0.8


def test_alpha_follows_ry_in_a_real_frame(real_frame):
    _, cars, _ = real_frame
    np.testing.assert_allclose(wrap_angle(cars[:, 2] - ry_to_alpha(cars[:, 13], cars[:, 10:13])), 0, atol=1e-3)


def test_real_extrinsics_turn_the_plane_level(real_frame):
    camera, _, camera_to_world = real_frame
    np.testing.assert_allclose(camera_to_world @ camera.ground[:3], [0, 0, 1], atol=0.01)
