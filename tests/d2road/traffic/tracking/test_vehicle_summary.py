"""Vehicles in a table each: medians of what was seen, lanes, stays, and who passes a cross-section when."""

import numpy as np
import pandas as pd
import pytest

from d2road.traffic.tracking.ground_tracks import COLUMNS, GroundTracks
from d2road.traffic.tracking.road_trajectories import to_trajectories
from d2road.traffic.tracking.vehicle_summary import flow_by_minute, passings, summarize_vehicles
from tests.factories.camera_sites import straight_camera

T = np.arange(0, 10, 0.1).round(1)


def rows_of(track, x, y, speed, seen=True, motion="moving", t=T, cls="car"):
    values = dict.fromkeys(COLUMNS, 0.0)
    values |= {
        "frame": np.arange(len(t)), "t": t, "track": track, "cls": cls, "score": 0.9, "x": x, "y": y, "var_x": 0.01,
        "var_y": 0.01, "heading": np.pi / 2, "length": 4.0, "width": 1.8, "height": 1.5, "speed": speed,
        "speed_sd": 0.5, "course": np.where(np.array(motion) == "moving", np.pi / 2, np.nan), "course_sd": 0.1,
        "motion": motion, "seen": seen,
    }  # fmt: skip
    return pd.DataFrame(values)


@pytest.fixture
def tracks():
    """One at 10 m/s in the right lane, unseen and wrong at the end; one in the left lane that stands after 5 s."""
    seen = T < 8
    first = rows_of(1, -4.0, 20 + 10 * T, np.where(seen, 10.0, 30.0), seen)
    stands = T >= 5
    second = rows_of(
        2, -7.5, 30 + 8 * np.minimum(T, 5), np.where(stands, 0.0, 8.0), True, np.where(stands, "standing", "moving"),
        cls="bus",
    )  # fmt: skip
    return GroundTracks.from_frame(pd.concat([first, second]))


def test_speeds_are_medians_of_what_was_seen_and_stays_are_counted(tracks):
    road = straight_camera().road
    found = summarize_vehicles(tracks, to_trajectories(tracks, road, "r")).set_index("track")
    assert found.loc[1, "speed_kmh"] == found.loc[1, "fastest_kmh"] == pytest.approx(36)
    assert found.loc[1, "speed_sd_kmh"] == pytest.approx(1.8) and found.loc[1, "seen_s"] == pytest.approx(8.0)
    assert found.loc[2, "standing_s"] == pytest.approx(5.0) and found.loc[2, "slowest_kmh"] == 0
    assert list(found["lane"]) == ["0", "1"] and list(found["direction"]) == [1, 1] and found.loc[2, "cls"] == "bus"
    assert found.loc[1, ["start_s", "end_s"]].tolist() == [0.0, 9.9]
    assert found.loc[1, "near_m"] == pytest.approx(np.hypot(4, 20)) and found.loc[2, "far_m"] == pytest.approx(
        np.hypot(7.5, 70)
    )  # fmt: skip


def test_without_a_road_lanes_are_unknown_and_without_tracks_there_is_nobody(tracks):
    found = summarize_vehicles(tracks)
    assert set(found["lane"]) == {""} and set(found["direction"]) == {0}
    assert list(summarize_vehicles(GroundTracks.empty())) == list(found) and not len(
        summarize_vehicles(GroundTracks.empty())
    )  # fmt: skip


def test_one_who_was_never_seen_has_no_speed(tracks):
    hidden = GroundTracks.from_frame(rows_of(3, -4.0, 20 + 10 * T, 10.0, seen=False))
    (row,) = summarize_vehicles(hidden).to_dict("records")
    assert np.isnan(row["speed_kmh"]) and row["seen_s"] == 0


def test_a_passing_is_interpolated_and_falls_into_its_minute(tracks):
    table = to_trajectories(tracks, straight_camera().road, "r")
    place = table.frame["s"].median()
    passed = passings(table)
    # The front, 2 m ahead of the middle, is at the cross-section.
    when = dict(zip(passed["vehicle"], passed["t"]))
    assert when["1"] == pytest.approx((place - 22) / 10, abs=1e-6) and set(when) <= {"1", "2"}
    late = passed.assign(t=passed["t"] + 60)
    counts = flow_by_minute(pd.concat([passed, late, late]), 0.0, 130.0)
    assert counts[(1, "0")].tolist() == [1, 2, 0]
