"""d2road watch on recorded tracks: who stands is told with image, place and sentence; good traffic calibrates."""

import json
import os
import signal
from dataclasses import replace

import cv2
import numpy as np
import pandas as pd
import pytest

from d2road.cli import track as track_verb
from d2road.cli import watch
from d2road.data.roadside_camera_files import write_camera as write_camera_file
from d2road.report.video_run import read_video_run
from d2road.structures.roadside_camera import plane_from_angles
from d2road.traffic.table import Trajectories
from d2road.traffic.tracking.ground_detections import GroundDetections
from d2road.video import VideoFile
from tests.factories.alarm_receivers import listening
from tests.factories.camera_sites import straight_site
from tests.factories.stream_servers import free_port, mjpeg_server
from tests.factories.tracked_video import detections, make_clip, small_camera
from tests.factories.trajectories import steps, table, track
from tests.factories.watched_tracks import fitted_camera_rules, flow, write_camera, write_watched_video


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("watch")
    flow(500, 0).to_parquet(folder / "good.parquet")
    flow(180, 1, stops="1020").to_parquet(folder / "live.parquet")
    write_camera(folder)
    return folder


def words(files, output, *more):
    tracks, camera = str(files / "live.parquet"), str(files / "camera.yaml")
    return ["--input", tracks, "--calib", camera, "--output", str(output), *more]


def test_who_stands_is_told_to_files_and_to_a_webhook(files, tmp_path, capsys):
    with listening() as server:
        line = words(files, tmp_path, "--good", str(files / "good.parquet"), "--sink", server.address)
        assert watch.main(line) == 0
    (alarm,) = [json.loads(one) for one in (tmp_path / "alarms.jsonl").read_text().splitlines()]
    assert server.got == [alarm]
    culprit = alarm["vehicles"][0]
    assert (culprit["track"], culprit["lane"], culprit["culprit"]) == ("1020", "1", True)
    # It enters at 80 s and stands after 3 s, 30 m into the view; its lane lies 7.5 m to the left of the camera.
    assert 80 < alarm["t"] < 97 and alarm["x_m"] == -7.5 and 25 < alarm["y_m"] < 60
    assert alarm["rate_per_hour"] == 1.0 and "track 1020" in alarm["sentence"]
    assert (tmp_path / alarm["image"]).read_bytes()[:4] == b"\x89PNG" and alarm["clip"] is None
    assert "track 1020" in (tmp_path / "alarms.csv").read_text()
    assert "ALARM" in capsys.readouterr().out


def test_an_alarm_that_another_vehicle_began_is_named_anew_for_who_stands(files, tmp_path, capsys):
    low, high = straight_site().view
    t = steps(round((high - low) / 22.0 / 0.2), 0.2) + 62.0
    fast = track("fast", t, low + 22.0 * (t - 62.0), np.full(len(t), 22.0), lane="0")
    tracks = pd.concat([flow(180, 1, stops="1020").frame, table(fast).frame.assign(recording="r")], ignore_index=True)
    plain = tracks.assign(**{name: tracks[name].astype(str) for name in ("recording", "vehicle", "cls", "lane")})
    Trajectories.from_frame(plain).to_parquet(tmp_path / "live.parquet")
    rules = {"threshold": 6.0, "rate": 2.0, "method": "rules_camera", "rules": fitted_camera_rules().to_json()}
    (tmp_path / "rules.json").write_text(json.dumps(rules))
    line = ["--input", str(tmp_path / "live.parquet"), "--calib", str(files / "camera.yaml")]
    with listening() as server:
        more = [
            "--calibration",
            str(tmp_path / "rules.json"),
            "--sink",
            server.address,
            "--output",
            str(tmp_path / "out"),
        ]
        assert watch.main([*line, *more]) == 0
    told = [json.loads(one) for one in (tmp_path / "out" / "alarms.jsonl").read_text().splitlines()]
    assert server.got == told
    begun, anew = told
    assert begun["kind"] == "alarm" and begun["vehicles"][0]["track"] == "fast" and "updates" not in begun
    assert (anew["kind"], anew["updates"]) == ("alarm_update", begun["id"]) and anew["score"] > begun["score"]
    assert anew["vehicles"][0]["track"] == "1020" and (tmp_path / "out" / anew["image"]).is_file()
    assert len((tmp_path / "out" / "alarms.csv").read_text().splitlines()) == 2  # the header, and the alarm
    out = capsys.readouterr().out
    assert f"NAMED  alarm {begun['id']}" in out and "track 1020" in out
    (alarm,) = read_video_run(tmp_path / "out").alarms
    assert [one["id"] for one in alarm["named_anew"]] == [anew["id"]]


def test_what_it_cannot_use_is_said_before_it_reads(files, tmp_path, capsys):
    from d2road.data.roadside_camera_files import read_roadside_camera, write_camera

    bare = tmp_path / "bare.yaml"
    write_camera(bare, replace(read_roadside_camera(files / "camera.yaml"), road=None))
    good = ("--good", str(files / "good.parquet"))
    for more, said in (
        (("--calib", str(bare), *good), "has to know the road"),
        (("--near", "90", *good), "--near"),
        (("--sink", "smtp://x", *good), "--sink takes"),
        (("--sink", "http://a/b", "--sink", "http://a/b", *good), "twice"),
        (("--video", "none.mp4", *good), "none.mp4"),
        ((), "needs good traffic"),
    ):
        assert watch.main(words(files, tmp_path / "out", *more)) == 2
        assert said in capsys.readouterr().err


