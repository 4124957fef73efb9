"""Rules with a learned forecast: car following by its equations, states and evidence by plain loops, what is found."""

import numpy as np
import pandas as pd
import pytest

from d2road.traffic.baselines import TrackSurprise
from d2road.traffic.baselines.absence import find_absences
from d2road.traffic.baselines.car_following import CarFollowing, idm_acceleration
from d2road.traffic.baselines.driving_states import FAR_M, STATE_FEATURES, compute_driving_states
from d2road.traffic.baselines.forecaster import LEAST_ERROR, MotionForecaster, Surprise
from d2road.traffic.baselines.lasting_features import sorted_samples
from d2road.traffic.baselines.road_tracks import KINDS, Place, RoadTracks
from d2road.traffic.baselines.track_evidence import DECADE, EVIDENCE, FORECAST_S, compute_track_evidence
from d2road.traffic.baselines.vehicle_rarity import USUAL, VehicleRarity, WindowVehicles, sum_beyond_usual
from d2road.utils.errors import DataError
from tests.factories.traffic_windows import drive, good_windows, traffic, vehicle, window_of

T = np.arange(100, 356) / 10  # of the standard window
DRIVER = np.array([33.0, 1.4, 2.5, 1.1, 2.0])


def states_of(frame: pd.DataFrame):
    window = window_of(frame)
    return compute_driving_states(*sorted_samples(window), window.t0)


def test_car_following_keeps_the_gap_of_its_equilibrium():
    speed = np.array([5.0, 15.0, 25.0])
    # Eq. 5 of the paper: where nobody accelerates.
    gap = (DRIVER[2] + speed * DRIVER[1]) / np.sqrt(1 - (speed / DRIVER[0]) ** 4)
    assert idm_acceleration(DRIVER, speed, gap, np.zeros(3)) == pytest.approx(0, abs=1e-12)
    assert idm_acceleration(DRIVER, np.zeros(1), np.array([1e9]), np.zeros(1)) == pytest.approx(DRIVER[3])
    assert (idm_acceleration(DRIVER, speed, 0.8 * gap, np.zeros(3)) < 0).all()


