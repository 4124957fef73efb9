"""Benchmark of cameras that move: turned tracks are found in a stream whose alarms without a turn are none."""

import numpy as np
import pytest

from benchmarks.traffic.drift_frames import frames_summary, judge_tracks, turned_image
from benchmarks.traffic.drift_streams import DriftStream
from benchmarks.traffic.drift_tables import write_table
from benchmarks.traffic.drift_tracks import judge_stream, lowest_limit, summary
from d2road.traffic.calibration.camera_turn import turned_homography
from d2road.traffic.tracking.track_files import TrackFiles
from tests.factories.camera_sites import straight_camera
from tests.factories.passing_tracks import ground_tracks, passing


@pytest.fixture(scope="module")
def row():
    watched = passing(1800, 2)
    return judge_stream(DriftStream("threshold_00_0", straight_camera(), passing(200, 1), watched), 1)


def test_turns_of_a_stream_are_found_and_the_rest_is_quiet(row):
    assert sum(row["false_alarms"].values()) == 0 and row["hours"] == pytest.approx(1.0, abs=0.01)
    assert 0 <= row["delays"]["yaw_0.4"]["22"] < 60 and row["tracks_a_minute"] == pytest.approx(30, abs=1)
    told = summary([row, row])
    assert told["turns"]["yaw_0.4"]["within_60_s"] == 1.0 and told["false_alarms_a_day"][0] == 0
    assert lowest_limit([row], 1.0) == 18.0
    noisy = {**row, "false_alarms": {**row["false_alarms"], "18": 1, "20": 1}}
    assert lowest_limit([noisy], 24.0) == 22.0


def test_tracks_of_a_clip_are_watched_from_its_first_vehicles_on(tmp_path):
    files = TrackFiles(tmp_path, straight_camera(), "clip")
    files.add(ground_tracks(passing(150, 3)))
    files.close()
    found = judge_tracks(tmp_path, straight_camera(), 200.0, 0.6 * np.eye(3), 300.0)
    assert found["alarms"] == 0 and found["good_passages"] >= 60 and found["delays_s"]["yaw"] < 60
    video = {"alarms": 1, "delays_s": {"yaw": 8.0, "pitch": None, "roll": 9.0}}
    rows = [{"clip": "a", "hours": 0.5, "video": video, "tracks": None}]
    told = frames_summary(rows)
    assert told["video"]["alarms_an_hour"][0] == 2.0 and told["video"]["within_60_s"] == 2
    assert told["tracks"] == {"clips": 0}


def test_an_image_is_turned_as_points_are():
    camera, turn = straight_camera(), np.array([0.4, 0.0, 0.0])
    image = np.zeros((540, 960, 3), np.uint8)
    image[298:303, 498:503] = 255
    v, u = np.argwhere(turned_image(image, camera, turn)[..., 0] > 128).mean(axis=0)
    there = turned_homography(camera.K, turn) @ [500.0, 300.0, 1.0]
    np.testing.assert_allclose([u, v], there[:2] / there[2], atol=0.6)


def test_without_records_the_table_is_empty(tmp_path, monkeypatch):
    monkeypatch.setattr("benchmarks.traffic.drift_tables.RESULTS", tmp_path)
    monkeypatch.setattr("benchmarks.common.records.RESULTS", tmp_path)
    (tmp_path / "camera_drift").mkdir()
    assert write_table("camera_drift").read_text() == ""
