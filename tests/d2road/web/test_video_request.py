"""The tab Video: speeds of a rendered clip against its truth, files for downloading, and clips that are not taken."""

import csv
import json
from dataclasses import replace

import cv2
import numpy as np
import pytest

from d2road.data.roadside_camera_files import CAMERA_FILE, read_roadside_camera, write_camera
from d2road.synthetic.traffic_video.clip_traffic import ROAD
from d2road.synthetic.traffic_video.steady_clip import VIDEO, make_steady_clip
from d2road.utils.errors import ConfigError, DataError
from d2road.video import Frame, VideoFile
from d2road.web.result_files import ResultFolders
from d2road.web.served_model import DETECT_3D, ServedModel
from d2road.web.uploads import UploadLimits
from d2road.web.video_request import TABLE_COLUMNS, VideoUpload, counted, track_upload

SECONDS = 2.0


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    """Folder and true tracks of a rendered clip."""
    folder = tmp_path_factory.mktemp("steady")
    return folder, make_steady_clip(folder, 5, 1, SECONDS)


@pytest.fixture(scope="module")
def model():
    """The shipped 3D detector."""
    found = ServedModel("diffusion_det/toy_roadside3d/demo.yaml", "zoo:diffusion_det_toy3d", shipped=True)
    assert found.task == DETECT_3D
    return found


@pytest.fixture
def upload(clip):
    return VideoUpload(clip[0] / VIDEO, clip[0] / CAMERA_FILE)


def test_vehicles_have_the_speeds_that_they_drive_at(clip, model, upload, tmp_path):
    seen = []
    result = track_upload(model, upload, UploadLimits(), ResultFolders(tmp_path), lambda *one: seen.append(one))
    assert seen == [(number, 20) for number in range(20)]
    assert result.text.startswith(f"{len(result.rows)} vehicles in 20 frames (1.9 s)")
    true = clip[1].groupby("lane")["speed_mps"].median() * 3.6
    lanes = [dict(zip(TABLE_COLUMNS, row)) for row in result.rows]
    long = [row for row in lanes if float(row["end_s"]) - float(row["start_s"]) > 1.2]
    assert len(long) >= 2
    errors = [abs(float(row["speed_kmh"]) - true[ROAD.lanes[int(row["lane"])]]) for row in long]
    assert np.median(errors) < 3, "km/h, after little more than a second"
    names = {path.name: path for path in result.files}
    listed = json.loads(names["video_vehicles.json"].read_text())
    with open(names["video_vehicles.csv"]) as file:
        table = list(csv.DictReader(file))
    assert [row["track"] for row in table] == [str(row["track"]) for row in listed] == [row[0] for row in result.rows]
    assert len(list(VideoFile(names["video_annotated.mp4"]))) == 20 and "video_tracks.csv" in names
    assert cv2.imread(str(names["video_from_above.png"])).std() > 1


def test_what_is_too_long_too_large_or_broken_is_said(clip, model, upload, tmp_path):
    folder, limits = clip[0], UploadLimits()
    write_camera(tmp_path / "other.yaml", read_roadside_camera(folder / CAMERA_FILE).scaled(480, 270))
    (tmp_path / "broken.mp4").write_bytes(b"\0" * 500)
    (tmp_path / "cut.mp4").write_bytes(upload.video.read_bytes()[:5000])
    (tmp_path / "text.yaml").write_text("a: b")
    for changed, limit, error, said in (
        ({}, {"max_seconds": 1.0}, DataError, "lasts 2.0 s, at most 1 s are taken"),
        ({}, {"max_frames": 19}, DataError, "has 20 frames, at most 19"),
        ({}, {"max_pixels": 1000}, DataError, "960x540 pixels"),
        ({}, {"max_bytes": 1000}, DataError, "MB are taken"),
        ({"video": tmp_path / "broken.mp4"}, {}, DataError, "^broken.mp4 cannot be read as a video"),
        ({"video": tmp_path / "cut.mp4"}, {}, DataError, "cut.mp4"),
        ({"calibration": tmp_path / "other.yaml"}, {}, DataError, "480x270"),
        ({"calibration": tmp_path / "text.yaml"}, {}, DataError, "none of a roadside camera"),
        ({"confidence": 1.5}, {}, ConfigError, "expected 0 to 1"),
    ):
        with pytest.raises(error, match=said):
            track_upload(model, replace(upload, **changed), replace(limits, **limit), ResultFolders(tmp_path / "out"))


def test_a_clip_that_is_longer_than_it_says_ends_with_its_error(upload):
    frames = (Frame(i, i / 10, np.zeros((2, 2, 3), np.uint8)) for i in range(100))
    taken = []
    with VideoFile(upload.video) as source, pytest.raises(DataError, match=r"goes on after 1\.1 s"):
        for frame in counted(frames, source, UploadLimits(max_seconds=1.0), lambda done, total: None):
            taken.append(frame.index)
    assert taken == list(range(11))
