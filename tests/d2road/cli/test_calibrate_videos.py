"""Videos for calibrate-camera: cut off, of two sizes, without times, stopped; and camera.yaml as the lens."""

import json
import os
import signal
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from d2road.cli.calibrate_camera import main
from d2road.data.roadside_camera_files import read_roadside_camera, write_camera
from d2road.engine import predictor
from d2road.traffic.calibration.simulated_traffic import draw_camera, simulate_traffic
from tests.factories.tracked_video import small_camera
from tests.factories.traffic_detector import traffic_detector
from tests.factories.videos import two_sizes, write_video

CONFIG = Path(__file__).resolve().parents[3] / "configs/diffusion_det/toy_roadside3d/demo.yaml"
RNG = np.random.default_rng([7, 5])
CAMERA = draw_camera(RNG)
TRAFFIC = simulate_traffic(CAMERA, RNG, seconds=20.0)
FRAMES = TRAFFIC.rows["frame"].nunique()
GREY = {name: np.full((*shape, 3), 90, np.uint8) for name, shape in (("large", (540, 960)), ("small", (270, 480)))}


@pytest.fixture
def asked(monkeypatch):
    detector, asked = traffic_detector(TRAFFIC.rows, (960, 540))
    monkeypatch.setattr(predictor, "Predictor", detector)
    return asked


def run(tmp_path, *words):
    lens = ["--focal", CAMERA.K[0, 0], "--config-file", CONFIG, "--every", 1]
    return main([*map(str, [*words, *lens]), "--output", str(tmp_path / "out")])


def folder_of(path, sizes):
    path.mkdir()
    for number, size in enumerate(sizes):
        cv2.imwrite(str(path / f"{number:04d}.png"), GREY[size])
    return path


def test_a_video_that_is_cut_off_is_calibrated_by_what_is_there_and_told(tmp_path, asked, capsys):
    whole = write_video(
        tmp_path / "whole.mp4", [i / 5 for i in range(FRAMES)], (960, 540), options={"movflags": "faststart"}
    )
    cut = tmp_path / "cut.mp4"
    cut.write_bytes(whole.read_bytes()[: whole.stat().st_size * 7 // 10])
    assert run(tmp_path, "--input", cut) == 1
    assert f"only {len(asked)} of {FRAMES} frames can be decoded: is it cut off?" in capsys.readouterr().out
    assert len(asked) < FRAMES and read_roadside_camera(tmp_path / "out", (960, 540)).height_m > 3


def test_frames_before_another_size_calibrate_and_the_change_is_told(tmp_path, asked, capsys):
    folder = folder_of(tmp_path / "images", ["large"] * (FRAMES - 3) + ["small"] * 3)
    assert run(tmp_path, "--input", folder) == 2
    assert "give --fps N" in capsys.readouterr().err
    assert run(tmp_path, "--input", folder, "--fps", 5) == 1
    said = f"frame {FRAMES - 3} at {(FRAMES - 3) / 5:.1f} s has 480x270 pixels, those before it 960x540"
    assert said in capsys.readouterr().out and len(asked) == FRAMES - 3
    assert (tmp_path / "out" / "camera.yaml").is_file()


def test_who_is_stopped_calibrates_by_what_was_seen(tmp_path, asked, monkeypatch):
    detector = predictor.Predictor

    class Stopped(detector):
        def __call__(self, image, camera):
            if len(asked) == FRAMES - 5:
                os.kill(os.getpid(), signal.SIGINT)
            return super().__call__(image, camera)

    monkeypatch.setattr(predictor, "Predictor", Stopped)
    video = write_video(tmp_path / "clip.mp4", [i / 5 for i in range(FRAMES)], (960, 540))
    assert run(tmp_path, "--input", video) == 130
    assert len(asked) == FRAMES - 4 and (tmp_path / "out" / "camera.yaml").is_file()


def test_dark_frames_and_frames_far_apart_are_told_as_track_tells_them(tmp_path, asked, capsys):
    folder = tmp_path / "night"
    folder.mkdir()
    for number in range(FRAMES):
        cv2.imwrite(str(folder / f"{number:04d}.png"), np.full((540, 960, 3), 20, np.uint8))
    assert run(tmp_path, "--input", folder, "--fps", 5) == 0
    (note,) = json.loads((tmp_path / "out" / "calibration.json").read_text())["notes"]
    assert note.startswith("the frames are dark (mean 20 of 255)") and note in capsys.readouterr().out.replace("\n", "")
    run(tmp_path, "--input", folder, "--fps", 1)
    assert "frames are 1.00 s apart" in capsys.readouterr().out


def test_its_own_file_is_taken_as_the_lens(tmp_path, capsys):
    TRAFFIC.rows.to_csv(tmp_path / "boxes.csv", index=False)
    bent = replace(CAMERA, distortion=np.array([-0.05, 0, 0, 0, 0.0]), covariance=np.diag([0.02, 0.01, 0.01, 0.1]) ** 2)
    write_camera(tmp_path / "camera.yaml", bent)
    words = [
        "--observations",
        tmp_path / "boxes.csv",
        "--calib",
        tmp_path / "camera.yaml",
        "--output",
        tmp_path / "out",
    ]
    assert main([*map(str, words), "--size", "960x540"]) == 0
    found = read_roadside_camera(tmp_path / "out")
    assert found.distortion.tolist() == bent.distortion.tolist()
    # The focal length is as uncertain as the file says, and no more.
    assert 0.3 * 0.02 < found.deviations["focal_px"] / found.K[0, 0] < 1.1 * 0.02
    assert main([*map(str, words), "--size", "480x270"]) == 2
    assert "calibration was made for 960x540" in capsys.readouterr().err


def watched(tmp_path, *words):
    write_camera(tmp_path / "camera.yaml", small_camera())
    words = ["--watch", "--calib", tmp_path / "camera.yaml", *words, "--output", tmp_path / "out"]
    return main([*map(str, words)])


def test_a_check_of_a_video_that_changes_its_size_keeps_what_it_saw(tmp_path, capsys):
    assert watched(tmp_path, "--input", two_sizes(tmp_path / "two.h264")) == 1
    said = capsys.readouterr().out
    assert "frame 5 at 0.2 s has 80x48 pixels, those before it 160x96" in said and "no evidence" in said
    assert json.loads((tmp_path / "out" / "drift.json").read_text())["verdict"] == "no evidence"


def test_a_check_ends_after_seconds(tmp_path):
    """The first half minute is the reference, and nine frames, two seconds apart, are compared with it."""
    rng = np.random.default_rng(0)
    blocks = np.kron(rng.integers(20, 230, (12, 20, 3)), np.ones((8, 8, 1))).astype(np.uint8)
    video = write_video(tmp_path / "clip.mp4", [2.0 * i for i in range(40)], images=[blocks] * 40)
    for seconds, registered in ((60, 16), (1000, 25)):
        assert watched(tmp_path, "--input", video, "--seconds", seconds) == 0
        assert json.loads((tmp_path / "out" / "drift.json").read_text())["video"]["registered"] == registered
