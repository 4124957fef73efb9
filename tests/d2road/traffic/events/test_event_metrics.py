"""Events and alarms in streams whose figures can be counted by hand."""

import math

import numpy as np
import pandas as pd
import pytest
from scipy.stats import binom

from d2road.traffic.events.event_metrics import check_events, density_names, evaluate_events, false_alarms, find_events
from tests.d2road.traffic.events.test_alarms import stream


def events(*rows, **more) -> pd.DataFrame:
    """(kind, severity, onset, end) in recording a."""
    frame = pd.DataFrame(rows, columns=["kind", "severity", "onset", "end"])
    return frame.assign(recording="a", **more)


# Windows of 20 s every 10 s. Above 5: 10-30, 20-40, 60-80 (false), 200-220, 340-360.
SCORES = np.zeros(60)
SCORES[[1, 2, 6, 20, 34]] = [6, 9, 7, 8, 6]
WINDOWS = stream(SCORES)
EVENTS = events(("stop", 1, 25, 35), ("stop", 2, 100, 110), ("brake", 1, 205, 206))


def test_found_events_and_their_delay():
    found = find_events(WINDOWS, EVENTS, 5)
    assert found["found"].tolist() == [True, False, True]
    # 25: windows 10-30, 20-40, 30-50 contain it; the first alarming one ends at 30.
    assert found["delay"].iloc[0] == 5 and math.isnan(found["delay"].iloc[1]) and found["delay"].iloc[2] == 15
    assert found["windows"].tolist() == [3, 2, 2] and found["score"].tolist() == [9, 0, 8]
    assert find_events(WINDOWS, EVENTS, 8.5)["delay"].iloc[0] == 15  # by then only 20-40


def test_threshold_itself_is_no_alarm():
    assert not find_events(WINDOWS, EVENTS, 9)["found"].any()


def test_place_matters_where_it_is_known():
    assert not find_events(WINDOWS, EVENTS.assign(s_low=500.0, s_high=600.0), 5)["found"].any()
    assert find_events(WINDOWS, EVENTS.assign(s_low=499.0, s_high=600.0), 5)["found"].sum() == 2
    assert not find_events(WINDOWS.assign(direction=-1), EVENTS.assign(direction=1), 5)["found"].any()


def test_false_alarms_are_those_that_nothing_explains():
    quiet = false_alarms(WINDOWS, EVENTS, 5, aftermath_s=0)
    assert quiet["false_alarms"] == 2  # 60-80 and 340-360
    # Left out: windows 10-50, 90-120 and 190-220; what remains covers 0-20, 40-110, 110-210 ... as windows lie.
    kept = [i for i in range(60) if i not in (1, 2, 3, 9, 10, 19, 20)]
    covered = np.zeros(6100, dtype=bool)
    for i in kept:
        covered[i * 100 : i * 100 + 200] = True
    assert quiet["hours"] == pytest.approx(covered.sum() / 10 / 3600)
    assert false_alarms(WINDOWS, EVENTS, 5, aftermath_s=140)["false_alarms"] == 0
    only_one = false_alarms(WINDOWS, EVENTS.iloc[2:], 5, aftermath_s=130)
    assert only_one["false_alarms"] == 3  # 340-360 begins 134 s after the end


def test_all_together_by_type_severity_and_density():
    results = evaluate_events(WINDOWS, EVENTS.assign(density=[5.0, 20.0, 40.0]), 5, aftermath_s=0, draws=200)
    assert results["recall"] == pytest.approx(2 / 3) and results["events"] == 3 and results["threshold"] == 5
    assert results["recall_by_kind"] == {"stop": 0.5, "brake": 1.0}
    assert results["recall_by_severity"] == {"1": 1.0, "2": 0.0}
    assert results["recall_by_density"] == {"free": 1.0, "dense": 0.0, "jam": 1.0}
    assert results["delay_s"]["median"] == 10 and results["delay_s_by_kind"] == {"stop": 5, "brake": 15}
    assert results["false_alarms_per_hour"] == pytest.approx(2 / results["hours"])
    assert results["intervals"]["recall_by_kind"]["stop"] == [0, 1]
    low, high = results["intervals"]["false_alarms_per_hour"]
    assert low < results["false_alarms_per_hour"] < high


def test_intervals_are_those_of_drawing_events_again():
    """Of one type, the drawn recall is binomial."""
    many = events(*(("stop", 1, 40.0 * i + 5, 40.0 * i + 6) for i in range(40)))
    scores = np.zeros(160)
    scores[[4 * i for i in range(28)]] = 1
    results = evaluate_events(stream(scores), many, 0.5, draws=4000)
    assert results["recall"] == pytest.approx(0.7)
    expected = binom.ppf([0.025, 0.975], 40, 0.7) / 40
    np.testing.assert_allclose(results["intervals"]["recall"], expected, atol=0.026)
    again = evaluate_events(stream(scores), many, 0.5, draws=4000)
    assert again["intervals"]["recall"] == results["intervals"]["recall"]
    assert "intervals" not in evaluate_events(stream(scores), many, 0.5, draws=0)


def test_streams_without_events():
    results = evaluate_events(WINDOWS, events(), 5)
    assert results["events"] == 0 and math.isnan(results["recall"]) and results["false_alarms"] == 4


def test_names_of_densities():
    assert density_names([3, 11.0, 11.5, 28.5, np.nan, "tunnel"]) == [
        "free",
        "free",
        "dense",
        "jam",
        "unknown",
        "tunnel",
    ]


def test_events_that_cannot_be_used():
    with pytest.raises(ValueError, match=r"events lack the column.* onset"):
        check_events(EVENTS.drop(columns="onset"))
    with pytest.raises(ValueError, match=r"stop in recording a goes from onset 9 to end 8 s"):
        check_events(events(("stop", 1, 9, 8)))
    with pytest.raises(ValueError, match="goes from onset nan"):
        check_events(events(("stop", 1, math.nan, 8)))
