"""A camera and its labels under changes of the image: project(transformed) must equal transform(project)."""

import numpy as np
import pytest

from d2road.structures.camera import Camera
from d2road.structures.upright_boxes import box_corners, heading_to_ry, wrap_angle

P2 = np.array([[721.5377, 0, 609.5593, 44.85728], [0, 730.0, 172.854, 0.2163791], [0, 0, 1, 0.002745884]])
GROUND = np.array([0.05, -0.97, -0.21, 6.5])
WIDTH = 1242.0


@pytest.fixture
def camera():
    return Camera(P2, GROUND)


@pytest.fixture
def points():
    return np.random.default_rng(0).uniform([-20, -5, 5], [20, 5, 80], (50, 3))


@pytest.mark.parametrize(
    ("change", "move"),
    [
        (lambda c: c.resized(0.5, 0.7), lambda uv: uv * [0.5, 0.7]),
        (lambda c: c.cropped(100.5, -20), lambda uv: uv - [100.5, -20]),
        (lambda c: c.padded(30, 8), lambda uv: uv + [30, 8]),
        (lambda c: c.padded(), lambda uv: uv),
        (lambda c: c.cropped(10, 20).resized(2, 3), lambda uv: (uv - [10, 20]) * [2, 3]),
    ],
)
def test_pixels_move_with_the_image_and_points_stay(camera, points, change, move):
    before, depth = camera.project(points)
    after, depth_after = change(camera).project(points)
    np.testing.assert_allclose(after, move(before), atol=1e-9)
    np.testing.assert_allclose(depth_after, depth)
    np.testing.assert_array_equal(change(camera).ground, camera.ground)
    np.testing.assert_allclose(change(camera).center, camera.center, atol=1e-12)
    # The plane is hit at the same points.
    hits = change(camera).intersect_plane(move(before))
    np.testing.assert_allclose(hits, camera.intersect_plane(before), rtol=1e-7)


def test_a_flip_mirrors_image_and_world(camera, points):
    flipped, mirror = camera.flipped(WIDTH), np.array([-1.0, 1, 1])
    before, depth = camera.project(points)
    after, depth_after = flipped.project(points * mirror)
    np.testing.assert_allclose(after, np.stack([WIDTH - before[:, 0], before[:, 1]], axis=1), atol=1e-9)
    np.testing.assert_allclose(depth_after, depth)
    assert flipped.P[0, 2] == pytest.approx(WIDTH - P2[0, 2])
    assert flipped.P[0, 3] == pytest.approx(WIDTH * P2[2, 3] - P2[0, 3])
    np.testing.assert_allclose(flipped.ground, camera.ground * [-1, 1, 1, 1])
    twice = flipped.flipped(WIDTH)
    np.testing.assert_allclose(twice.P, camera.P, atol=1e-9)
    np.testing.assert_allclose(twice.ground, camera.ground)


@pytest.mark.parametrize("level", [False, True])
def test_a_flip_turns_ry_into_pi_less_ry(camera, level):
    """In the camera frame and in the ground frame alike: the set of corners is the mirrored one."""
    ry = np.linspace(-3, 3, 9)
    location = np.random.default_rng(1).uniform([-9, 1, 9], [9, 2, 50], (9, 3))
    size = np.tile([1.5, 1.8, 4.2], (9, 1))
    frame, flipped_frame = (c.ground_rotation() if level else None for c in (camera, camera.flipped(WIDTH)))
    corners = box_corners(location, size, ry, frame) * [-1, 1, 1]
    flipped = box_corners(location * [-1, 1, 1], size, np.pi - ry, flipped_frame)
    # Left and right change places: 0 <-> 3, 1 <-> 2, 4 <-> 7, 5 <-> 6.
    np.testing.assert_allclose(flipped[:, [3, 2, 1, 0, 7, 6, 5, 4]], corners, atol=1e-12)
    heading = (corners[:, 0] - corners[:, 1]) / 4.2
    np.testing.assert_allclose(wrap_angle(heading_to_ry(heading, flipped_frame) - (np.pi - ry)), 0, atol=1e-12)


def test_horizon_is_where_far_ground_is_seen(camera):
    bearings = np.linspace(-0.5, 0.5, 7)
    far = np.stack([np.sin(bearings), np.zeros(7), np.cos(bearings)], axis=1) @ camera.ground_rotation().T * 1e7
    a, b, c = camera.horizon()
    assert np.hypot(a, b) == pytest.approx(1)
    pixels, _ = camera.project(far + camera.ground[:3] * -camera.height_m)
    np.testing.assert_allclose(pixels @ [a, b] + c, 0, atol=1e-2)
    np.testing.assert_allclose(camera.horizon_v(pixels[:, 0]), pixels[:, 1], atol=1e-2)


def test_ground_is_seen_on_the_positive_side_of_the_horizon(camera):
    pixels = np.random.default_rng(2).uniform([0, -400], [1242, 375], (200, 2))
    sides = pixels @ camera.horizon()[:2] + camera.horizon()[2]
    assert 20 < (sides > 0).sum() < 180
    np.testing.assert_array_equal(np.isfinite(camera.intersect_plane(pixels)).all(axis=1), sides > 0)


def test_a_level_camera_has_its_horizon_at_the_principal_point():
    camera = Camera(P2, [0, -1, 0, 1.65])
    np.testing.assert_allclose(camera.horizon_v(np.array([0.0, 600])), P2[1, 2])
    np.testing.assert_allclose(camera.resized(1, 0.5).horizon_v(5.0), P2[1, 2] / 2)


def test_bad_requests_are_refused(camera):
    with pytest.raises(ValueError, match="positive"):
        camera.resized(0, 1)
    with pytest.raises(ValueError, match="no horizon"):
        Camera(np.eye(3), [0, 0, -1, 5]).horizon()
    with pytest.raises(ValueError, match="denorm"):
        Camera(P2).horizon()
