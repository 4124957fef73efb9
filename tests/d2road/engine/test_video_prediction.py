"""Prediction on videos: copies frame by frame, GIFs, files that are cut off, and the camera of a video."""

import re

import cv2
import numpy as np
import pytest
from PIL import Image

from d2road.data.input_cameras import CameraFiles
from d2road.data.roadside_camera_files import write_camera
from d2road.engine.file_prediction import predict_files
from d2road.utils.errors import ConfigError, DataError
from d2road.video import VideoFile
from d2road.visualization import class_color
from tests.factories.box_predictors import (
    SIZE,
    PosedBox,
    box_cfg,
    calibration,
    draw_image,
    grey_video,
    outputs,
    predictions,
)
from tests.factories.tracked_video import small_camera


@pytest.fixture
def cfg(monkeypatch):
    return box_cfg(monkeypatch)


def test_a_video_is_annotated_frame_by_frame(cfg, tmp_path):
    clip = grey_video(tmp_path / "clip.mp4", frames=4)
    assert predict_files(cfg, [str(clip)], tmp_path / "out") == 0
    assert outputs(tmp_path / "out") == {"clip.mp4", "predictions.json"}
    assert [p["frame"] for p in predictions(tmp_path / "out")] == [0, 1, 2, 3]
    copy = cv2.VideoCapture(str(tmp_path / "out" / "clip.mp4"))
    frames = []
    while (read := copy.read())[0]:
        frames.append(read[1])
    assert len(frames) == 4 and frames[0].shape == (*SIZE, 3)
    assert round(copy.get(cv2.CAP_PROP_FPS)) == 12
    assert np.abs(frames[2][50:57, 15:45].astype(int) - 90).max() > 40, "a box edge at y 55"


def test_a_gif_becomes_a_video_and_one_without_motion_an_image(cfg, tmp_path):
    frames = [Image.new("RGB", SIZE[::-1], color) for color in ("red", "blue", "green")]
    (tmp_path / "in").mkdir()
    frames[0].save(tmp_path / "in/moves.gif", save_all=True, append_images=frames[1:], duration=200)
    frames[0].save(tmp_path / "in/still.gif")
    assert predict_files(cfg, [str(tmp_path / "in")], tmp_path / "out") == 0
    assert outputs(tmp_path / "out") == {"moves.mp4", "still.png", "predictions.json"}
    assert [row.get("frame") for row in predictions(tmp_path / "out")] == [0, 1, 2, None]
    with VideoFile(tmp_path / "out/moves.mp4") as copy:
        assert [frame.t for frame in copy] == pytest.approx([0, 0.2, 0.4], abs=1e-3)


def test_a_video_that_is_cut_off_is_annotated_as_far_as_it_goes_and_told(cfg, tmp_path, caplog):
    whole = tmp_path / "clip.avi"
    writer = cv2.VideoWriter(str(whole), cv2.VideoWriter.fourcc(*"MJPG"), 12, SIZE[::-1])
    rng = np.random.default_rng(0)
    for _ in range(40):
        writer.write(rng.integers(0, 255, (*SIZE, 3), dtype=np.uint8))
    writer.release()
    (tmp_path / "cut.avi").write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    assert predict_files(cfg, [str(tmp_path / "cut.avi")], tmp_path / "out") == 1
    assert re.search(r"only \d+ of 40 frames can be decoded|no frame can be decoded", caplog.text)


def test_models_with_3d_get_the_camera_and_bring_the_view_from_above(tmp_path, monkeypatch):
    cfg = box_cfg(monkeypatch, PosedBox)
    cameras = CameraFiles(*calibration(tmp_path / "calibration"))
    clip, still = grey_video(tmp_path / "clip.mp4", frames=2), draw_image(tmp_path / "a.png")
    assert predict_files(cfg, [str(clip), str(still)], tmp_path / "out", cameras=cameras) == 0
    results = predictions(tmp_path / "out")
    assert [r.get("frame") for r in results] == [0, 1, None]
    for result in results:
        assert result["location"] == [0, 1, 12] and result["dimensions_hwl"] == pytest.approx([1.5, 1.8, 4])
        assert result["rotation_y"] == pytest.approx(0.7, abs=1e-5), "about the ground's normal"
        assert result["depth_std_m"] == 0.5
    drawn = cv2.imread(str(tmp_path / "out" / "a.png"))
    assert drawn.shape[0] == SIZE[0] and drawn.shape[1] > SIZE[1] + 20
    wire = np.abs(drawn[20:35, 25:60, ::-1].astype(int) - class_color(1)).max(-1) < 60
    assert wire.sum() > 20, "the wire frame around (40, 28)"
    assert tuple(drawn[50, 10, ::-1]) != class_color(1), "instead of the 2D box"
    copy = cv2.VideoCapture(str(tmp_path / "out" / "clip.mp4"))
    assert copy.read()[1].shape[1] > SIZE[1] + 20


def test_the_camera_of_a_video_is_taken_for_images_of_its_size(tmp_path, monkeypatch, caplog):
    cfg = box_cfg(monkeypatch, PosedBox)
    height, width = SIZE
    camera = small_camera((width, height))
    write_camera(tmp_path / "camera.yaml", camera)
    cameras = CameraFiles(str(tmp_path / "camera.yaml"))
    assert cameras(tmp_path / "x.png").P.tolist() == camera.pinhole.P.tolist()
    assert cameras(tmp_path / "x.png").ground.tolist() == camera.ground.tolist()
    clip, still = grey_video(tmp_path / "clip.mp4", frames=2), draw_image(tmp_path / "a.png")
    assert predict_files(cfg, [str(clip), str(still)], tmp_path / "out", cameras=cameras) == 0
    assert [r["location"] for r in predictions(tmp_path / "out")] == [[0, 1, 12]] * 3
    write_camera(tmp_path / "camera.yaml", small_camera((2 * width, 2 * height)))
    other = CameraFiles(str(tmp_path))
    assert predict_files(cfg, [str(clip), str(still)], tmp_path / "none", cameras=other) == 2
    assert caplog.text.count("calibration was made for") >= 2
    assert not (tmp_path / "none" / "predictions.json").exists()
    with pytest.raises(ConfigError, match="leave --denorm away"):
        CameraFiles(str(tmp_path), "denorm.txt")
    write_camera(tmp_path / "camera.yaml", small_camera((width, height), distortion=-0.1))
    with pytest.raises(DataError, match="the lens distorts"):
        CameraFiles(str(tmp_path / "camera.yaml"))