def test_a_video_and_its_recorded_tracks_give_the_same_alarms(tmp_path):
    line = write_watched_video(tmp_path, flow(42, 1, stops="1002"))
    rules = {"threshold": 6.0, "rate": 2.0, "method": "rules_camera", "rules": fitted_camera_rules().to_json()}
    (tmp_path / "rules.json").write_text(json.dumps(rules))
    more = ["--calibration", str(tmp_path / "rules.json"), "--output"]
    assert watch.main([*line, *more, str(tmp_path / "live")]) == 0
    again = ["--input", str(tmp_path / "live" / "tracks_001"), *line[2:4], "--video", str(tmp_path / "clip.mp4")]
    assert watch.main([*again, *more, str(tmp_path / "recorded")]) == 0
    live, recorded = (
        [json.loads(one) for one in (tmp_path / name / "alarms.jsonl").read_text().splitlines()]
        for name in ("live", "recorded")
    )
    assert live and len(live) == len(recorded)
    for one, other in zip(live, recorded):
        for name in ("id", "rule", "start", "end", "sentence", "image", "clip"):
            assert one[name] == other[name]
        for name in ("t", "s_m", "x_m", "y_m", "score"):  # files hold decimals
            assert one[name] == pytest.approx(other[name], rel=1e-3)
        assert [car["track"] for car in one["vehicles"]] == [car["track"] for car in other["vehicles"]]
    assert live[0]["rate_per_hour"] == 2.0
    for name in ("live", "recorded"):
        times = [frame.t for frame in VideoFile(tmp_path / name / live[0]["clip"])]
        assert 3.0 < times[-1] <= 12.1


def test_a_stream_is_watched_until_somebody_stops_it_and_leaves_tracks_and_a_record(tmp_path, monkeypatch):
    write_camera_file(tmp_path / "camera.yaml", small_camera())
    rules = {"threshold": 1e9, "rate": 2.0, "method": "rules_camera", "rules": fitted_camera_rules().to_json()}
    (tmp_path / "rules.json").write_text(json.dumps(rules))
    seen = []

    def find(frame):
        """The cars of `detections` at the time of a frame; Ctrl-C with the sixth one."""
        seen.append(frame.index)
        if len(seen) == 6:
            os.kill(os.getpid(), signal.SIGINT)
        return GroundDetections.from_frame(detections([frame.t], seed=frame.index, frames=[frame.index]))

    monkeypatch.setattr(track_verb, "load_detector", lambda args, camera: find)
    port = free_port()
    with mjpeg_server(port, frames=1000, fps=20) as connections:
        line = ["--input", f"http://user:secret@127.0.0.1:{port}/", "--calib", str(tmp_path / "camera.yaml")]
        line += ["--config-file", "any", "--calibration", str(tmp_path / "rules.json")]
        assert watch.main([*line, "--output", str(tmp_path / "out")]) == 130
    record = json.loads((tmp_path / "out" / "watch.json").read_text())
    assert connections and record["state"] == "stopped" and record["frames"] == 6
    assert record["rules"]["threshold"] == 1e9 and record["problems"] == [] and "secret" not in json.dumps(record)
    assert (tmp_path / "out" / record["tracks_folder"] / "tracks.csv").is_file()


def test_frames_of_another_size_end_a_watch_in_words_with_all_that_came_before(tmp_path, capsys, caplog):
    options = make_clip(tmp_path / "clip", [i / 10 for i in range(30)])
    (tmp_path / "images").mkdir()
    for number in range(30):
        shape = (96, 160, 3) if number < 20 else (48, 80, 3)
        cv2.imwrite(str(tmp_path / "images" / f"{number:02d}.png"), np.full(shape, 90, np.uint8))
    rules = {"threshold": 1e9, "rate": 2.0, "method": "rules_camera", "rules": fitted_camera_rules().to_json()}
    (tmp_path / "rules.json").write_text(json.dumps(rules))
    line = ["--input", str(tmp_path / "images"), "--fps", "10", "--calib", options["--calib"]]
    line += ["--calibration", str(tmp_path / "rules.json"), "--output", str(tmp_path / "out")]
    assert watch.main([*line, "--detections", options["--detections"]]) == 1
    said = "after 20 frames: the frame has 80x48 pixels"
    assert said in caplog.text
    told = json.loads((tmp_path / "out" / "watch.json").read_text())
    assert told["frames"] == 20 and said in told["problems"][0]
    assert pd.read_csv(tmp_path / "out" / "tracks_001" / "tracks.csv")["frame"].max() == 19
    # Its tracks are of its camera alone, whoever reads them.
    other = replace(small_camera(), ground=plane_from_angles(0.2, 0.0, 6.0))
    write_camera_file(tmp_path / "other.yaml", other)
    tracks = str(tmp_path / "out" / "tracks_001")
    for more in (["--input", tracks], ["--input", options["--input"], "--good", tracks]):
        assert watch.main([*more, "--calib", str(tmp_path / "other.yaml"), *line[6:]]) == 2
        assert f"{more[-2]} {tracks} was made with another calibration" in capsys.readouterr().err


def test_without_a_calibration_it_says_what_makes_one(capsys):
    assert watch.main(["--input", "clip.mp4"]) == 2
    said = capsys.readouterr().err
    assert "--calib is missing" in said and "d2road calibrate-camera" in said
