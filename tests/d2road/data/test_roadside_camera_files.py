"""Files of a roadside camera: what is written is what is read, and what cannot be is named."""

import numpy as np
import pytest
import yaml

from d2road.data.camera_files import read_calib, read_denorm
from d2road.data.roadside_camera_files import (
    camera_from_text_files,
    read_roadside_camera,
    write_camera,
    write_camera_folder,
)
from d2road.structures.road_axis import RoadAxis
from d2road.structures.roadside_camera import RoadsideCamera, plane_from_angles
from d2road.utils.errors import DataError


@pytest.fixture
def camera() -> RoadsideCamera:
    K = np.array([[1200.0, 0, 470], [0, 1180.0, 280], [0, 0, 1]])
    std = np.array([0.01, 0.001, 0.002, 0.02])
    covariance = np.outer(std, std) * (np.eye(4) + 0.3 * (np.eye(4)[::-1]))
    road = RoadAxis(1.5, [-3.5, 0.0, 3.5], [1, -1])
    return RoadsideCamera(960, 540, K, plane_from_angles(0.2, -0.02, 6.5), [-0.1, 0.01, 0, 0, 0], covariance, road)


def test_a_camera_comes_back_as_it_was(camera, tmp_path):
    write_camera(tmp_path / "camera.yaml", camera)
    back = read_roadside_camera(tmp_path)
    for name in ("K", "ground", "distortion", "covariance"):
        np.testing.assert_allclose(getattr(back, name), getattr(camera, name), rtol=1e-7, atol=1e-12)
    np.testing.assert_array_equal(back.road.directions, [1, -1])
    assert (back.width, back.height, back.road.heading_rad) == (960, 540, 1.5)


def test_without_deviations_and_road_none_are_made_up(camera, tmp_path):
    write_camera(tmp_path / "c.yaml", RoadsideCamera(960, 540, camera.K, camera.ground))
    back = read_roadside_camera(tmp_path / "c.yaml")
    assert back.covariance is None and back.road is None and back.deviations is None


def test_readers_of_kitti_and_rope3d_take_the_text_files(camera, tmp_path):
    write_camera_folder(tmp_path, camera)
    np.testing.assert_allclose(read_calib(tmp_path / "calib.txt")[:, :3], camera.K)
    np.testing.assert_allclose(read_denorm(tmp_path / "denorm.txt"), camera.ground, atol=1e-8)
    back = camera_from_text_files(tmp_path / "calib.txt", tmp_path / "denorm.txt", (960, 540))
    np.testing.assert_allclose(
        back.image_to_ground([400.0, 300.0]),
        RoadsideCamera(960, 540, camera.K, camera.ground).image_to_ground([400.0, 300.0]),
        rtol=1e-6,
    )


def test_another_resolution_is_refused_and_scaled_where_asked(camera, tmp_path):
    write_camera(tmp_path / "camera.yaml", camera)
    with pytest.raises(DataError, match=r"camera.yaml: .*1920x1080.*960x540"):
        read_roadside_camera(tmp_path, (1920, 1080))
    np.testing.assert_allclose(read_roadside_camera(tmp_path, (1920, 1080), scale=True).K[0], camera.K[0] * 2)


@pytest.mark.parametrize(
    "change, message",
    [
        ({"format": "other"}, "none of a roadside camera"),
        ({"K": [[1, 2], [3, 4]]}, "row 1 of 'K' has 2 values"),
        ({"ground_plane": [0, -1, 0, -4]}, "below its ground"),
        ({"ground_plane": [0, -1, "x", 4]}, "expected a finite number"),
        ({"distortion": {"k4": 0.1}}, "k4"),
        ({"deviations": {"focal_px": -1}}, "deviations"),
        ({"road": {"heading_rad": 0, "lane_borders_m": [1, 0], "lane_directions": [1]}}, "rise"),
    ],
)
def test_a_file_that_cannot_be_is_refused_with_its_name(camera, tmp_path, change, message):
    write_camera(tmp_path / "camera.yaml", camera)
    content = yaml.safe_load((tmp_path / "camera.yaml").read_text())
    (tmp_path / "camera.yaml").write_text(yaml.safe_dump({**content, **change}))
    with pytest.raises(DataError, match=message) as caught:
        read_roadside_camera(tmp_path)
    assert str(tmp_path / "camera.yaml") in str(caught.value)


def test_text_that_is_no_yaml_is_refused(tmp_path):
    (tmp_path / "camera.yaml").write_text("a: [1,\n")
    with pytest.raises(DataError, match="not YAML"):
        read_roadside_camera(tmp_path)
