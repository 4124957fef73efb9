"""Clips on disk: what the files say agrees with each other and with the film; made again, it is the same."""

import gzip
import hashlib
import json
import xml.etree.ElementTree as ElementTree

import cv2
import numpy as np
import pandas as pd
import pytest

from d2road.data.roadside_camera_files import camera_from_text_files, read_roadside_camera
from d2road.synthetic.traffic_incidents import sumo
from d2road.synthetic.traffic_video import make_traffic_video
from d2road.synthetic.traffic_video.clip_plan import all_plans
from d2road.utils.errors import ConfigError, DataError

COUNTS = {"train": 2, "val": 0, "test": 0}
SECONDS = 1.5
needs_sumo = pytest.mark.skipif(sumo.sumo_home() is None, reason="SUMO is not installed: the extra `traffic` has it")


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """Two clips: one with an undistorted lens, one with a distorted lens and an incident."""
    out = tmp_path_factory.mktemp("clips")
    done = make_traffic_video(out, seed=3, seconds=SECONDS, workers=0, **COUNTS)
    assert (done["made"], done["frames"]) == (2, 30)
    assert "2 clips, 3 s, 0 at dusk, 1 distorted" in done["summary"]
    return out


def clip_folders(root):
    return [root / "train" / name for name in ("train_000", "train_001")]


@needs_sumo
def test_each_clip_has_the_files_of_its_contract(root):
    records = json.loads((root / "clips.json").read_text())
    assert [record["name"] for record in records] == ["train_000", "train_001"]
    assert [record["distorted"] for record in records] == [False, True]
    names = {"video.mp4", "camera.yaml", "calib.txt", "denorm.txt", "labels.txt", "tracks.csv", "incidents.json"}
    for folder in clip_folders(root):
        assert {path.name for path in folder.iterdir()} == names | {"fcd.xml.gz", "frames.csv"}
        frames = pd.read_csv(folder / "frames.csv")
        assert frames["t"].to_numpy() == pytest.approx(np.arange(15) / 10)
        video = cv2.VideoCapture(str(folder / "video.mp4"))
        images = [video.read()[1] for _ in range(15)]
        assert {image.shape for image in images} == {(540, 960, 3)}
        assert not video.read()[0]


@needs_sumo
def test_tracks_are_where_sumo_has_the_vehicles(root):
    for record, folder in zip(json.loads((root / "clips.json").read_text()), clip_folders(root)):
        tracks = pd.read_csv(folder / "tracks.csv", dtype={"vehicle": str})
        assert len(tracks)
        with gzip.open(folder / "fcd.xml.gz") as file:
            steps = ElementTree.parse(file).getroot().findall("timestep")
        assert len(steps) == 15
        assert float(steps[0].get("time")) == pytest.approx(record["sumo_start_s"])
        places = {
            (frame, vehicle.get("id")): (float(vehicle.get("x")), float(vehicle.get("y")))
            for frame, step in enumerate(steps) for vehicle in step
        }  # fmt: skip
        T = np.array(record["ground_from_sumo"])
        for row in tracks.itertuples():
            front = np.array([row.X, row.Y])
            front += row.length / 2 * np.array([np.cos(row.heading_rad), np.sin(row.heading_rad)])
            expected = T @ [*places[row.frame, row.vehicle], 1.0]
            assert front == pytest.approx(expected[:2], abs=2e-6)


@needs_sumo
def test_labels_are_the_visible_tracks_in_the_camera_frame(root):
    for folder in clip_folders(root):
        camera = read_roadside_camera(folder, (960, 540))
        flat = camera_from_text_files(folder / "calib.txt", folder / "denorm.txt", (960, 540))
        assert np.allclose(flat.K, camera.K, atol=1e-5)
        assert np.allclose(flat.ground, camera.ground, atol=1e-8)
        tracks = pd.read_csv(folder / "tracks.csv").set_index(["frame", "id"])
        rows = [line.split() for line in (folder / "labels.txt").read_text().splitlines()]
        assert len(rows) == (tracks["visible"] > 0).sum()
        for words in rows:
            track = tracks.loc[int(words[0]), int(words[1])]
            values = [float(word) for word in words[5:]]
            assert words[2] == track["cls"]
            assert values[1:5] == pytest.approx(track[["x1", "y1", "x2", "y2"]].tolist(), abs=1e-3)
            assert values[5:8] == pytest.approx(track[["height", "width", "length"]].tolist(), abs=1e-4)
            assert camera.camera_to_ground(values[8:11]) == pytest.approx(track[["X", "Y", "Z"]].tolist(), abs=2e-3)
            heading = camera.heading_of_ry(values[11])
            assert np.cos(heading - track["heading_rad"]) == pytest.approx(1, abs=1e-7)


