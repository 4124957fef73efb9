"""Drift: ranks and p-values against plain counting, false reports under exchangeable traffic, what is reported when."""

import json

import numpy as np
import pytest
from scipy.stats import percentileofscore

from d2road.traffic.baselines.usual_values import UsualValues
from d2road.traffic.events import drift_watch
from d2road.traffic.events.drift import LEAST_BLOCKS, DriftReference
from d2road.traffic.events.drift_watch import LIMIT, DriftState, DriftWatch
from d2road.utils.errors import DataError

STRIDE, STEPS = 100.0, 3  # 3 steps make a block of 300 s


def traffic(rng: np.random.Generator, steps: int, density=(10.0, 60.0), shift: float = 0.0) -> np.ndarray:
    """Density, score and speed of windows; the denser, the higher the score and the lower the speed."""
    dense = rng.uniform(*density, steps)
    score = 0.1 * dense + rng.exponential(1.0, steps) + shift
    return np.column_stack([dense, score, 35 - 0.3 * dense + rng.normal(0, 1.0, steps)])


def starts(steps: int) -> list[tuple[str, float]]:
    return [("a", STRIDE * i) for i in range(steps)]


def reference(seed: int = 0, hours: float = 10.0) -> DriftReference:
    steps = round(hours * 3600 / STRIDE)
    found = DriftReference.fit(starts(steps), traffic(np.random.default_rng(seed), steps), STRIDE)
    assert found is not None
    return found


def watch(one: DriftWatch, windows: np.ndarray, first: int = 0) -> list:
    reports = [one.add("b", STRIDE * (first + i), w[0], w[1:]) for i, w in enumerate(windows)]
    return [report for report in reports if report]


def test_ranks_are_percentiles_among_the_nearest_in_density():
    rng = np.random.default_rng(0)
    density, features = rng.uniform(5, 50, 400), rng.integers(0, 6, (400, 2)).astype(float)
    usual = UsualValues(density, features, np.ones(2))
    at, value = np.array([20.0]), np.array([[3.0, 2.0]])
    near = np.argsort(np.abs(np.log(density + 3) - np.log(23.0)))[: usual.neighbours]
    expected = [percentileofscore(features[near, i], value[0, i], "mean") / 100 for i in (0, 1)]
    assert usual.ranks(at, value)[0] == pytest.approx(expected)


def test_a_calibration_ranks_the_blocks_of_each_half_among_the_other_one():
    one = reference()
    assert one.steps == STEPS and one.blocks.shape == (120, 2) and one.windows.shape == (360, 4)
    # Hours take turns, and like traffic has mean rank 0.5 whatever its density.
    assert set(one.windows[:36, 0]) == {0.0} and set(one.windows[36:72, 0]) == {1.0}
    assert np.abs(one.blocks.mean(axis=0) - 0.5).max() < 0.05
    other = one.windows[one.windows[:, 0] == 1]
    usual = UsualValues(other[:, 1], other[:, 2:], np.ones(2))
    mean = usual.ranks(one.windows[:3, 1], one.windows[:3, 2:]).mean(axis=0)
    assert one.blocks[0] == pytest.approx(mean, abs=1e-4)
    again = DriftReference.from_json(json.loads(json.dumps(one.to_json())), "file")
    assert again.digest() == one.digest() != reference(1).digest()
    few = traffic(np.random.default_rng(0), STEPS * (LEAST_BLOCKS - 1))
    assert DriftReference.fit(starts(len(few)), few, STRIDE) is None
    assert DriftReference.fit([], np.zeros((0, 3)), STRIDE) is None


def test_p_values_count_calibration_and_stream():
    one = DriftWatch(reference())
    windows = traffic(np.random.default_rng(5), 4 * STEPS + 1)
    watch(one, windows)
    *before, last = one.state.blocks
    known = np.concatenate([one.reference.blocks, np.array(before)])
    one.state.blocks.pop()
    for side, compare in ((0, np.less_equal), (1, np.greater_equal)):
        expected = (1 + compare(known, last).sum(axis=0)) / (1 + len(known))
        assert one._p_values(last)[side::2] == pytest.approx(expected)


def test_like_traffic_is_rarely_reported():
    """A day of it, 40 times, each with a calibration of its own: at most 5 % by the bound, and the sum grows slowly."""
    reported, evidence = 0, []
    for seed in range(40):
        one = DriftWatch(reference(seed))
        reported += bool(watch(one, traffic(np.random.default_rng(1000 + seed), 288 * STEPS)))
        evidence.append(one.evidence * LIMIT)
    assert reported <= 3
    # The mean over all streams is at most the number of blocks.
    assert np.median(evidence) < 288


@pytest.mark.parametrize(("shift", "name"), [(1.5, "scores are higher"), (-1.5, "scores are lower")])
def test_shifted_scores_are_reported_within_an_hour_and_once_a_day(shift, name):
    one = DriftWatch(reference())
    like, other = (traffic(np.random.default_rng(7), 36 * STEPS, shift=s) for s in (0.0, shift))
    assert not watch(one, like)
    (report,) = watch(one, other, len(like))
    assert name in str(report) and report.t <= STRIDE * (len(like) + 12 * STEPS)
    assert "--calibrate" in str(report) and (report.rank > 0.8) == (shift > 0)


def test_speed_is_watched_too_and_density_alone_is_no_drift():
    one = DriftWatch(reference())
    dense = traffic(np.random.default_rng(3), 60 * STEPS, density=(52.0, 60.0))
    # Scores lie above most of the calibration's, but not above those of the same density.
    assert dense[:, 1].mean() > np.quantile(one.reference.windows[:, 2], 0.8)
    assert not watch(one, dense)
    dense[:, 2] -= 3.0
    (report,) = watch(one, dense, len(dense))
    assert report.quantity == "speed" and not report.higher


def test_an_empty_road_says_nothing():
    one = DriftWatch(reference())
    assert not watch(one, np.zeros((30 * STEPS, 3))) and not one.state.blocks and one.evidence == 0


def test_a_watch_goes_on_from_its_state_as_if_it_had_not_stopped(monkeypatch):
    monkeypatch.setattr(drift_watch, "MOST_BLOCKS", 20)
    windows = traffic(np.random.default_rng(9), 50 * STEPS, shift=1.5)
    whole = DriftWatch(reference())
    reports = watch(whole, windows)
    assert reports and len(whole.state.blocks) == 20 and whole.state.told is not None
    state, got = None, []
    for first in range(0, len(windows), 7):
        part = DriftWatch(reference(), state)
        got += watch(part, windows[first : first + 7], first)
        state = DriftState.from_json(json.loads(json.dumps(vars(part.state))), "state")
    assert got == reports and state == whole.state
    assert DriftWatch(reference(1), state).state.evidence == [0.0] * 4


@pytest.mark.parametrize(
    ("name", "value", "text"),
    [
        ("version", 2, "of version 2"),
        ("quantities", ["score"], "calibrate anew"),
        ("blocks", [[0.5, 0.5]], "holds 1 blocks, expected 40"),
        ("windows", [[0, 1, 2]], "row 1 of 'windows' has 3 values, expected 4"),
        ("steps", 0, "'steps' is 0"),
    ],
)
def test_what_is_no_reference_is_refused(name, value, text):
    with pytest.raises(DataError, match=text):
        DriftReference.from_json({**reference().to_json(), name: value}, "file")


def test_what_is_no_state_is_refused():
    with pytest.raises(DataError, match="'evidence' or 'sums' has another number of values"):
        DriftState.from_json({**vars(DriftState()), "evidence": [1.0]}, "state")
