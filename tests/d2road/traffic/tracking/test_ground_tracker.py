"""The Kalman tracker on the ground plane: ids, speeds, fronts and memory, on vehicles whose way is known."""

import numpy as np
import pandas as pd
import pytest

from d2road.traffic.tracking.ground_tracker import GroundKalmanTracker
from d2road.traffic.tracking.ground_tracks import GroundTracks, concat
from d2road.traffic.tracking.tracker import TRACKER_REGISTRY, Tracker
from d2road.traffic.tracking.tracker_options import TrackerOptions
from d2road.utils.errors import ConfigError, DataError
from tests.factories.ground_traffic import NOTHING, detection, detections, drive, frames, run

TIMES = np.arange(80) / 10


def straight(x: float, speed: float, start: float = 0.0):
    return lambda t: (x, start + speed * t)


def test_the_registry_makes_a_tracker_and_tells_the_known_ones():
    tracker: Tracker = TRACKER_REGISTRY.get("ground_kalman")()
    assert len(tracker.update(detections([]), 0.0)) == len(tracker.finish()) == 0
    with pytest.raises(ConfigError, match="ground_kalman"):
        TRACKER_REGISTRY.get("ground_kalmann")


def test_each_vehicle_gets_one_id_and_its_speed():
    rng = np.random.default_rng(0)
    rows = drive(TIMES, straight(0, 12), rng) + drive(TIMES, straight(3.5, -9, 100), rng, heading=-np.pi / 2)
    live, smoothed = run(GroundKalmanTracker(), TIMES, rows)
    assert smoothed.ids == [1, 2] and len(smoothed) == 160
    for track, speed, course in ((1, 12, np.pi / 2), (2, 9, -np.pi / 2)):
        mine = smoothed.rows[smoothed.rows["track"] == track]
        assert abs(mine["speed"] - speed).median() < 0.25
        assert mine["course"].median() == pytest.approx(course, abs=0.02)
        assert set(mine["motion"]) == {"moving"} and set(mine["cls"]) == {"car"}
        assert mine[["length", "width", "height"]].iloc[0].tolist() == pytest.approx([4.5, 1.8, 1.5])
    assert all(table.ids == [1, 2] for table in live[3:])


def test_unconfirmed_candidates_are_shown_to_nobody():
    rows = drive(TIMES[:10], straight(0, 12)) + [detection(4, TIMES[4], 30.0, 30.0)]
    live, smoothed = run(GroundKalmanTracker(), TIMES[:10], rows)
    assert [len(table) for table in live] == [0, 0] + [1] * 8
    assert smoothed.ids == [1] and len(smoothed) == 10  # the first two are known afterwards


@pytest.mark.parametrize("seed", range(4))
def test_ids_outlive_two_seconds_behind_a_truck(seed):
    rng = np.random.default_rng(seed)
    hidden = drive(TIMES, straight(0, 14), rng, hidden=(3.0, 5.0))
    beside = drive(TIMES, straight(3.5, 11), rng, cls="truck")
    _, smoothed = run(GroundKalmanTracker(), TIMES, hidden + beside)
    assert len(smoothed.ids) == 2
    mine = smoothed.rows[smoothed.rows["cls"] == "car"]
    assert len(mine) == 80 and (~mine["seen"]).sum() == 20
    away = mine["y"].to_numpy() - 14 * TIMES
    assert np.abs(away).max() < 1.0 and (np.abs(away) < 3 * np.sqrt(mine["var_y"])).mean() > 0.9


def test_nothing_is_told_after_the_last_detection():
    rows = drive(TIMES[:30], straight(0, 14))
    live, smoothed = run(GroundKalmanTracker(), TIMES, rows)
    assert smoothed.rows["frame"].max() == 29
    assert [len(table) for table in live[30:38]] == [1, 1, 1, 1, 1, 0, 0, 0]  # half a second


