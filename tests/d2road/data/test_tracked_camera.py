"""Tracks hold for the calibration that they were made with, whatever is said of the road."""

import json
from dataclasses import replace

import pytest

from d2road.data.roadside_camera_files import camera_mapping, read_roadside_camera, write_camera
from d2road.data.tracked_camera import camera_of_tracks
from d2road.structures.roadside_camera import plane_from_angles
from d2road.utils.errors import DataError
from tests.factories.tracked_video import small_camera


def recorded(folder, camera, name="summary.json"):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(json.dumps({"camera": camera_mapping(camera)}))
    return folder


def test_the_same_camera_is_taken_by_folder_and_file_with_another_road(tmp_path):
    camera = replace(small_camera(distortion=-0.1), ground=plane_from_angles(0.21, 0.013, 6.7))
    write_camera(tmp_path / "camera.yaml", replace(camera, road=None))
    bare, folder = read_roadside_camera(tmp_path / "camera.yaml"), recorded(tmp_path / "tracks", camera)
    for path in (folder, folder / "tracks.csv", tmp_path / "unknown"):
        assert camera_of_tracks(path, bare, "--input") is bare


def test_tracks_of_the_view_at_another_resolution_have_the_camera_of_their_size(tmp_path):
    folder = recorded(tmp_path, small_camera().scaled(320, 192))
    found = camera_of_tracks(folder, small_camera(), "--tracks")
    assert (found.width, found.height) == (320, 192) and found.K[0, 0] == 280


@pytest.mark.parametrize("name", ["summary.json", "watch.json"])
def test_another_lens_plane_or_shape_is_refused_with_both_told(tmp_path, name):
    folder = tmp_path / "tracks_001"
    folder.mkdir()
    where = folder if name == "summary.json" else tmp_path
    for made in (
        replace(small_camera(), ground=plane_from_angles(0.2, 0.0, 6.0)), small_camera(distortion=-0.1),
        replace(small_camera(), K=small_camera().K * [[1.01], [1.01], [1]]), replace(small_camera(), height=120),
    ):  # fmt: skip
        recorded(where, made, name)
        with pytest.raises(
            DataError, match=rf"made with another calibration \(160x{made.height}, .*--calib is of 160x96"
        ):
            camera_of_tracks(folder, small_camera(), "--tracks")
