"""Alarms of scored windows, counted by hand, by scipy's connected components and by the online tracker."""

import json

import numpy as np
import pandas as pd
import pytest
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components
from scipy.stats import poisson

from d2road.traffic.events.alarms import (
    AlarmTracker,
    alarm_threshold,
    as_alarms,
    check_windows,
    covered_hours,
    merge_alarms,
    rate_interval,
)


def stream(scores, stride=10.0, duration=20.0, recording="a", s0=0.0, stretch=500.0, start=0.0) -> pd.DataFrame:
    """Windows one after the other at one place."""
    t0 = start + stride * np.arange(len(scores))
    return pd.DataFrame(
        {"recording": recording, "t0": t0, "t1": t0 + duration, "s0": s0, "s1": s0 + stretch, "score": scores}
    )


def random_windows(seed: int, count: int = 300) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    t0, s0 = rng.uniform(0, 1000, count), rng.integers(0, 8, count) * 300.0
    frame = {"recording": rng.choice(["a", "b"], count), "t0": t0, "t1": t0 + 20, "s0": s0, "s1": s0 + 400.0}
    return pd.DataFrame({**frame, "score": rng.integers(0, 100, count).astype(float)})


def components(windows: pd.DataFrame, threshold: float) -> int:
    """Alarms by an adjacency matrix."""
    w = windows[windows["score"] > threshold]
    if not len(w):
        return 0
    t0, t1, s0, s1 = (w[name].to_numpy()[:, None] for name in ("t0", "t1", "s0", "s1"))
    same = w["recording"].to_numpy()[:, None] == w["recording"].to_numpy()[None]
    near = same & (t0 <= t1.T) & (t1 >= t0.T) & (s0 <= s1.T) & (s1 >= s0.T)
    return connected_components(coo_matrix(near))[0]


def test_consecutive_windows_are_one_alarm():
    # Alarms at 0-20 and 10-30 overlap; 40-60 stands alone; 70-90 and 90-110 touch through nothing else.
    windows = check_windows(stream([5, 6, 0, 0, 7, 0, 0, 3, 0, 4]))
    alarms, member = merge_alarms(windows, 2)
    assert [(a.start, a.end, a.raised, a.windows, a.peak, a.peak_t0) for a in alarms] == [
        (0, 30, 20, 2, 6, 10),
        (40, 60, 60, 1, 7, 40),
        (70, 110, 90, 2, 4, 90),
    ]
    assert member.tolist() == [0, 0, -1, -1, 1, -1, -1, 2, -1, 2]
    assert [alarm.peak for alarm in alarms] == [6, 7, 4]


def test_places_and_carriageways_are_told_apart():
    windows = pd.concat([stream([9]), stream([9], s0=501), stream([9], s0=400, start=10), stream([9], recording="b")])
    assert len(merge_alarms(check_windows(windows), 1)[0]) == 2  # the third joins the first two
    assert len(merge_alarms(check_windows(windows.iloc[:2]), 1)[0]) == 2
    windows["direction"] = [1, 1, -1, 1]
    assert len(merge_alarms(check_windows(windows), 1)[0]) == 4


@pytest.mark.parametrize("threshold", [20.0, 50.0, 80.0, 97.0])
def test_as_many_alarms_as_connected_components(threshold):
    windows = check_windows(random_windows(1))
    alarms, member = merge_alarms(windows, threshold)
    assert len(alarms) == components(windows, threshold) > 0
    assert set(member[(windows["score"] > threshold).to_numpy()].tolist()) == set(range(len(alarms)))
    assert sum(a.windows for a in alarms) == (windows["score"] > threshold).sum()


def test_tracker_finds_what_is_found_afterwards():
    windows = check_windows(random_windows(2))
    windows = windows[windows["recording"] == "a"].sort_values(["t0", "s0"]).reset_index(drop=True)
    tracker, closed, begun = AlarmTracker(60), [], 0
    for window in as_alarms(windows):
        closed += tracker.pop_closed(window.start)
        begun += tracker.add(window)
    closed += tracker.pop_closed()
    afterwards = merge_alarms(windows, 60)[0]
    assert sorted(closed, key=lambda a: a.start) == sorted(afterwards, key=lambda a: a.start)
    assert begun >= len(closed) and not tracker.open


def test_threshold_for_a_rate():
    # Alone: 9, 8, 6; the pair 5, 7 is one alarm. Above 5 there are 9, 8, 7, 6: four alarms; above 6 three.
    windows = stream([9, 0, 0, 8, 0, 0, 5, 7, 0, 0, 6], stride=15, duration=20)
    assert alarm_threshold(windows, hours=10, rate=0.3) == (6.0, 3)
    joined = stream([9, 8, 0, 0, 7, 0, 0, 6, 0, 0, 5])  # 9 and 8 are one alarm, the limit comes after they have met
    assert json.loads(json.dumps(alarm_threshold(joined, hours=10, rate=0.2))) == [6.0, 2]
    assert alarm_threshold(windows, hours=10, rate=0.4) == (0.0, 4)  # 5 joins 7, and below it all is one
    assert alarm_threshold(windows, hours=10, rate=0.05) == (9.0, 0)
    with pytest.raises(ValueError, match=r"from 2\.00 h of good traffic; expected at least 10 h"):
        alarm_threshold(windows, hours=2)
    with pytest.raises(ValueError, match="above 0"):
        alarm_threshold(windows, hours=10, rate=0)


def test_no_higher_threshold_has_more_alarms():
    windows = check_windows(random_windows(3))
    for rate in (0.5, 1.0, 2.0):
        threshold, count = alarm_threshold(windows, hours=10, rate=rate)
        candidates = np.unique(windows["score"])
        counts = {t: components(windows, t) for t in candidates}
        assert counts[threshold] == count <= rate * 10
        assert all(counts[t] <= rate * 10 for t in candidates if t >= threshold)
        below = candidates[candidates < threshold]
        assert not len(below) or counts[below[-1]] > rate * 10


def test_hours_count_overlaps_and_places_once():
    windows = pd.concat([stream([0] * 360), stream([0] * 360, s0=500), stream([0] * 36, start=7200)])
    assert covered_hours(windows) == pytest.approx((3590 + 20 + 350 + 20) / 3600)
    assert covered_hours(pd.concat([windows, stream([0], recording="b", duration=3600)])) == pytest.approx(
        3980 / 3600 + 1
    )


@pytest.mark.parametrize("count", [0, 1, 10])
def test_rate_interval_is_that_of_poisson_counts(count):
    low, high = rate_interval(count, 4)
    assert poisson.cdf(count, 4 * high) == pytest.approx(0.025)
    assert low == 0 if count == 0 else poisson.sf(count - 1, 4 * low) == pytest.approx(0.025)


def test_windows_that_cannot_be_used():
    with pytest.raises(ValueError, match=r"lack the column.* score"):
        check_windows(stream([1]).drop(columns="score"))
    with pytest.raises(ValueError, match=r"1 of 2 windows have a score that is not finite, first that of recording a"):
        check_windows(stream([1, np.nan]))
    with pytest.raises(ValueError, match="its end must lie behind its beginning"):
        check_windows(stream([1], duration=0))