def test_a_vehicle_that_leaves_the_view_ends_at_once():
    followed = []
    for view in (lambda points: points[:, 1] < 41, None):
        tracker = GroundKalmanTracker(in_view=view)
        found = frames(drive(TIMES[:30], straight(0, 14)))
        for k in range(33):
            tracker.update(found.get(k, NOTHING), TIMES[k], k)
        followed.append(len(tracker.tracks))
    assert followed == [0, 1]


def test_low_scores_keep_a_track_and_begin_none():
    rows = drive(TIMES[:20], straight(0, 12)) + drive(TIMES[:20], straight(20, 12), score=0.12)
    for row in rows:
        if row["x"] == 0 and row["frame"] >= 8:
            row["score"] = 0.12
    _, smoothed = run(GroundKalmanTracker(), TIMES[:20], rows)
    assert smoothed.ids == [1] and len(smoothed) == 20 and smoothed.rows["seen"].all()


def test_a_second_box_on_a_vehicle_is_no_vehicle():
    rows = drive(TIMES[:20], straight(0, 12)) + drive(TIMES[:20], straight(1.0, 12, 0.5), score=0.6, cls="van")
    _, smoothed = run(GroundKalmanTracker(), TIMES[:20], rows)
    assert smoothed.ids == [1] and set(smoothed.rows["cls"]) == {"car"}


@pytest.mark.parametrize("kind", ["even", "jitter", "dropped", "variable rate"])
def test_speeds_come_from_presentation_times_whatever_the_frames(kind):
    rng = np.random.default_rng(5)
    times = np.arange(100) / 10
    if kind == "jitter":
        times = times + rng.uniform(-0.04, 0.04, 100)
    elif kind == "dropped":
        times = times[np.sort(rng.permutation(100)[:60])]
    elif kind == "variable rate":
        times = np.concatenate([times[times < 4], np.arange(4, 10, 0.37)])
    _, smoothed = run(GroundKalmanTracker(), times, drive(times, straight(0, 13), rng))
    error = smoothed.rows["speed"].to_numpy() - 13
    assert smoothed.ids == [1] and np.median(np.abs(error)) < 0.15
    assert (np.abs(error) < 2.5 * smoothed.rows["speed_sd"]).mean() > 0.9


def test_at_one_frame_a_second_vehicles_are_still_told_apart():
    times = np.arange(12.0)
    rng = np.random.default_rng(6)
    rows = drive(times, straight(0, 12), rng) + drive(times, straight(3.5, 10, 5), rng)
    _, smoothed = run(GroundKalmanTracker(), times, rows)
    assert len(smoothed.ids) == 2 and smoothed.rows.groupby("track")["x"].std().max() < 1.0


def test_reversed_headings_of_a_detector_turn_no_moving_vehicle():
    rng = np.random.default_rng(7)
    rows = drive(TIMES, straight(0, 12), rng)
    for row in rows:
        row["heading"] = np.pi / 2 + rng.normal(0, 0.1) + np.pi * (rng.random() < 0.4)
    _, smoothed = run(GroundKalmanTracker(), TIMES, rows)
    assert (np.cos(smoothed.rows["heading"] - np.pi / 2) > 0.95).all()


def there_and_back(t):
    """Forwards for 4 s, a stop of 2 s, backwards for 4 s."""
    return 0.0, 6 * min(t, 4) - 2.0 * max(t - 6, 0)


def test_a_vehicle_that_reverses_is_reported_and_keeps_its_front():
    times = np.arange(100) / 10
    rng = np.random.default_rng(8)
    _, smoothed = run(GroundKalmanTracker(), times, drive(times, there_and_back, rng))
    assert smoothed.ids == [1]
    motion = smoothed.rows.set_index("t")["motion"]
    assert set(motion[0.5:3.5]) == {"moving"} and set(motion[7.0:9.0]) == {"reversing"}
    assert (motion[4.8:5.4] == "standing").mean() > 0.8
    back = smoothed.rows[smoothed.rows["motion"] == "reversing"]
    assert (np.cos(back["heading"] - np.pi / 2) > 0.9).all() and (np.cos(back["course"] + np.pi / 2) > 0.9).all()


