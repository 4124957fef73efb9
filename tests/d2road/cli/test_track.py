"""`d2road track`: speeds from presentation times, stored detections, bad input, streams, interruption, resumption."""

import json
import os
import signal
import threading
from dataclasses import replace

import av
import numpy as np
import pandas as pd
import pytest

from d2road.cli import track
from d2road.cli.track import main
from d2road.data.roadside_camera_files import write_camera
from d2road.structures.roadside_camera import plane_from_angles
from d2road.traffic.tracking.ground_detections import GroundDetections
from tests.factories.stream_servers import free_port, mjpeg_server
from tests.factories.tracked_video import detections, make_clip, small_camera, words
from tests.factories.videos import two_sizes, write_video

STEADY = [i / 10 for i in range(30)]


@pytest.fixture(autouse=True)
def hasty(monkeypatch):
    """Files are not waited for: nothing here outlives a machine that stops."""
    monkeypatch.setattr(os, "fsync", lambda _: None)


class Finder:
    """A detector that finds the cars of `detections` at the time of each frame, and counts frames."""

    highest = 0.9

    def __init__(self):
        self.seen = []

    def __call__(self, frame):
        small_camera().require_size(*frame.size_wh, "the frame")
        self.seen.append(frame.index)
        return GroundDetections.from_frame(detections([frame.t], seed=frame.index, frames=[frame.index]))


@pytest.fixture
def finder(monkeypatch):
    found = Finder()
    monkeypatch.setattr(track, "load_detector", lambda args, camera: found)
    return found


def record(folder):
    return json.loads((folder / "summary.json").read_text())


def tracks(folder):
    return pd.read_csv(folder / "tracks.csv")


def frames_in(path):
    with av.open(str(path)) as container:
        return [frame.time for frame in container.decode(video=0)]


def test_a_video_gives_tracks_a_video_and_a_record(tmp_path):
    options = make_clip(tmp_path / "clip", STEADY)
    assert main(words(options, "--output", str(tmp_path / "out"))) == 0
    names = {
        "annotated.mp4", "detections.csv", "frames.csv", "summary.json", "tracks.csv", "tracks.parquet",
        "tracks_kitti.txt", "tracks_mot.txt", "trajectories.parquet",
    }  # fmt: skip
    assert set(os.listdir(tmp_path / "out")) == names
    told = record(tmp_path / "out")
    assert (told["state"], told["frames"], told["tracks"], told["problems"]) == ("complete", 30, 2, [])
    assert {"decode", "detect", "track", "draw", "encode", "write", "other"} == set(told["stage_seconds"])
    assert sum(told["stage_share"].values()) == pytest.approx(1, abs=0.01)
    assert frames_in(tmp_path / "out" / "annotated.mp4") == pytest.approx(STEADY, abs=1e-3)


def test_speeds_come_from_presentation_times_whatever_was_dropped(tmp_path):
    rng = np.random.default_rng(1)
    jittered = np.arange(60) / 10 + rng.uniform(-0.03, 0.03, 60)
    times = [float(t - jittered[0]) for t in jittered[np.sort(rng.permutation(60)[:40])]]
    times = [round(t - times[0], 3) for t in times]
    options = make_clip(tmp_path / "clip", times)
    assert main(words(options, "--output", str(tmp_path / "out"), "--no-video")) == 0
    speed = tracks(tmp_path / "out").groupby("track")["speed"].median()
    assert sorted(speed) == pytest.approx([10, 15], abs=0.15)
    by_number = 25 * np.diff([15 + 10 * t for t in times]).mean()  # 25 frames a second is what the file names
    assert abs(by_number - 10) > 5, "numbers of frames would have been wrong"


def test_stored_detections_give_the_same_tracks_without_a_model_and_without_the_video(tmp_path, finder):
    options = make_clip(tmp_path / "clip", STEADY)
    del options["--detections"]
    assert main(words(options, "--config-file", "any", "--output", str(tmp_path / "live"), "--no-video")) == 0
    assert len(finder.seen) == 30
    again = ["--calib", options["--calib"], "--detections", str(tmp_path / "live"), "--output", str(tmp_path / "again")]
    assert main(again) == 0
    assert not (tmp_path / "again" / "annotated.mp4").exists()
    first, second = (tracks(tmp_path / name) for name in ("live", "again"))
    pd.testing.assert_frame_equal(first, second, atol=2e-3)


def test_a_resumed_run_looks_at_new_frames_alone_and_ends_as_one_that_was_never_stopped(tmp_path, finder):
    options = make_clip(tmp_path / "clip", STEADY)
    del options["--detections"]
    command = words(options, "--config-file", "any")
    assert main([*command, "--output", str(tmp_path / "whole")]) == 0
    assert main([*command, "--output", str(tmp_path / "out"), "--seconds", "1.2"]) == 0
    with open(tmp_path / "out" / "detections.csv", "a") as file:  # of a frame that was not finished
        file.write("13,1.3,car,0.9,1.0,")
    finder.seen.clear()
    assert main([*command, "--output", str(tmp_path / "out")]) == 2
    assert main([*command, "--output", str(tmp_path / "out"), "--resume"]) == 0
    assert finder.seen == list(range(13, 30))
    pd.testing.assert_frame_equal(tracks(tmp_path / "out"), tracks(tmp_path / "whole"), atol=2e-3)
    assert len(frames_in(tmp_path / "out" / "annotated.mp4")) == 30