@needs_sumo
def test_the_film_changes_where_vehicles_move_and_nowhere_else(root):
    for folder in clip_folders(root):
        tracks = pd.read_csv(folder / "tracks.csv")
        video = cv2.VideoCapture(str(folder / "video.mp4"))
        images = np.array([cv2.GaussianBlur(video.read()[1], (7, 7), 0) for _ in range(15)], dtype=np.int16)
        change = np.abs(images[14] - images[0]).max(axis=2) > 25
        boxes = np.zeros(change.shape, bool)
        for row in tracks[tracks["frame"].isin([0, 14])].itertuples():
            # Shadows fall beside the boxes.
            boxes[max(int(row.y1) - 4, 0) : int(row.y2) + 30, max(int(row.x1) - 60, 0) : int(row.x2) + 60] = True
        moved = tracks[(tracks["visible"] > 0.9) & (tracks["frame"] == 14) & (tracks["truncated"] < 0.1)]
        for row in moved[moved["y2"] - moved["y1"] > 30].itertuples():
            assert change[int(row.y1) : int(row.y2), int(row.x1) : int(row.x2)].mean() > 0.1
        assert change[~boxes].mean() < 0.002


@needs_sumo
def test_an_incident_is_told_with_its_place_and_time(root):
    assert json.loads((clip_folders(root)[0] / "incidents.json").read_text()) == []
    (incident,) = json.loads((clip_folders(root)[1] / "incidents.json").read_text())
    assert incident["kind"] == "stopped_vehicle"
    assert 0 < incident["start_s"] < incident["end_s"] == SECONDS
    assert len(incident["vehicles"]) == 1


@needs_sumo
def test_a_stopped_run_goes_on_and_gives_the_same_clips(root):
    def digests():
        files = (path for folder in clip_folders(root) for path in sorted(folder.iterdir()))
        return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in files if path.suffix != ".mp4"}

    before = digests()
    (root / ".clips" / "train_001.json").unlink()
    (clip_folders(root)[1] / "tracks.csv").write_text("half a f")
    done = make_traffic_video(root, seed=3, seconds=SECONDS, workers=0, **COUNTS)
    assert done["made"] == 1
    assert digests() == before
    assert make_traffic_video(root, seed=3, seconds=SECONDS, workers=0, **COUNTS)["made"] == 0
    with pytest.raises(DataError, match="seed 3 there, 4 asked for"):
        make_traffic_video(root, seed=4, seconds=SECONDS, workers=0, **COUNTS)


def test_options_that_cannot_be_are_refused(tmp_path):
    for options, text in (
        ({"val": -1}, "--val is -1"),
        ({"train": 0, "val": 0, "test": 0}, "no clips"),
        ({"seconds": 0.5}, "--seconds is 0.5"),
        ({"sizes": "catalog"}, "did you mean 'catalogue'"),
        ({"light": "night"}, "nightfall"),
        ({"traffic": "jam"}, "stop_and_go"),
    ):
        with pytest.raises(ConfigError, match=text):
            make_traffic_video(tmp_path / "out", **options)


def test_what_clips_show_takes_turns():
    counts = {"train": 8, "val": 8, "test": 8}
    plans = list(all_plans(counts, 0, 60.0, sizes="catalogue"))
    for split in ("train", "val", "test"):
        own = [plan for plan in plans if plan.split == split]
        assert {plan.light for plan in own} == {"day", "dusk"}
        assert {plan.surface for plan in own} == {"plane", "slope", "crown"}
        assert {plan.downstream for plan in own} == {True, False}
        assert len({plan.incident for plan in own}) >= 7
        assert {plan.scenario for plan in own} >= {"free", "dense"}
    assert "wrong_way" in {plan.incident for plan in plans}
    quiet = list(all_plans(counts, 0, 60.0, sizes="catalogue", traffic="empty", light_option="dusk"))
    assert {(plan.scenario, plan.light, plan.incident) for plan in quiet} == {("empty", "dusk", "")}
    assert not any(p.incident for p in all_plans(counts, 0, 60.0, sizes="catalogue", incidents=False))
    streams = [tuple(plan.stream(part)) for plan in plans for part in range(3)]
    assert len(set(streams)) == len(streams)
