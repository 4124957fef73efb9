"""Rules of the second version: features by hand and against plain loops, what is usual, and what they name."""

import copy

import numpy as np
import pandas as pd
import pytest

from d2road.traffic.baselines import LastingRules
from d2road.traffic.baselines.lasting_features import (
    LASTING_FEATURES,
    NEAR_M,
    compute_lasting_features,
    sorted_samples,
    speed_of_near,
    with_leaders,
)
from d2road.traffic.baselines.lasting_rules import DescribedWindows, describe_windows, window_density
from d2road.traffic.baselines.usual_values import UsualValues
from d2road.traffic.baselines.vehicle_features import per_second
from d2road.utils.errors import DataError
from tests.factories.traffic_windows import drive, good_windows, traffic, vehicle, window_of

T = np.arange(100, 356) / 10  # of the standard window


def features_of(*vehicles: pd.DataFrame) -> pd.DataFrame:
    found = compute_lasting_features(window_of(pd.concat(vehicles)))
    return pd.DataFrame(found.features, index=found.names, columns=list(LASTING_FEATURES))


def at_speed(name: str, start: float, speed: float, lane=1, t: np.ndarray = T) -> pd.DataFrame:
    return vehicle(name, t, start + speed * (t - T[0]), speed, lane)


def test_a_gap_has_to_last_and_to_be_to_one_vehicle():
    # 12 m and 4.5 m of length at 20 m/s: 0.6 s.
    for seconds, expected in ((25, 1 / 0.6), (6, 0.1)):
        t = T[: 10 * seconds]
        found = features_of(at_speed("leader", 116.5, 20, t=t), at_speed("close", 100, 20, t=t))
        assert found.loc["close", "close"] == pytest.approx(expected)
    # Somebody else every five seconds.
    parts = [at_speed(f"leader{i}", 116.5 + 100 * i, 20, t=T[50 * i : 50 * i + 50]) for i in range(5)]
    leaders = [one.assign(s=116.5 + 20 * (one["t"] - T[0])) for one in parts]
    assert features_of(*leaders, at_speed("close", 100, 20)).loc["close", "close"] == 0.1


def test_a_single_second_of_a_changed_lane_is_no_gap():
    lane = np.where((T > 20) & (T < 21), 2, 1)  # for a second beside and in front of nobody's bumper
    found = features_of(at_speed("other", 101, 20, lane=2), at_speed("x", 100, 20, lane=lane))
    assert found.loc["x", "close"] == 0.1 and found.loc["x", "lane_changes"] == 2


def test_who_stands_in_a_queue_does_not_stand_for_no_reason():
    free, queue = features_of(at_speed("a", 300, 0)), features_of(at_speed("a", 300, 0), at_speed("b", 291, 0))
    assert free.loc["a", "standing"] == 26 and queue["standing"].to_dict() == {"a": 26, "b": 0}


def test_who_is_held_up_is_not_slow():
    others = [at_speed(f"o{i}", 60 * i - 400, 25, lane=2) for i in range(12)]
    found = features_of(*others, at_speed("slow", 150, 10), at_speed("behind", 130, 10))
    assert found.loc["slow", "slower"] > 12 and found.loc["behind", "slower"] == 0
    assert found["faster"].max() < 8
    short = features_of(*others, at_speed("slow", 150, 10, t=T[:40]))
    assert short.loc["slow", "slower"] == 0


def test_lane_changes_count_within_ten_seconds():
    often, spread = (np.where(np.floor((T - T[0]) / pause) % 2 == 0, 1, 2) for pause in (2, 9))
    found = features_of(at_speed("often", 0, 20, lane=often), at_speed("spread", 40, 20, lane=spread))
    assert found["lane_changes"].to_dict() == {"often": 5, "spread": 2}


def test_a_vehicle_is_watched_beyond_the_edge_of_its_window():
    frame = pd.concat([at_speed("leader", 416.5, 20), at_speed("close", 400, 20)])
    inside = window_of(frame[frame["s"] < 512])
    assert compute_lasting_features(inside).features[:, LASTING_FEATURES.index("close")].max() == 0.1
    found = compute_lasting_features(window_of(frame))
    assert found.features[:, LASTING_FEATURES.index("close")].max() == pytest.approx(1 / 0.6)
    row = found.names.tolist().index("close")
    # Where it is in the middle of all that is watched.
    assert found.s[row] == pytest.approx(655, abs=3) and found.t[row] == pytest.approx(T[0] + 12.75, abs=0.15)