def test_a_run_of_other_settings_is_not_gone_on_with(tmp_path, finder, capsys):
    options = make_clip(tmp_path / "clip", STEADY[:5])
    del options["--detections"]
    command = words(options, "--config-file", "any", "--output", str(tmp_path / "out"), "--no-video")
    assert main(command) == 0
    assert main([*command, "--resume", "--confidence", "0.4"]) == 2
    assert "confidence 0.08 there, 0.4 now" in capsys.readouterr().err


def bad(tmp_path, capsys, options, *more):
    """Exit code, and all that was said."""
    code = main(words(options, "--output", str(tmp_path / "out"), *more))
    said = capsys.readouterr()
    return code, said.out + said.err


def test_without_a_calibration_it_says_what_makes_one(tmp_path, capsys):
    options = make_clip(tmp_path / "clip", STEADY[:3])
    del options["--calib"]
    code, said = bad(tmp_path, capsys, options)
    assert code == 2 and "--calib is missing" in said and "calibrate-camera" in said
    assert not (tmp_path / "out").exists()


def test_a_calibration_of_another_resolution_is_refused_or_scaled_where_that_is_asked_for(tmp_path, capsys):
    options = make_clip(tmp_path / "clip", STEADY[:12])
    write_camera(options["--calib"], small_camera((320, 192)))
    code, said = bad(tmp_path, capsys, options)
    assert code == 2 and "160x96 pixels, its calibration was made for 320x192" in said
    assert bad(tmp_path, capsys, options, "--scale-calib", "--no-video")[0] == 0
    write_camera(options["--calib"], small_camera((320, 240)))
    code, said = bad(tmp_path, capsys, options, "--scale-calib", "--overwrite")
    assert code == 2 and "another shape" in said


def test_a_video_that_ends_in_the_middle_is_tracked_as_far_as_it_goes(tmp_path, capsys):
    noise = list(np.random.default_rng(0).integers(0, 255, (30, 96, 160, 3), dtype=np.uint8))
    options = make_clip(tmp_path / "clip", STEADY, images=noise, options={"movflags": "faststart"})
    path = tmp_path / "clip" / "clip.mp4"
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    code, said = bad(tmp_path, capsys, options)
    told = record(tmp_path / "out")
    assert code == 1 and "of 30 frames can be decoded: is it cut off?" in said
    assert told["state"] == "failed" and 8 < told["frames"] < 25
    assert len(frames_in(tmp_path / "out" / "annotated.mp4")) == told["frames"]
    assert tracks(tmp_path / "out")["frame"].max() == told["frames"] - 1


def test_a_video_that_changes_its_size_is_tracked_until_then(tmp_path, capsys, finder):
    options = {"--input": str(two_sizes(tmp_path / "two.h264")), "--calib": str(tmp_path / "camera.yaml")}
    write_camera(options["--calib"], small_camera())
    code, said = bad(tmp_path, capsys, options, "--config-file", "any")
    assert code == 1 and "after 5 frames: the frame has 80x48 pixels" in said
    assert len(frames_in(tmp_path / "out" / "annotated.mp4")) == 5
    assert sorted(tracks(tmp_path / "out")["frame"].unique()) == list(range(5))


def test_stored_detections_are_of_one_size_and_one_calibration(tmp_path, capsys, finder):
    options = make_clip(tmp_path / "clip", [i / 25 for i in range(10)])
    options["--input"] = str(two_sizes(tmp_path / "two.h264"))
    code, said = bad(tmp_path, capsys, options, "--no-video")
    assert code == 1 and "after 5 frames: the frame has 80x48 pixels" in said
    assert record(tmp_path / "out")["frames"] == 5
    again = {"--calib": str(tmp_path / "other.yaml"), "--detections": str(tmp_path / "out")}
    write_camera(again["--calib"], replace(small_camera(), ground=plane_from_angles(0.2, 0.0, 6.0)))
    assert main(words(again, "--output", str(tmp_path / "again"))) == 2
    assert "was made with another calibration (160x96, 7.000 m high" in capsys.readouterr().err


def test_one_frame_a_second_is_tracked_and_told_to_be_too_few(tmp_path, capsys):
    options = make_clip(tmp_path / "clip", [0.0, 1, 2, 3, 4, 5], speeds=(2.0,))
    code, said = bad(tmp_path, capsys, options)
    assert code == 0 and "frames are 1.00 s apart: a vehicle at 15 m/s moves 15 m" in said
    assert tracks(tmp_path / "out")["speed"].median() == pytest.approx(2, abs=0.2)


