"""Ground planes fitted to points of known planes."""

import numpy as np
import pytest
from detectron2.data import DatasetCatalog

from d2road.data import register_by_name
from d2road.data.camera_files import read_camera
from d2road.data.ground_plane import fit_ground_height, fit_ground_plane
from d2road.structures.camera import normalize_plane

PLANE = normalize_plane(np.array([0.02, -0.96, -0.28, 6.5]))


def _points(count: int, noise_m: float = 0.0, seed: int = 0, width_m: float = 20.0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    x, z = rng.uniform(-width_m / 2, width_m / 2, count), rng.uniform(10, 80, count)
    y = -(PLANE[0] * x + PLANE[2] * z + PLANE[3]) / PLANE[1]
    return np.stack([x, y, z], axis=1) + PLANE[:3] * rng.normal(0, noise_m, count)[:, None]


def _tilt_deg(plane: np.ndarray) -> float:
    return float(np.degrees(np.arccos(np.clip(plane[:3] @ PLANE[:3], -1, 1))))


@pytest.mark.parametrize("count", [3, 10, 5000])
def test_exact_points_give_the_plane(count):
    fit = fit_ground_plane(_points(count, width_m=60))
    np.testing.assert_allclose(fit.plane, PLANE, atol=1e-9)
    assert np.abs(fit.residuals_m).max() < 1e-9
    assert fit.inliers.all()


def test_four_in_ten_points_may_be_wrong():
    points = _points(300, noise_m=0.05)
    points[:120] += PLANE[:3] * np.random.default_rng(1).uniform(0.8, 3, 120)[:, None]
    fit = fit_ground_plane(points)
    assert _tilt_deg(fit.plane) < 0.1
    assert abs(fit.plane[3] - PLANE[3]) < 0.03
    assert np.abs(_points(100) @ fit.plane[:3] + fit.plane[3]).max() < 0.05
    assert not fit.inliers[:120].any() and fit.inliers[120:].mean() > 0.95
    np.testing.assert_allclose(fit.residuals_m, points @ fit.plane[:3] + fit.plane[3])
    assert "300 bottom centres of which 180 fit" in fit.to_text()


def test_standard_error_of_the_tilt_is_what_it_says():
    """Over many draws the normal strays as far as `tilt_std_deg` says."""
    fits = [fit_ground_plane(_points(60, noise_m=0.1, seed=s, width_m=6)) for s in range(200)]
    # The error in the narrow direction (x) is that of one axis; the other direction adds next to nothing.
    strayed = np.degrees(np.std([np.arcsin(f.plane[:3] @ np.array([1.0, 0, 0])) for f in fits]))
    assert strayed == pytest.approx(np.mean([f.tilt_std_deg for f in fits]), rel=0.2)


def test_equal_points_give_equal_planes_and_order_of_little_matter():
    points = _points(80, noise_m=0.1)
    first = fit_ground_plane(points).plane
    np.testing.assert_array_equal(first, fit_ground_plane(points).plane)
    np.testing.assert_allclose(first, fit_ground_plane(points[::-1]).plane, atol=5e-3)


@pytest.mark.parametrize(
    ("points", "message"),
    [
        (_points(2), "at least 3 finite points, got 2"),
        (np.full((5, 3), np.nan), "at least 3 finite points"),
        (np.outer(np.arange(6.0), [0.1, 0.2, 5]) + [0, 6, 10], "on one line"),
        (np.repeat(_points(2), 4, axis=0), "on one line"),
        (_points(8, noise_m=0.05, width_m=0.4), "tell the tilt of the ground to .* degrees only"),
        (_points(30) * [1, -1, 1], "above the camera"),
    ],
)
def test_what_does_not_determine_a_plane_is_refused(points, message):
    with pytest.raises(ValueError, match=message):
        fit_ground_plane(points)


def test_height_for_a_known_normal():
    points = _points(5)
    points[0] += 4 * PLANE[:3]
    fit = fit_ground_height(points, PLANE[:3])
    np.testing.assert_allclose(fit.plane, PLANE, atol=1e-12)
    assert fit.residuals_m[0] == pytest.approx(4)
    with pytest.raises(ValueError, match="at least one object"):
        fit_ground_height(np.zeros((0, 3)), PLANE[:3])


def test_real_frame_against_its_stated_plane(shared_dir):
    """One Rope3D frame: the plane of its labels lies within half a degree of the one that its file states."""
    name = f"rope3d:{shared_dir}/data/rope3d_sample:val"
    register_by_name(name)
    (record,) = DatasetCatalog.get(name)
    stated = read_camera(record).ground
    fit = fit_ground_plane(np.array([a["location"] for a in record["annotations"] if a["has_3d"]]))
    assert np.degrees(np.arccos(fit.plane[:3] @ stated[:3])) < 0.5
    assert np.median(np.abs(fit.residuals_m)) < 0.1