def test_speeds_of_near_vehicles_equal_a_plain_loop():
    table = per_second(sorted_samples(window_of(traffic(3)))[0], 10.0)
    seconds = with_leaders(table)
    for i in range(0, len(table), 7):
        near = (seconds.second == seconds.second[i]) & (np.abs(seconds.s - seconds.s[i]) <= NEAR_M)
        near[i] = False
        expected = seconds.speed[near].mean() if near.any() else seconds.speed[i]
        assert speed_of_near(seconds)[i] == pytest.approx(expected)
        ahead = (seconds.second == seconds.second[i]) & (seconds.lane == seconds.lane[i]) & (seconds.s > seconds.s[i])
        leader = seconds.vehicle[ahead][seconds.s[ahead].argmin()] if ahead.any() else -1
        assert seconds.leader[i] == leader


def test_deviations_equal_a_plain_loop():
    rng = np.random.default_rng(0)
    density, features = rng.uniform(1, 80, 100), rng.normal(size=(100, 2))
    usual = UsualValues(density, features, np.array([1e-9, 5.0]))
    found = usual.deviations(np.array([5.0, 70.0]), np.ones((2, 2)))
    for place, row in zip((5.0, 70.0), found):
        near = features[np.argsort(np.abs(np.log(density + 3) - np.log(place + 3)))[:25]]
        median = np.median(near, axis=0)
        spread = np.maximum(np.abs(near - median).mean(axis=0), [1e-9, 5.0])
        np.testing.assert_allclose(row, (1 - median) / spread)


@pytest.fixture(scope="module")
def good():
    return good_windows(45)


def misbehaviour(kind: str) -> list[pd.DataFrame]:
    if kind == "close":
        return [at_speed("leader", 60.5, 24, lane=0), at_speed("x", 46, 24, lane=0)]
    if kind == "slower":
        return [vehicle("x", *drive([10, 36], [11, 11]), 1)]
    if kind == "standing":
        return [vehicle("x", *drive([10, 15, 18, 36], [25, 25, 0, 0]), 1)]
    return [at_speed("x", 50, 25, lane=1 + (np.floor(T / 2) % 2).astype(int))]


@pytest.mark.parametrize("kind", ["close", "slower", "standing", "lane_changes"])
def test_rules_name_the_vehicle_and_what_it_does(good, kind):
    rules = LastingRules().fit(good)
    frame = traffic(99)
    frame = frame[frame["lane"] == "2"]
    window = window_of(pd.concat([frame, *misbehaviour(kind)], ignore_index=True))
    assert rules.scores([window])[0] > rules.scores(good_windows(12, seed=1)).max()
    by_rule = rules.by_rule(describe_windows([window]))[0]
    assert by_rule[LASTING_FEATURES.index(kind)] > 3
    if kind != "standing":  # that brakes hard as well
        why = rules.explain(window)
        assert why is not None and (why.rule, why.vehicle) == (kind, "x") and "x " in str(why)


def test_fitted_rules_are_stored_and_read(good):
    rules = LastingRules().fit(iter(good))
    again = LastingRules.from_json(rules.to_json(), "file")
    others = good_windows(5, seed=2)
    np.testing.assert_array_equal(rules.scores(others), again.scores(others))
    assert rules.digest() == again.digest() != LastingRules().fit(good[:-1]).digest()


@pytest.mark.parametrize(
    ("key", "value", "text"),
    [
        ("version", 3, "of version 3, expected 2"), ("features", ["close"], "fit and calibrate them anew"),
        ("windows", [[1.0]], "is no window: expected a density and 10 features"), ("windows", [], "0 good windows"),
        ("windows", [[float("nan")] * 11], "expected a finite number"), ("windows", None, "expected a list"),
    ],
)  # fmt: skip
def test_damaged_rules_are_refused(good, key, value, text):
    values = copy.deepcopy(LastingRules().fit(good).to_json())
    with pytest.raises(DataError, match=text):
        LastingRules.from_json({**values, key: value}, "calibration c.json")


def test_empty_roads_are_usual_and_unfitted_rules_say_so(good):
    empty = window_of(traffic(0)[:0])
    rules = LastingRules().fit([*good, empty])
    assert rules.scores([empty])[0] == 0 and rules.explain(empty) is None and window_density(empty) == 0
    assert len(rules.scores([])) == 0
    with pytest.raises(ValueError, match="has not been fitted"):
        LastingRules().scores_described(describe_windows([empty]))
    with pytest.raises(DataError, match="39 good windows with vehicles; expected at least 40"):
        LastingRules().fit(good[:39])


def test_density_is_what_a_count_gives():
    # Two of three vehicles are on the 512 m at all instants.
    window = window_of(pd.concat([at_speed("a", 10, 0), at_speed("b", 500, 0), at_speed("c", 550, 0)]))
    assert window_density(window) == pytest.approx(2 / 0.512)
    parts = [describe_windows([window]), describe_windows([])]
    assert len(DescribedWindows.joined(parts)) == 1
