"""The page of a tracked or watched video: speeds and lanes of what drove, alarms with their clips, and the truth."""

import json
import shutil

import numpy as np
import pandas as pd
import pytest

from d2road.cli import report, track, watch
from d2road.report.video_frames import busiest_times
from d2road.report.video_run import read_video_run
from d2road.traffic.tracking.ground_tracks import GroundTracks
from tests.factories.html_pages import parsed
from tests.factories.tracked_video import make_clip, words
from tests.factories.watched_tracks import fitted_camera_rules, flow, write_watched_video

TIMES = [i / 10 for i in range(40)]


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    """A clip of two cars, at 36 km/h in the right lane and 54 km/h in the left one, its tracks, and its truth."""
    folder = tmp_path_factory.mktemp("clip")
    options = make_clip(folder / "clip", TIMES)
    assert track.main(words(options, "--output", str(folder / "tracks"), "--no-video")) == 0
    rows = [
        {"t": t, "id": lane + 1, "X": 2.0 - 4.0 * lane, "Y": 15 + speed * t, "heading_rad": np.pi / 2,
         "speed_mps": speed + 1.0 * lane, "length": 4.5, "width": 1.8, "height": 1.5}
        for t in TIMES for lane, speed in enumerate((10.0, 15.0))
    ]  # fmt: skip
    pd.DataFrame(rows).to_csv(folder / "clip" / "tracks.csv", index=False)
    incident = {"kind": "slow_vehicle", "ids": [1], "in_view_s": [1.0, 3.0]}
    (folder / "clip" / "incidents.json").write_text(json.dumps([incident, {**incident, "in_view_s": []}]))
    return folder


@pytest.fixture(scope="module")
def watched(tmp_path_factory):
    """The folder of a watch of a video with one who stops."""
    folder = tmp_path_factory.mktemp("watched")
    line = write_watched_video(folder, flow(42, 1, stops="1002"))
    rules = {"threshold": 6.0, "rate": 2.0, "method": "rules_camera", "rules": fitted_camera_rules().to_json()}
    (folder / "rules.json").write_text(json.dumps(rules))
    more = ["--calibration", str(folder / "rules.json"), "--scores", str(folder / "out" / "scores.csv")]
    assert watch.main([*line, *more, "--output", str(folder / "out")]) == 0
    return folder / "out"


def page_of(folder, *more):
    assert report.main([str(folder), *more]) == 0
    return parsed((folder / "report.html").read_text())


def row(page, first, count):
    """The cells of a table's row after one with this text."""
    cells = page.text["td"]
    place = cells.index(first)
    return cells[place + 1 : place + 1 + count]


def test_a_tracked_video_has_speeds_by_lane_paths_and_frames_on_its_page(clip, capsys):
    page = page_of(clip / "tracks")
    assert "complete" in capsys.readouterr().out
    assert page.text["h2"] == [
        "Vehicles and speeds", "The scene from above, and over time", "Flow", "Frames", "All vehicles",
        "Where the time went", "Settings", "Environment",
    ]  # fmt: skip
    cells = page.text["td"]
    for lane, speed in ((0, 36.0), (1, 54.0)):
        at = cells.index(f"lane {lane}, along the axis")
        assert cells[at + 1] == "1" and float(cells[at + 2]) == pytest.approx(speed, abs=0.5)
    assert row(page, "an hour", 2) == ["923", "923"], "one in 3.9 s"
    assert {image["alt"] for image in page.attributes("img")} >= {
        "speeds by class", "all tracks from above", "time-space diagram, direction 1", "frame at 0.0 s"
    }  # fmt: skip
    assert "d2road" in cells and "decode" in cells and "160x96, 7.0 m high, 14.0 degrees down, 2 lanes" in cells


def test_the_truth_of_a_clip_tells_errors_and_incidents(clip, capsys):
    page = page_of(clip / "tracks", "--truth", str(clip / "clip"), "--images", "0")
    assert row(page, "vehicles found at all", 1) == ["2 of 2"]
    # The truth says 16 m/s of the one that drove 15: half of both errors.
    assert float(row(page, "median error of a vehicle's speed", 1)[0].split()[0]) == pytest.approx(1.8, abs=0.3)
    assert float(row(page, "largest error of a vehicle's speed", 1)[0].split()[0]) == pytest.approx(3.6, abs=0.4)
    assert row(page, "slow vehicle", 5) == [
        "1.0 to 3.0 s",
        "not watched",
        "slow vehicle",
        "not in view",
        "cannot be seen",
    ]
    assert report.main([str(clip / "tracks"), "--truth", str(clip)]) == 2
    assert "tracks.csv" in capsys.readouterr().err