def test_a_vehicle_seen_only_in_reverse_is_known_by_lasting_headings():
    rng = np.random.default_rng(9)
    rows = drive(TIMES, straight(0, -1.2), rng)  # the detector says all the time that it faces +y
    _, smoothed = run(GroundKalmanTracker(), TIMES, rows)
    moving = smoothed.rows[smoothed.rows["course"].notna()]
    assert len(moving) > 40 and set(moving["motion"]) == {"reversing"}


def test_a_standing_vehicle_stands():
    rng = np.random.default_rng(10)
    live, smoothed = run(GroundKalmanTracker(), TIMES, drive(TIMES, straight(0, 0), rng))
    assert (smoothed.rows["motion"][5:-5] == "standing").all()  # at its ends little is known
    assert smoothed.rows["course"].isna().all()
    assert live[40].rows["motion"].tolist() == ["standing"]


def test_long_tracks_are_given_away_piece_by_piece_in_order_of_time():
    times = np.arange(240) / 10
    rng = np.random.default_rng(11)
    rows = drive(times, straight(0, 0), rng) + drive(times, straight(10, 3), rng, hidden=(12, 14))
    whole = run(GroundKalmanTracker(), times, rows)[1].rows
    tracker = GroundKalmanTracker(TrackerOptions(history_s=8.0, lag_s=5.0))
    pieces, last, held, found = [], -1.0, 0, frames(rows)
    for k, t in enumerate(times):
        tracker.update(found.get(k, NOTHING), t, k)
        piece = tracker.take_finished().rows
        held = max(held, *(len(track.steps) for track in tracker.tracks))
        if len(piece):
            assert piece["t"].min() > last
            pieces.append(GroundTracks(piece))
            last = piece["t"].max()
    got = concat([*pieces, tracker.finish()]).rows
    assert len(pieces) > 4 and held <= 82
    assert got[["frame", "track", "seen"]].equals(whole[["frame", "track", "seen"]])
    # Five seconds later nothing changes but millimetres.
    for name in ("x", "y", "speed"):
        np.testing.assert_allclose(got[name], whole[name], atol=5e-3)


def test_times_that_do_not_rise_and_foreign_detections_are_refused():
    tracker = GroundKalmanTracker()
    tracker.update(detections([detection(0, 1.0, 0, 0)]), 1.0, 0)
    for t in (1.0, 0.5, np.nan):
        with pytest.raises(DataError, match="times must rise"):
            tracker.update(detections([]), t)
    with pytest.raises(DataError, match="one frame after the other"):
        tracker.update(detections([detection(2, 2.0, 0, 0)]), 2.0, 1)
    with pytest.raises(DataError, match="one frame after the other"):
        tracker.update(detections([detection(2, 2.0, 0, 0), detection(3, 2.1, 0, 0)]), 2.0)
    assert len(tracker.update(detections([]), 2.5)) == 0


def test_options_that_cannot_be_are_refused():
    with pytest.raises(ConfigError, match="low_score"):
        TrackerOptions(low_score=0.9)
    with pytest.raises(ConfigError, match="lag_s"):
        TrackerOptions(lag_s=2.0)


def test_results_do_not_depend_on_the_order_within_a_frame():
    rng = np.random.default_rng(12)
    rows = drive(TIMES, straight(0, 12), rng) + drive(TIMES, straight(3.5, 8, 5), rng)
    first = run(GroundKalmanTracker(), TIMES, rows)[1].rows
    second = run(GroundKalmanTracker(), TIMES, rows[::-1])[1].rows
    merged = pd.merge(first, second, on=["frame", "x", "y", "speed"])
    assert len(merged) == len(first) == 160