def test_a_night_and_an_empty_road_are_told_and_no_error(tmp_path, capsys, finder, monkeypatch):
    monkeypatch.setattr(Finder, "__call__", lambda self, frame: GroundDetections.empty())
    path = write_video(tmp_path / "night.mp4", STEADY, images=[np.full((96, 160, 3), 9, np.uint8)] * 30)
    write_camera(tmp_path / "camera.yaml", small_camera())
    options = {"--input": str(path), "--calib": str(tmp_path / "camera.yaml"), "--config-file": "any"}
    code, said = bad(tmp_path, capsys, options)
    assert code == 0 and "the frames are dark (mean" in said and "no vehicle was found in 30 frames" in said
    assert len(tracks(tmp_path / "out")) == 0 and len(frames_in(tmp_path / "out" / "annotated.mp4")) == 30


def test_a_shaken_camera_is_tracked_and_told(tmp_path, capsys):
    rng = np.random.default_rng(2)
    blocks = np.full((110, 176, 3), 90, np.uint8)
    for _ in range(90):
        x, y, w, h = (int(one) for one in rng.integers([0, 0, 4, 4], [170, 105, 16, 12]))
        blocks[y : y + h, x : x + w] = rng.integers(20, 230, 3)
    # The first half minute is the reference; then each frame is off by pixels.
    offsets = [(8, 8)] * 15 + [tuple(int(one) for one in rng.integers(4, 13, 2)) for _ in range(25)]
    images = [np.ascontiguousarray(blocks[y - 0 : y + 94, x : x + 160]) for x, y in offsets]
    images = [np.pad(image, ((0, 96 - len(image)), (0, 160 - image.shape[1]), (0, 0)), "edge") for image in images]
    times = [2.0 * number for number in range(40)]
    options = make_clip(tmp_path / "clip", times, images=images, speeds=(0.3,))
    code, said = bad(tmp_path, capsys, options)
    assert code == 0 and "the camera shakes: single frames are turned by" in said
    assert len(frames_in(tmp_path / "out" / "annotated.mp4")) == 40


def test_a_rate_that_varies_changes_no_speed(tmp_path, capsys):
    rng = np.random.default_rng(3)
    times = np.cumsum(np.append(0.0, rng.choice([0.04, 0.1, 0.25], 40))).round(3).tolist()
    options = make_clip(tmp_path / "clip", times, speeds=(6.0,))
    code, _ = bad(tmp_path, capsys, options)
    assert code == 0 and tracks(tmp_path / "out")["speed"].median() == pytest.approx(6, abs=0.3)
    assert tracks(tmp_path / "out")["t"].max() == pytest.approx(times[-1], abs=0.3)


def test_detections_of_another_video_are_refused(tmp_path, capsys):
    options = make_clip(tmp_path / "clip", STEADY)
    write_video(tmp_path / "clip" / "clip.mp4", [t * 1.3 for t in STEADY])
    code, said = bad(tmp_path, capsys, options)
    assert code == 1 and "cut off" not in said
    assert "frame 1 of the video is at 0.130 s, the stored detections have it at 0.100 s" in said


def test_a_stream_is_tracked_until_it_is_told_to_stop_and_all_is_in_order(tmp_path, capsys, finder):
    write_camera(tmp_path / "camera.yaml", small_camera())
    port = free_port()
    with mjpeg_server(port, frames=1000, fps=20):
        threading.Timer(2.5, lambda: os.kill(os.getpid(), signal.SIGINT)).start()
        options = {"--input": f"http://127.0.0.1:{port}/", "--calib": str(tmp_path / "camera.yaml")}
        code, _ = bad(tmp_path, capsys, options, "--config-file", "any")
    told = record(tmp_path / "out")
    assert code == 130 and told["state"] == "stopped" and told["source"]["clock"] == "arrival"
    assert told["frames"] == len(finder.seen) == len(frames_in(tmp_path / "out" / "annotated.mp4")) > 3
    assert len(pd.read_csv(tmp_path / "out" / "frames.csv")) == told["frames"]
    assert told["source"]["frames_received"] - told["source"]["frames_dropped"] <= told["frames"] + 1


def test_a_stream_that_goes_away_ends_the_run_with_what_it_had(tmp_path, capsys, finder):
    write_camera(tmp_path / "camera.yaml", small_camera())
    port = free_port()
    server = mjpeg_server(port, frames=15, fps=20)
    connections = server.__enter__()
    threading.Timer(0.1, lambda: server.__exit__(None, None, None)).start()
    options = {"--input": f"http://127.0.0.1:{port}/", "--calib": str(tmp_path / "camera.yaml")}
    options |= {"--config-file": "any", "--patience": "0.4"}
    code, said = bad(tmp_path, capsys, options, "--no-video")
    assert connections and code == 1 and "gave no frames for 0.4 s" in said
    assert record(tmp_path / "out")["frames"] >= 1
