"""The verb calibrate-camera: files that readers of the house take, and clear words where nothing can be told."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from d2road.cli.calibrate_camera import main
from d2road.data.camera_files import read_denorm
from d2road.data.roadside_camera_files import camera_mapping, read_roadside_camera
from d2road.engine import predictor
from d2road.traffic.calibration.simulated_traffic import draw_camera, simulate_traffic
from d2road.traffic.tracking.ground_tracks import GroundTracks
from d2road.traffic.tracking.track_files import TrackFiles
from d2road.utils.errors import USER_ERROR
from d2road.utils.output_files import write_json
from tests.factories.traffic_detector import traffic_detector
from tests.factories.videos import write_video

REPO = Path(__file__).resolve().parents[3]
RNG = np.random.default_rng([7, 5])
CAMERA = draw_camera(RNG)
TRAFFIC = simulate_traffic(CAMERA, RNG)
FOCAL = ["--focal", str(CAMERA.K[0, 0])]


@pytest.fixture
def table(tmp_path):
    path = tmp_path / "boxes.csv"
    TRAFFIC.rows.to_csv(path, index=False)
    return path


def run(tmp_path, *words):
    return main([*map(str, words), "--output", str(tmp_path / "out")])


def test_traffic_gives_a_folder_that_readers_take(table, tmp_path, capsys):
    Image.new("RGB", (960, 540), "gray").save(tmp_path / "view.png")
    words = ("--observations", table, "--size", "960x540", "--image", tmp_path / "view.png", *FOCAL)
    assert run(tmp_path, *words) == 0
    camera = read_roadside_camera(tmp_path / "out", (960, 540))
    error, std = np.rad2deg(camera.pitch_rad - CAMERA.pitch_rad), camera.deviations["pitch_deg"]
    assert abs(error) < 3 * std < 1
    np.testing.assert_allclose(read_denorm(tmp_path / "out" / "denorm.txt"), camera.ground, atol=1e-6)
    report = json.loads((tmp_path / "out" / "calibration.json").read_text())
    assert report["vehicles"] > 30 and np.shape(report["homography"]) == (3, 3)
    drawn = np.asarray(Image.open(tmp_path / "out" / "check.jpg"))
    assert drawn.shape == (540, 960, 3) and (np.abs(drawn.astype(int) - 128) > 40).any(axis=2).sum() > 2000
    assert "height" in capsys.readouterr().out


def test_map_points_and_a_known_length_narrow_the_height(table, tmp_path):
    ground = np.array([[-4.0, 18], [5, 16], [-6, 60], [7, 55], [0, 30], [3, 45]])
    pixels = CAMERA.ground_to_image(ground)
    pd.DataFrame(np.c_[pixels, ground], columns=["u", "v", "x", "y"]).to_csv(tmp_path / "map.csv", index=False)
    words = ("--observations", table, "--points", tmp_path / "map.csv", "--size", "960x540", *FOCAL)
    assert run(tmp_path, *words) == 0
    camera = read_roadside_camera(tmp_path / "out")
    assert abs(camera.height_m / CAMERA.height_m - 1) < 0.02 and camera.deviations["height_m"] < 0.02 * camera.height_m


def test_a_video_is_seen_by_a_detector(tmp_path, monkeypatch, capsys):
    """Of every second frame; boxes are those of simulated traffic, linked anew."""
    found = simulate_traffic(CAMERA, np.random.default_rng([7, 6]), seconds=40.0).rows
    found = found[found["frame"] % 2 == 0]
    last = int(found["frame"].max())
    video = write_video(tmp_path / "clip.mp4", [frame / 5 for frame in range(last + 1)], (960, 540))
    detector, seen = traffic_detector(found, (960, 540))
    monkeypatch.setattr(predictor, "Predictor", detector)
    config = REPO / "configs/diffusion_det/toy_roadside3d/demo.yaml"
    assert run(tmp_path, "--input", video, "--config-file", config, "--every", "2", *FOCAL) == 0
    assert len(seen) == last // 2 + 1 and set(seen) == {CAMERA.K[0, 0]}
    assert f"frames {len(seen)}/{len(seen)} 100%" in capsys.readouterr().out
    camera = read_roadside_camera(tmp_path / "out", (960, 540))
    assert abs(camera.pitch_rad - CAMERA.pitch_rad) < np.deg2rad(3 * camera.deviations["pitch_deg"])


def test_exif_tells_the_focal_length_with_a_deviation(table, tmp_path):
    exif = Image.Exif()
    exif.get_ifd(0x8769)[0xA405] = round(CAMERA.K[0, 0] / 960 * 36)
    Image.new("RGB", (960, 540)).save(tmp_path / "photo.jpg", exif=exif)
    assert run(tmp_path, "--observations", table, "--size", "960x540", "--exif", tmp_path / "photo.jpg") == 0
    assert 0 < read_roadside_camera(tmp_path / "out").deviations["focal_px"] < 0.05 * CAMERA.K[0, 0]


def test_labels_of_kitti_tracking_are_read_without_their_metres(tmp_path):
    rows = TRAFFIC.rows
    lines = [f"{r.frame} {r.track} {r.cls} 0 0 0 {r.x1} {r.y1} {r.x2} {r.y2} 9 9 9 9 9 9 9" for r in rows.itertuples()]
    (tmp_path / "labels.txt").write_text("\n".join(lines))
    assert run(tmp_path, "--observations", tmp_path / "labels.txt", "--size", "960x540", *FOCAL) == 0
    camera = read_roadside_camera(tmp_path / "out")
    assert abs(np.log(camera.height_m / CAMERA.height_m)) < 0.1


def tracked_folder(folder):
    """What `d2road track` writes, with boxes of TRAFFIC; its metres are nonsense, which nobody may read."""
    rows = TRAFFIC.rows[TRAFFIC.rows["track"] >= 0]
    known = rows[["frame", "t", "track", "cls", "score", "x1", "y1", "x2", "y2"]]
    ground = {"x": 5.0, "y": 900.0, "var_x": 1.0, "cov_xy": 0.0, "var_y": 1.0, "heading": 0.0, "length": 30.0}
    motion = {"speed": 99.0, "speed_sd": 1.0, "acceleration": np.nan, "course": np.nan, "course_sd": np.nan}
    known = known.assign(**ground, **motion, width=9.0, height=9.0, motion="moving", seen=True)
    known["track"] += 1
    hidden = known.assign(seen=False, **dict.fromkeys(["x1", "y1", "x2", "y2"], np.nan), track=known["track"] + 10**6)
    files = TrackFiles(folder, CAMERA, "clip")
    files.add(GroundTracks.from_frame(pd.concat([known, hidden.head(50)], ignore_index=True)))
    files.close()
    known.drop(columns=["track", "seen", "motion", *motion]).to_csv(folder / "detections.csv", index=False)
    write_json(folder / "summary.json", {"camera": camera_mapping(CAMERA)})
    return folder


@pytest.mark.parametrize("without", [(), ("tracks.csv",)])
def test_a_folder_of_tracks_tells_boxes_and_the_size_of_images(without, table, tmp_path):
    folder = tracked_folder(tmp_path / "tracks")
    for name in without:
        (folder / name).unlink()
    assert run(tmp_path, "--observations", folder, *FOCAL) == 0
    camera = read_roadside_camera(tmp_path / "out", (960, 540))
    assert abs(camera.pitch_rad - CAMERA.pitch_rad) < np.deg2rad(3 * camera.deviations["pitch_deg"])
    assert run(tmp_path, "--observations", table, "--size", "960x540", *FOCAL) == 0
    exact = read_roadside_camera(tmp_path / "out")
    assert camera.deviations["pitch_deg"] > 1.5 * exact.deviations["pitch_deg"], "a detector errs in all boxes alike"


@pytest.mark.parametrize("name", ["tracks.csv", "tracks.parquet", "detections.csv"])
def test_a_table_of_a_folder_of_tracks_is_taken_too(name, tmp_path):
    assert run(tmp_path, "--observations", tracked_folder(tmp_path / "tracks") / name, *FOCAL) == 0


def test_a_folder_without_tracks_is_told(tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    assert run(tmp_path, "--observations", tmp_path / "empty", "--size", "960x540", *FOCAL) == USER_ERROR
    said = capsys.readouterr().err
    assert "has neither tracks.csv nor detections.csv; give a folder that `d2road track` wrote" in said


@pytest.mark.parametrize(
    "change, words, message",
    [
        ({}, [], "nothing to calibrate by"),
        ({"rows": 3}, ["--size", "960x540"], "at least 6 are needed"),
        ({"rows": 0}, ["--size", "960x540"], "0 vehicles"),
        ({}, ["--size", "480x270"], "another resolution"),
        ({}, [], "--size WxH is missing"),
        ({"drop": "x2"}, ["--size", "960x540"], "lacks the columns x2"),
        ({}, ["--size", "960x540", "--length", "1,2,3"], "expected u1,v1"),
    ],
)
def test_what_cannot_be_is_said(change, words, message, tmp_path, capsys):
    rows = TRAFFIC.rows.drop(columns=change.get("drop", []))
    rows.head(change.get("rows", 500)).to_csv(tmp_path / "boxes.csv", index=False)
    given = [] if message.startswith("nothing") else ["--observations", tmp_path / "boxes.csv"]
    assert run(tmp_path, *given, *words, *FOCAL) == USER_ERROR
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out" / "camera.yaml").exists()