def driven(count: int = 4000, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """States at random of vehicles with their driver's acceleration and noise."""
    rng = np.random.default_rng(seed)
    states = np.zeros((count, len(STATE_FEATURES)))
    column = {name: i for i, name in enumerate(STATE_FEATURES)}
    ranges = {"speed": (0, 36), "length": (4, 5), "gap": (3, 250), "closing": (-4, 4), "near_count": (0, 30)}
    for name, (low, high) in ranges.items():
        states[:, column[name]] = rng.uniform(low, high, count)
    inputs = (states[:, column[name]] for name in ("speed", "gap", "closing"))
    return states, idm_acceleration(DRIVER, *inputs) + rng.normal(0, 0.05, count)


def test_car_following_finds_the_driver_again():
    states, acceleration = driven()
    found = CarFollowing.fit(states, acceleration)
    np.testing.assert_allclose(found.short, DRIVER, rtol=0.05)
    assert found.long is found.short  # no long vehicle was there
    assert np.std(found.predict(states) - acceleration) < 0.06
    with pytest.raises(DataError, match="100 or more"):
        CarFollowing.fit(states[:50], acceleration[:50])


def test_states_against_plain_loops():
    found = states_of(traffic(3))
    seconds = found.seconds
    values = pd.DataFrame(found.values, columns=list(STATE_FEATURES)).astype(float)
    assert np.array_equal(values["length"], np.full(len(values), np.float32(4.5)))
    for i in range(0, len(values), 23):
        same = np.flatnonzero(seconds.second == seconds.second[i])
        others = same[same != i]
        lane = others[seconds.lane[others] == seconds.lane[i]]
        ahead, behind = lane[seconds.s[lane] > seconds.s[i]], lane[seconds.s[lane] < seconds.s[i]]
        gap, closing = FAR_M, 0.0
        if len(ahead):
            leader = ahead[seconds.s[ahead].argmin()]
            gap, closing = seconds.s[leader] - 4.5 - seconds.s[i], seconds.speed[i] - seconds.speed[leader]
        assert (values["gap"][i], values["closing"][i]) == pytest.approx((min(gap, FAR_M), closing), abs=1e-3)
        rear = FAR_M if not len(behind) else seconds.s[i] - 4.5 - seconds.s[behind].max()
        assert values["rear_gap"][i] == pytest.approx(min(rear, FAR_M), abs=1e-3)
        near = others[np.abs(seconds.s[others] - seconds.s[i]) <= 200]
        assert values["near_count"][i] == len(near)
        assert values["near_speed"][i] == pytest.approx(seconds.speed[near].mean(), abs=1e-3)
        coming = others[(seconds.s[others] > seconds.s[i]) & (seconds.s[others] <= seconds.s[i] + 300)]
        expected = seconds.speed[coming].mean() if len(coming) else seconds.speed[i]
        assert values["ahead_speed"][i] == pytest.approx(expected, abs=1e-3)
    rows = np.flatnonzero(found.known)
    np.testing.assert_allclose(found.acceleration[rows], seconds.speed[rows + 1] - seconds.speed[rows])


def test_the_forecast_learns_how_others_drive_and_not_what_a_vehicle_did_before():
    states, acceleration = driven(20_000)
    slow = states[:, 0] < 12
    changes = slow & (np.random.default_rng(1).random(len(slow)) < 0.3)
    forecaster = MotionForecaster().fit(states, acceleration, changes)
    new, truth = driven(2000, seed=5)
    found = forecaster.surprise(new, truth, np.ones(len(new), dtype=bool))
    braking = truth < -4
    assert np.std(found.residual[~braking]) < 0.3 and np.std(found.errors) < 3
    assert np.median(found.change[new[:, 0] < 10]) == pytest.approx(-np.log10(0.3), abs=0.1)
    assert np.median(found.change[new[:, 0] > 14]) > 2
    off = forecaster.surprise(new, truth + 1, np.zeros(len(new), dtype=bool))
    np.testing.assert_allclose(off.residual, found.residual + 1)
    np.testing.assert_allclose(off.idm, found.idm + 1)
    assert not off.change.any() and np.abs(off.errors).max() <= 1 / LEAST_ERROR
    unknown = forecaster.surprise(new, np.full(len(new), np.nan), changes[:2000])
    assert not unknown.residual.any() and not unknown.idm.any()


def test_evidence_lasts_whole_seconds_of_one_track():
    # Twelve seconds, a gap of three, eight seconds.
    kept = (T < 22) | ((T >= 25) & (T < 33))
    states = states_of(vehicle("a", T[kept], 100 + 10 * (T[kept] - 10), 10.0, 1))
    count = len(states.values)
    assert count == 20
    rng = np.random.default_rng(0)
    surprise = Surprise(*rng.normal(size=(3, count)), np.zeros(count))
    evidence = compute_track_evidence(states, surprise)
    column = {name: i for i, name in enumerate(EVIDENCE)}
    above, below = evidence.values[:, column["above"]], evidence.values[:, column["below"]]
    known = [9, 10, 11]
    assert np.flatnonzero(np.isfinite(above)).tolist() == known  # nothing lasts ten seconds behind the gap
    means = [surprise.residual[i - FORECAST_S + 1 : i + 1].mean() for i in known]
    np.testing.assert_allclose(above[known], means)
    np.testing.assert_allclose(below[known], np.negative(means))
    lost = [np.log1p(surprise.errors[i - FORECAST_S + 1 : i + 1] ** 2).mean() for i in known]
    np.testing.assert_allclose(evidence.values[known, column["unlikely"]], lost)
    changed = Surprise(*np.zeros((3, count)), np.eye(count)[5] * 3)
    unlikely = compute_track_evidence(states, changed).values[:, column["unlikely"]]
    np.testing.assert_allclose(unlikely[known], 3 * DECADE / FORECAST_S)
    # A window that begins a second later holds two stretches, one that begins three later none.
    for t0, rows in ((10.0, known), (11.0, known[1:]), (13.0, [])):
        ((numbers, found),) = evidence.windows(t0, 35.6, [(0.0, 500.0)])
        assert numbers.tolist() == [0]
        assert found[0, column["above"]] == pytest.approx(max([0.0, *above[rows]]))
        assert found[0, column["speed"]] == pytest.approx(10)
    ((numbers, _),) = evidence.windows(10.0, 35.6, [(400.0, 500.0)])
    assert not len(numbers)


def longest(frame: pd.DataFrame, s0: float = 0.0, s1: float = 512.0) -> dict[str, float]:
    samples, names = sorted_samples(window_of(frame))
    vehicle, seconds = find_absences(samples).longest(10.0, 35.6, s0, s1)
    found = dict.fromkeys(names, 0.0)
    for number, value in zip(vehicle, seconds):
        found[names[number]] = max(found[names[number]], float(value))
    return found


def test_who_stands_at_the_edge_of_a_window_is_not_missing():
    noise = np.random.default_rng(0).normal(0, 0.3, len(T))
    assert longest(vehicle("a", T, 511.9 + noise, 0.0, 1)) == {"a": 0.0}
    # It is for the features of the rules, which see it come and go.
    assert longest(vehicle("a", T, 300 + noise, 0.0, 1)) == pytest.approx({"a": 0.1}, abs=0.11)


def test_gaps_and_ends_of_tracks_count_where_they_are_on_the_road():
    keep = (T < 15) | (T > 20)
    s = 20 * (T - 10)
    assert longest(vehicle("a", T[keep], s[keep], 20.0, 1))["a"] == pytest.approx(5.1, abs=0.11)
    assert longest(vehicle("a", T[keep], s[keep], 20.0, 1), 250.0, 500.0)["a"] == 0  # the gap ends before 220 m
    ends = T < 15  # at 100 m, 412 m before the edge
    assert longest(vehicle("a", T[ends], s[ends], 20.0, 1))["a"] == pytest.approx(412 / 20, abs=0.2)
    begins = T >= 20  # at 200 m: it should have been there since 10 s
    assert longest(vehicle("a", T[begins], s[begins], 20.0, 1))["a"] == pytest.approx(10, abs=0.1)
    assert longest(vehicle("a", T, s, 20.0, 1))["a"] == 0  # it leaves at 512 m


def test_rarities_count_from_where_tails_begin():
    rng = np.random.default_rng(0)
    count = 2000
    good = WindowVehicles(rng.uniform(5, 50, count), np.arange(count), rng.exponential(1.0, (count, 2)))
    rarity = VehicleRarity(good)
    other = WindowVehicles(good.density, good.window, rng.exponential(1.0, (count, 2)))
    share = (rarity.by_kind(other) > 2).mean()  # a hundredth, says the rarity
    assert 0.004 < share < 0.02
    odd = WindowVehicles(np.array([20.0, 20.0]), np.array([0, 0, 1]), np.array([[9.0, 0], [9, 9], [0, 0]]))
    by_kind = rarity.by_kind(odd)
    added = sum_beyond_usual(by_kind)
    assert added[1] > 1.8 * added[0] > 0 and added[2] == 0
    assert odd.highest(added).tolist() == [added[1], 0]
    assert added[1] == pytest.approx((by_kind[1] - USUAL).sum())
    with pytest.raises(DataError, match="at least 40"):
        VehicleRarity(WindowVehicles(np.ones(3), np.arange(3), np.ones((3, 2))))


@pytest.fixture(scope="module")
def fitted():
    return TrackSurprise().fit(good_windows(45))


def in_traffic(*vehicles: pd.DataFrame):
    """A window of traffic that nothing was fitted on, lane 1 left to the vehicles."""
    frame = traffic(7)
    return window_of(pd.concat([frame[frame["lane"] != "1"], *vehicles], ignore_index=True))


def test_who_follows_closely_or_crawls_is_named(fitted):
    usual = fitted.scores(good_windows(12, seed=1)).max()
    t, s, speed = drive([10, 36], [27, 27], start=0)
    close = in_traffic(vehicle("ahead", t, s + 12, speed, 1), vehicle("x", t, s, speed, 1))
    t, s, speed = drive([10, 36], [9, 9])
    crawling = in_traffic(vehicle("x", t, s, speed, 1))
    for window, words in ((close, "follows closely"), (crawling, "slow")):
        assert fitted.scores([window])[0] > 2 * usual
        found = fitted.explain(window)
        assert found is not None and found.vehicle == "x" and words in found.words
        assert window.t0 < found.t < window.t1 and window.s0 < found.s < window.s1


def test_an_empty_road_is_usual_and_has_nothing_to_explain(fitted):
    empty = window_of(traffic(0)[:0])
    assert fitted.scores([empty]).tolist() == [0.0] and fitted.explain(empty) is None
    assert fitted.scores([]).shape == (0,)


def test_windows_of_one_time_share_their_tracks_and_keep_their_scores(fitted):
    window = window_of(traffic(4))
    tracks = RoadTracks.of(window)
    at = [Place(10.0, 35.6, 0.0, 512.0, 20.0), Place(10.0, 35.6, 88.0, 600.0, 20.0), Place(12.0, 30.0, 0.0, 512.0, 9.0)]
    vehicles, numbers = tracks.vehicles(fitted.forecaster, at)
    assert vehicles.values.shape == (len(numbers), len(KINDS)) and (np.diff(vehicles.window) >= 0).all()
    for number, place in enumerate(at):
        alone, names = tracks.vehicles(fitted.forecaster, [place])
        here = vehicles.window == number
        assert np.array_equal(vehicles.values[here], alone.values) and np.array_equal(numbers[here], names)
