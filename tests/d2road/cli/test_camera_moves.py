"""calibrate-camera --watch and watch: a camera that has moved is told; what cannot be compared is said in words."""

import json
from dataclasses import replace

import numpy as np
import pytest

from d2road.cli import watch
from d2road.cli.calibrate_camera import main
from d2road.data.roadside_camera_files import camera_mapping, write_camera
from d2road.engine.camera_check import CameraCheck
from d2road.engine.camera_check_run import checked_blocks
from d2road.structures.roadside_camera import plane_from_angles
from d2road.traffic.time_space.window_grid import Tick
from d2road.traffic.tracking.ground_tracks import GroundTracks
from d2road.traffic.tracking.track_files import TrackFiles
from d2road.traffic.watch.alarm_table import AlarmTable
from tests.factories.camera_sites import straight_camera
from tests.factories.passing_tracks import ground_tracks, passing
from tests.factories.videos import write_video

TURNED = ground_tracks(passing(80, 2, turned_at=60.0, turn_deg=(0.5, 0, 0)))


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("moves")
    write_camera(folder / "camera.yaml", straight_camera())
    for name, tracks in (
        ("good", ground_tracks(passing(90, 1))), ("same", ground_tracks(passing(40, 3))), ("turned", TURNED),
        ("few", ground_tracks(passing(12, 4))),
    ):  # fmt: skip
        one = TrackFiles(folder / name, straight_camera(), name)
        one.add(tracks)
        one.close()
    return folder


def run(files, output, *words):
    return main(["--watch", "--calib", str(files / "camera.yaml"), "--output", str(output), *map(str, words)])


def test_tracks_of_a_turned_camera_are_told_with_time_and_turn(files, tmp_path, capsys):
    assert run(files, tmp_path, "--observations", files / "turned", "--reference", files / "good") == 0
    said, record = capsys.readouterr().out, json.loads((tmp_path / "drift.json").read_text())
    (event,) = record["events"]
    assert record["verdict"] == "moved" and event["kind"] == "camera_moved" and event["by"] == "tracks"
    assert 60 < event["t"] < 120 and event["yaw_deg"] > 0.1
    assert "MOVED  t 00:01:" in said and "degrees right" in said and "calibrate anew" in said


def test_a_camera_that_stands_and_one_that_saw_too_little(files, tmp_path, capsys):
    assert run(files, tmp_path, "--observations", files / "same", "--reference", files / "good") == 0
    assert "stands as it did" in capsys.readouterr().out
    assert run(files, tmp_path, "--observations", files / "few") == 0
    assert "no evidence" in capsys.readouterr().out
    assert json.loads((tmp_path / "drift.json").read_text())["verdict"] == "no evidence"


def test_a_video_of_nothing_is_no_evidence(files, tmp_path, capsys):
    size = straight_camera().width // 6, straight_camera().height // 6
    write_camera(tmp_path / "camera.yaml", straight_camera().scaled(*size))
    write_video(tmp_path / "clip.mp4", list(np.arange(0, 4, 0.5)), size)
    words = ["--watch", "--calib", str(tmp_path / "camera.yaml"), "--input", str(tmp_path / "clip.mp4")]
    assert main([*words, "--output", str(tmp_path / "out")]) == 0
    assert "no evidence" in capsys.readouterr().out
    assert main([*words[:2], str(files / "camera.yaml"), *words[3:], "--output", str(tmp_path / "out")]) == 2
    assert "calibration was made for 960x540" in capsys.readouterr().err


def test_what_cannot_be_compared_is_refused_in_words(files, tmp_path, capsys):
    other = replace(straight_camera(), ground=plane_from_angles(0.2, 0.0, 6.0))
    for name, camera in (("mine", straight_camera()), ("foreign", other)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "tracks.csv").write_text((files / "good" / "tracks.csv").read_text())
        (tmp_path / name / "summary.json").write_text(json.dumps({"camera": camera_mapping(camera)}))
    for words, said in (
        ((), "nothing to look at"),
        (("--reference", files / "good"), "nothing to look at"),
        (("--observations", tmp_path / "none"), "no tracks.csv"),
        (("--observations", files / "same", "--reference", tmp_path / "foreign"), "another calibration"),
        (("--observations", files / "same", "--reference", files / "few"), "hold 12 vehicles"),
    ):
        assert run(files, tmp_path / "out", *words) == 2
        assert said in capsys.readouterr().err
    assert run(files, tmp_path / "out", "--observations", files / "same", "--reference", tmp_path / "mine") == 0
    assert main(["--reference", "x", "--output", str(tmp_path), "--points", "p.csv"]) == 2
    assert "--reference goes with --watch" in capsys.readouterr().err


def test_tracks_that_run_through_a_watch_are_checked_on_the_way():
    check, told = CameraCheck(straight_camera(), "live"), []
    check.tell = told.append
    rows = ground_tracks(passing(160, 5, turned_at=220.0, turn_deg=(0.6, 0, 0))).rows
    times = rows["t"].to_numpy()

    def blocks():
        for t in np.arange(0, times[-1] + 8, 4.0):
            yield GroundTracks(rows.iloc[slice(*np.searchsorted(times, [t, t + 4]))].reset_index(drop=True))
            yield Tick(t + 4)

    given = [block for block in checked_blocks(check, blocks()) if isinstance(block, GroundTracks)]
    assert sum(map(len, given)) == len(rows)
    (event,) = told
    assert event == check.events[0] and event["t"] > 220 and event["recording"] == "live"


def test_a_background_that_stands_still_speaks_against_paths_that_change():
    check = CameraCheck(straight_camera(), "live")
    check.background._recent.extend((float(t), np.zeros(3), np.zeros((2, 2))) for t in range(9))
    check.background._differences.extend(np.zeros(3) for _ in range(9))
    check._seen_t = 100.0
    assert check._background_stands(120.0) and not check._background_stands(500.0)


def test_a_move_is_no_row_of_the_table_of_alarms(tmp_path):
    table = AlarmTable(tmp_path / "alarms.csv")
    before = table.path.read_text()
    table.deliver(b'{"kind": "camera_moved", "id": "000001"}\n')
    assert table.path.read_text() == before


def test_recorded_tracks_are_sent_to_the_other_verb(files, tmp_path, capsys):
    words = ["--input", str(files / "same"), "--calib", str(files / "camera.yaml"), "--output", str(tmp_path)]
    assert watch.main([*words, "--reference", str(files / "good")]) == 2
    assert "calibrate-camera --watch" in capsys.readouterr().err