def test_an_alarm_stands_on_the_page_of_a_watch_with_image_and_clip(watched, tmp_path):
    page = page_of(watched)
    assert page.text["h2"][0] == "Alarms"
    (alarm, *_) = [json.loads(line) for line in (watched / "alarms.jsonl").read_text().splitlines()]
    assert f"{alarm['id']}: {alarm['sentence']}" in page.text["h3"]
    video = page.attributes("video")[0]
    assert video["src"].startswith("data:video/mp4;base64,") and len(video["src"]) > 1000
    alts = [image["alt"] for image in page.attributes("img")]
    assert f"time-space image {alarm['image']}" in alts and "scores of windows" in alts
    assert any("calibration" in text for text in page.text["p"])
    record = json.loads((watched / "watch.json").read_text())
    assert record["state"] == "complete" and record["alarms"] >= 1 and record["rules"]["threshold"] == 6.0
    assert record["frames"] == 210 and {"decode", "detect", "track"} <= set(record["stage_seconds"])


def test_a_watch_of_recorded_tracks_tells_of_the_tracks_that_it_watched(watched, tmp_path):
    run = watched.parent
    line = [
        "--input",
        str(watched / "tracks_001"),
        "--calib",
        str(run / "camera.yaml"),
        "--video",
        str(run / "clip.mp4"),
    ]
    assert watch.main([*line, "--calibration", str(run / "rules.json"), "--output", str(tmp_path / "again")]) == 0
    page = page_of(tmp_path / "again", "--images", "2")
    assert page.text["h2"][:2] == ["Alarms", "Vehicles and speeds"]
    assert sum(image["alt"].startswith("frame at") for image in page.attributes("img")) == 2


def test_what_is_damaged_or_gone_becomes_a_note(clip, watched, tmp_path):
    shutil.copytree(clip / "tracks", tmp_path / "tracks")
    (tmp_path / "tracks" / "summary.json").write_text("{")
    page = page_of(tmp_path / "tracks")
    assert any("summary.json" in text for text in page.text["p"])
    assert any("no record has the camera" in text for text in page.text["p"])
    assert any("No frames: " in text for text in page.text["p"]) and "All vehicles" in page.text["h2"]
    shutil.copytree(watched, tmp_path / "watched")
    for path in (tmp_path / "watched").glob("clips/*"):
        path.write_bytes(b"no video")
    (tmp_path / "watched" / "images" / "000001.png").unlink()
    with open(tmp_path / "watched" / "alarms.jsonl", "a") as file:
        file.write('{"kind": "camera_moved", "t": 3.5, "sentence": "It moved."}\n{"kind": "ala')
    run = read_video_run(tmp_path / "watched")
    assert len(run.alarms) >= 1 and [one["kind"] for one in run.others] == ["camera_moved"]
    page = page_of(tmp_path / "watched")
    assert "It moved." in page.text["td"] and not page.attributes("video")
    assert sum("000001" in text for text in page.text["p"]) == 2


@pytest.mark.parametrize(
    ("file", "name", "value"),
    [
        ("watch.json", "settings", 5),
        ("watch.json", "stage_seconds", {"decode": "x"}),
        ("watch.json", "camera", {"image": []}),
        ("watch.json", "rules", []),
        ("alarms.jsonl", "vehicles", "x"),
        ("alarms.jsonl", "score", None),
    ],
)
def test_values_of_another_kind_become_notes(watched, tmp_path, file, name, value):
    shutil.copytree(watched, tmp_path / "watched", ignore=shutil.ignore_patterns("clips", "images"))
    path = tmp_path / "watched" / file
    text = path.read_text()
    record = {**json.loads(text.splitlines()[0] if file == "alarms.jsonl" else text), name: value}
    path.write_text(json.dumps(record) + "\n" + '{"kind": "other", "t": 1}\n' * (file == "alarms.jsonl"))
    page = page_of(tmp_path / "watched", "--images", "0")
    assert any(file in text and name in text for text in page.text["p"])


def test_a_folder_of_a_training_has_no_truth_of_a_clip(tmp_path, capsys):
    (tmp_path / "config.yaml").write_text("")
    assert report.main([str(tmp_path), "--truth", str(tmp_path)]) == 2
    assert "--truth belongs to" in capsys.readouterr().err


def test_frames_are_taken_where_most_is_seen_in_each_part():
    rows = GroundTracks.empty().rows
    seen = [(0.0, 1), (1.0, 3), (2.0, 1), (5.0, 1), (6.0, 2), (9.9, 1)]
    rows = pd.concat([rows, pd.DataFrame({"t": [t for t, n in seen for _ in range(n)], "seen": True})])
    rows["seen"] = rows["seen"].astype(bool)
    assert busiest_times(GroundTracks(rows), 2) == [1.0, 6.0]
    assert busiest_times(GroundTracks.empty(), 2) == []
