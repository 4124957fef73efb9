"""The clip without SUMO: who is in it drives as its truth says, and another number is another clip."""

import numpy as np

from d2road.data.roadside_camera_files import read_roadside_camera
from d2road.synthetic.traffic_video.steady_clip import HEADWAYS_S, SPEEDS_MPS, VIDEO, make_steady_clip, steady_traffic
from d2road.video import VideoFile


def test_a_clip_has_its_seconds_and_vehicles_at_steady_speeds(tmp_path):
    tracks = make_steady_clip(tmp_path, 3, 0, 0.4)
    assert [frame.size_wh for frame in VideoFile(tmp_path / VIDEO)] == [(960, 540)] * 4
    camera = read_roadside_camera(tmp_path)
    assert camera.road is not None and len(camera.road.directions) == 3
    speeds = tracks.groupby("lane")["speed_mps"]
    assert (speeds.max() - speeds.min() < 1e-6).all() and tracks["speed_mps"].between(*SPEEDS_MPS).all()
    along = camera.road.along_across(tracks[["X", "Y"]].to_numpy())[:, 0]
    first, last = (tracks["frame"] == number for number in (0, 3))
    moved = along[last] - along[first]
    assert np.allclose(moved, 0.3 * tracks.loc[first, "speed_mps"]), "along the road that the calibration knows"


def test_nobody_is_closer_than_a_headway_and_numbers_differ():
    table = steady_traffic(np.random.default_rng(1), 2).table
    now = table[table["frame"] == 0]
    for _, lane in now.groupby("lane"):
        gaps = np.diff(np.sort(lane["s"].to_numpy()))
        assert (gaps > HEADWAYS_S[0] * lane["speed"].iloc[0]).all()
    other = steady_traffic(np.random.default_rng(2), 2).table
    assert not np.array_equal(other["speed"].unique(), table["speed"].unique())
