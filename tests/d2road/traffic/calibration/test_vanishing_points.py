"""Vanishing points: closed forms of a known camera, and what one or two near-parallel bundles do not tell."""

import numpy as np
import pytest

from d2road.structures.roadside_camera import RoadsideCamera, plane_from_angles
from d2road.traffic.calibration.vanishing_points import focal_from_right_angle, plane_from_directions, vanishing_point
from d2road.utils.errors import DataError

K = np.array([[1200.0, 0, 480], [0, 1200.0, 270], [0, 0, 1]])
CAMERA = RoadsideCamera(960, 540, K, plane_from_angles(0.3, 0.03, 7.0))


def segments(heading_deg: float, noise: float = 0.0, seed: int = 0, count: int = 8) -> np.ndarray:
    """Images of parallel stretches of 25 m on the ground."""
    rng = np.random.default_rng(seed)
    start = rng.uniform([-12, 14], [12, 30], (count, 2))
    end = start + 25 * np.array([np.cos(np.deg2rad(heading_deg)), np.sin(np.deg2rad(heading_deg))])
    lines = np.concatenate([CAMERA.ground_to_image(start), CAMERA.ground_to_image(end)], axis=1)
    return lines + noise * rng.normal(size=lines.shape)


def bundle(heading_deg: float, **more):
    return vanishing_point(segments(heading_deg, **more), K[:2, 2], 960.0)


def expected(heading_deg: float) -> np.ndarray:
    ray = CAMERA.axes @ [np.cos(np.deg2rad(heading_deg)), np.sin(np.deg2rad(heading_deg)), 0]
    return (K @ ray)[:2] / ray[2]


def test_exact_lines_meet_where_their_direction_is_imaged():
    np.testing.assert_allclose(bundle(80).pixel, expected(80), atol=1e-4)


def test_the_stated_covariance_is_that_of_monte_carlo():
    found = np.array([bundle(80, noise=1.0, seed=s, count=12).pixel for s in range(80)])
    off = found - expected(80)
    stated = np.mean([np.diag(bundle(80, noise=1.0, seed=s, count=12).pixel_covariance) for s in range(80)], axis=0)
    np.testing.assert_allclose(off.std(axis=0) / np.sqrt(stated), 1.0, atol=0.35)


def test_a_right_angle_tells_the_focal_length_within_its_deviation():
    focal, std = focal_from_right_angle(bundle(50, noise=0.5), bundle(140, noise=0.5, seed=1))
    assert abs(focal - 1200) < 3 * std and std < 200


def test_two_directions_tell_the_plane_whatever_their_angle():
    normal, covariance = plane_from_directions(K, bundle(85, noise=0.3), bundle(40, noise=0.3, seed=1))
    error = np.arcsin(-normal[2]) - 0.3
    assert abs(error) < 3 * np.sqrt(covariance[0, 0]) < 0.05
    exact, _ = plane_from_directions(K, bundle(85), bundle(40, seed=1))
    np.testing.assert_allclose(exact, CAMERA.ground[:3], atol=1e-5)


def test_one_direction_gives_no_plane_and_near_parallel_ones_no_focal_length():
    with pytest.raises(DataError, match="degrees apart"):
        plane_from_directions(K, bundle(80, noise=1.0), bundle(80.5, noise=1.0, seed=1))
    with pytest.raises(DataError, match="do not tell the focal length"):
        focal_from_right_angle(bundle(90, noise=1.0), bundle(0, noise=1.0, seed=1))


def test_two_lines_are_too_few():
    with pytest.raises(DataError, match="at least 3"):
        bundle(80, count=2)
