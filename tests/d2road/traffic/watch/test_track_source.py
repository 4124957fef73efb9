"""Ground tracks as a stream: recorded and live are one path."""

from itertools import pairwise

import numpy as np
import pandas as pd

from d2road.traffic.table import concat
from d2road.traffic.time_space.window_grid import Tick
from d2road.traffic.tracking.ground_tracks import COLUMNS, GroundTracks
from d2road.traffic.tracking.road_trajectories import to_trajectories
from d2road.traffic.watch.track_source import TrackSource
from tests.factories.camera_sites import straight_camera

ROAD = straight_camera().road


def tracks(*parts):
    """Rows of vehicles (track, times) that drive at 10 m/s in the left lane."""
    rows = []
    for number, t in parts:
        t = np.asarray(t, dtype=float)
        values = {"frame": np.round(t * 5).astype(int), "t": t, "track": number, "cls": "car", "score": 0.9,
                  "x": -7.5, "y": 20 + 10 * t, "var_x": 0.1, "cov_xy": 0.0, "var_y": 0.1, "heading": np.pi / 2,
                  "length": 4.0, "width": 1.8, "height": 1.5, "speed": 10.0, "speed_sd": 0.1, "course": np.pi / 2,
                  "course_sd": 0.1, "motion": "moving", "seen": True}  # fmt: skip
        rows.append(pd.DataFrame({name: values.get(name, np.nan) for name in COLUMNS}))
    return GroundTracks.from_frame(pd.concat(rows))


def test_blocks_that_cut_an_instant_give_the_table_that_the_whole_gives():
    t = np.arange(0, 20, 0.2).round(3)
    whole = tracks((1, t), (2, t + 0.0))
    blocks = [
        GroundTracks(whole.rows.iloc[rows].reset_index(drop=True)) for rows in np.array_split(np.arange(len(whole)), 7)
    ]
    chunks = list(TrackSource("cam", blocks, ROAD).chunks(2.0))
    spans = [one.span for one in chunks]
    assert len(chunks) > 3 and all(a[1] < b[0] for a, b in pairwise(spans))
    assert concat(chunks).frame.equals(to_trajectories(whole, ROAD, "cam").frame)


def test_a_tick_gives_out_what_lies_before_it_and_is_passed_on():
    t = np.arange(0, 4, 0.2).round(3)
    given = list(TrackSource("cam", [tracks((1, t)), Tick(2.0), Tick(30.0)], ROAD).chunks(60.0))
    assert [one.t if isinstance(one, Tick) else one.span for one in given] == [(0.0, 2.0), 2.0, (2.2, 3.8), 30.0]


def test_rows_are_counted():
    source = TrackSource("folder/cam.mp4", [tracks((1, [0.0, 0.2]))], ROAD)
    assert len(list(source.chunks(1.0))) == 1 and source.name == "cam"
    assert (source.problems.rows, source.problems.kept) == (2, 2)
