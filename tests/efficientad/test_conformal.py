"""Conformal thresholds: by counting every order of exchangeable images, by exact distributions, by other programs."""

import itertools
import json
import re
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from d2road.utils.errors import CheckpointError, ConfigError, DataError
from efficientad.conformal import (
    Guarantee,
    achievable_rate,
    conformal_p_values,
    guarantee_from_json,
    images_needed,
    jackknife_plus_guarantee,
    jackknife_plus_p_values,
    leave_one_out_threshold,
    realised_rate_interval,
    split_threshold,
)
from tests.factories.peers import run_peer

RATES = [0.01, 0.05, 0.1, 0.25, 1 / 3, 0.5, 0.9]
CREPES = """
import json, sys
import numpy as np
from crepes import ConformalRegressor
from crepes.base import p_values_batch

found = []
for case in json.loads(sys.argv[1]):
    scores, tested = np.array(case["scores"]), np.array(case["tested"])
    model = ConformalRegressor().fit(scores)
    high = [float(model.predict_int(np.zeros(1), confidence=1 - rate)[0, 1]) for rate in case["rates"]]
    found.append({"thresholds": high, "p": p_values_batch(scores, tested, smoothing=False).tolist()})
print(json.dumps(found))
"""
MAPIE = """
import json, sys
import numpy as np
from mapie.regression import CrossConformalRegressor
from sklearn.dummy import DummyRegressor
from sklearn.model_selection import LeaveOneOut

values, rates = (np.array(part) for part in json.loads(sys.argv[1]))
places = np.arange(len(values), dtype=float)[:, None]
model = CrossConformalRegressor(DummyRegressor(), confidence_level=list(1 - rates), method="plus", cv=LeaveOneOut())
_, intervals = model.fit_conformalize(places, values).predict_interval(places[:1])
print(json.dumps(intervals[0, 1].tolist()))
"""


def shares_above(values: list[float], rate: float) -> Fraction:
    """Of exchangeable images with these scores, how probably the next exceeds the threshold of the others."""
    others = [values[:i] + values[i + 1 :] for i in range(len(values))]
    above = sum(value > split_threshold(rest, rate, True).value for value, rest in zip(values, others))
    return Fraction(above, len(values))


@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize("n", [1, 2, 3, 8, 9, 10, 18, 19, 20, 99, 100])
def test_the_promise_is_what_comes_out_over_all_orders(n, rate):
    """Every one of n + 1 images is the next one equally often: no simulation, and no rank can be off by one."""
    promised = split_threshold(range(n), rate, True).guarantee.guaranteed_rate
    assert shares_above([float(i) for i in range(n + 1)], rate) == Fraction(promised).limit_denominator(1000)
    wanted = Fraction(rate).limit_denominator(1000)
    assert promised == achievable_rate(n, rate) >= 1 / (n + 1)
    if n >= images_needed(rate):  # the largest multiple of 1 / (n + 1) that is not more than asked for
        assert Fraction(promised).limit_denominator(1000) == (wanted * (n + 1)).__floor__() * Fraction(1, n + 1)
    else:
        assert promised == 1 / (n + 1) > rate


@settings(max_examples=200, deadline=None)
@given(st.lists(st.integers(0, 4).map(float), min_size=2, max_size=25), st.sampled_from(RATES))
def test_equal_scores_only_lower_the_rate(values, rate):
    assert shares_above(values, rate) <= Fraction(achievable_rate(len(values) - 1, rate)).limit_denominator(1000)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.integers(0, 9).map(float), min_size=1, max_size=30), st.sampled_from(RATES))
def test_p_values_say_what_the_threshold_says(calibration, rate):
    tested = np.arange(-0.5, 10.5, 0.5)
    decided = tested > split_threshold(calibration, rate, True).value
    p = conformal_p_values(tested, calibration)
    if len(calibration) >= images_needed(rate):
        assert np.array_equal(p <= rate + 1e-12, decided)
    else:
        assert not (p <= rate).any() and np.array_equal(p == 1 / (len(calibration) + 1), decided)


@pytest.mark.parametrize(("n", "rate"), [(19, 0.05), (99, 0.01), (120, 0.1), (30, 0.01)])
def test_the_realised_rate_has_the_distribution_that_is_stated(n, rate):
    """Uniform scores: the rate of a threshold is what is left above it."""
    rng = np.random.default_rng(n)
    realised = np.array([1 - split_threshold(rng.random(n), rate, True).value for _ in range(4000)])
    rank = round((1 - achievable_rate(n, rate)) * (n + 1))
    assert stats.kstest(realised, stats.beta(n + 1 - rank, rank).cdf).pvalue > 0.01
    for wrong in {max(rank - 1, 1), min(rank + 1, n)} - {rank}:  # the test would see a rank that is off by one
        assert stats.kstest(realised, stats.beta(n + 1 - wrong, wrong).cdf).pvalue < 1e-6
    low, high = realised_rate_interval(n, rate)
    assert np.mean(realised < low) == pytest.approx(0.025, abs=0.01)
    assert np.mean(realised > high) == pytest.approx(0.025, abs=0.01)


def test_the_interval_is_that_of_the_binomial_distribution():
    """k or more of n uniform scores lie below the threshold's place: Beta's tail is a sum of binomial ones."""
    n, rate = 59, 0.05
    rank = 57
    for bound, tail in zip(realised_rate_interval(n, rate), (0.025, 0.975)):
        assert stats.binom.cdf(n - rank, n, bound) == pytest.approx(1 - tail, abs=1e-9)


def nearest(image: np.ndarray, others: list[np.ndarray]) -> float:
    """Largest distance of an image's features (N, C) to their nearest neighbours."""
    bank = np.concatenate(others)
    return float(np.linalg.norm(image[:, None] - bank, axis=2).min(1).max())


def draw_images(rng: np.random.Generator, count: int) -> list[np.ndarray]:
    """A few features an image, some images stranger than others."""
    return [rng.normal(size=(3, 2)) * rng.choice([0.5, 1, 4]) for _ in range(count)]


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**20), st.integers(3, 12), st.sampled_from([0.1, 0.2, 0.34, 0.5]))
def test_leave_one_out_scores_of_nearest_neighbours_keep_the_whole_promise(seed, n, rate):
    """Each of n + 1 images as the next one, the others as the bank: never more often than the rate."""
    images = draw_images(np.random.default_rng(seed), n + 1)
    above = 0
    for i in range(n + 1):
        bank = images[:i] + images[i + 1 :]
        own = [nearest(image, bank[:j] + bank[j + 1 :]) for j, image in enumerate(bank)]
        found = leave_one_out_threshold(own, rate, True, monotone=True)
        above += nearest(images[i], bank) > found.value
    assert found.guarantee.guaranteed_rate == achievable_rate(n, rate)
    assert above <= round(achievable_rate(n, rate) * (n + 1))


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**20), st.integers(3, 12), st.sampled_from([0.1, 0.2, 0.34, 0.5]))
def test_a_bank_of_some_features_keeps_it_with_its_covering_radius(seed, n, rate):
    """Any choice among all features, here one that depends on all images at once: greedy farthest points."""
    images = draw_images(np.random.default_rng(seed), n + 1)
    above = 0
    for i in range(n + 1):
        rest = images[:i] + images[i + 1 :]
        features, owners = np.concatenate(rest), np.repeat(np.arange(n), 3)
        kept, distances = [0], np.linalg.norm(features - features[0], axis=1)
        while len(kept) < max(4, n):
            kept.append(int(distances.argmax()))
            distances = np.minimum(distances, np.linalg.norm(features - features[kept[-1]], axis=1))
        chosen, whose = features[kept], owners[kept]
        if any((whose != j).sum() == 0 for j in range(n)):
            return
        own = [nearest(image, [chosen[whose != j]]) for j, image in enumerate(rest)]
        found = leave_one_out_threshold(own, rate, True, monotone=True, covering_radius=float(distances.max()))
        above += nearest(images[i], [chosen]) > found.value
    assert above <= round(achievable_rate(n, rate) * (n + 1))


def test_leave_one_out_scores_promise_nothing_where_learning_is_unstable():
    """A score that depends on whether the number of images is even: every good image is called anomalous."""
    rng = np.random.default_rng(0)

    def score(image: float, others: int) -> float:
        return image + 10 * (others % 2 == 0)

    own = [score(value, 9) for value in rng.random(10)]
    found = leave_one_out_threshold(own, 0.2, True, monotone=False)
    assert all(score(value, 10) > found.value for value in rng.random(100))
    assert found.guarantee.guaranteed_rate is None and "without guarantee" in found.guarantee.text
    # The same by what was learned without each image: twice the rate holds.
    tested = np.array([[score(value, 9)] * 10 for value in rng.random(1000)])
    assert (jackknife_plus_p_values(tested, own) <= 0.2).mean() <= 0.4
    assert jackknife_plus_guarantee(10, 0.2, True).guaranteed_rate == pytest.approx(2 * 2 / 11)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**20), st.integers(3, 11), st.sampled_from([0.1, 0.2, 0.34, 0.5]))
def test_jackknife_plus_keeps_twice_the_rate(seed, n, rate):
    """Over all n + 1 images as the next one, with a score that further images may raise: distance to the mean."""
    values = np.random.default_rng(seed).standard_t(1.5, size=n + 1)

    def score(i: int, without: set[int]) -> float:
        return abs(values[i] - values[[j for j in range(n + 1) if j not in without | {i}]].mean())

    flagged = 0
    for i in range(n + 1):
        rest = [j for j in range(n + 1) if j != i]
        p = jackknife_plus_p_values(np.array([[score(i, {j}) for j in rest]]), [score(j, {i}) for j in rest])
        flagged += bool(p[0] <= rate)
    promised = jackknife_plus_guarantee(n, rate, True).guaranteed_rate
    assert promised is not None and flagged <= round(promised * (n + 1), 6)


def test_images_that_were_not_drawn_at_random_promise_nothing():
    drawn, chosen = (split_threshold([1.0, 2.0, 3.0], 0.25, randomly_drawn=flag) for flag in (True, False))
    assert drawn.value == chosen.value == 3.0
    assert drawn.guarantee.holds and not chosen.guarantee.holds
    assert "drawn at random" in chosen.guarantee.text and "0.25" in drawn.guarantee.text
    assert not leave_one_out_threshold([1.0, 2.0], 0.5, False, monotone=True).guarantee.holds
    assert not jackknife_plus_guarantee(9, 0.1, False).holds


def test_too_few_images_say_what_they_promise_and_what_it_takes():
    guarantee = split_threshold(range(24), 0.01, True).guarantee
    assert guarantee.guaranteed_rate == 1 / 25
    assert guarantee.text == (
        "a good image exceeds it with a probability of at most 0.04 (split, 24 good images drawn at random); "
        "0.01 takes 99"
    )


def test_the_table_of_the_docs_is_what_comes_out(repo_dir):
    rows = re.findall(r"^\| (\d+) \| ([\d.]+) % \|(.*)\|$", (repo_dir / "docs/anomaly_thresholds.md").read_text(), re.M)
    assert len(rows) >= 5
    for count, least, cells in rows:
        n = int(count)
        assert float(least) == pytest.approx(100 / (n + 1), abs=0.005)
        for rate, cell in zip((0.01, 0.05, 0.1), cells.split("|")):
            promised, low, high = map(float, re.findall(r"[\d.]+", cell))
            assert promised == pytest.approx(100 * achievable_rate(n, rate), abs=0.005)
            bounds = realised_rate_interval(n, rate)
            assert low == pytest.approx(100 * bounds[0], abs=0.005) and high == pytest.approx(100 * bounds[1], abs=0.05)


def test_a_guarantee_survives_being_stored():
    for guarantee in (
        split_threshold(range(24), 0.01, True).guarantee,
        split_threshold(range(24), 0.01, True).guarantee.void("2 images were accepted since"),
    ):
        assert guarantee_from_json(guarantee.to_json(), "a checkpoint") == guarantee
    record = json.loads(Guarantee("split", 3, 0.25, 0.25, True).to_json())
    for damage in ({"n": 0}, {"guaranteed_rate": 2}, {"method": None}, {"randomly_drawn": "yes"}):
        with pytest.raises(CheckpointError, match=r"a checkpoint .*calibrate the model anew"):
            guarantee_from_json(json.dumps(record | damage), "a checkpoint")
    with pytest.raises(CheckpointError, match="no guarantee"):
        guarantee_from_json("{", "a checkpoint")


def test_what_cannot_be_is_refused():
    with pytest.raises(DataError, match="no score"):
        split_threshold([], 0.1, True)
    with pytest.raises(DataError, match="NaN or infinite"):
        split_threshold([1.0, float("nan")], 0.1, True)
    with pytest.raises(ConfigError, match="between 0 and 1"):
        split_threshold([1.0], 1.0, True)
    with pytest.raises(DataError, match="covering radius"):
        leave_one_out_threshold([1.0], 0.1, True, monotone=True, covering_radius=-1)
    with pytest.raises(DataError, match=r"expected \(T, 2\)"):
        jackknife_plus_p_values(np.zeros((4, 3)), [1.0, 2.0])
    with pytest.raises(ConfigError, match="confidence"):
        realised_rate_interval(10, 0.1, 1.0)


def test_thresholds_and_p_values_are_those_of_crepes():
    rng = np.random.default_rng(5)
    cases = []
    # Where (n + 1) rate is whole, crepes takes 0.9999... of its rounding down; the test of all orders covers those.
    for n, ties in itertools.product((12, 25, 120, 157), (False, True)):
        scores, tested = rng.gamma(2, size=n), rng.gamma(2, size=40)
        if ties:
            scores, tested = scores.round(1), tested.round(1)
        rates = [rate for rate in (0.01, 0.05, 0.1, 0.3) if n >= images_needed(rate)]
        cases.append({"scores": scores.tolist(), "tested": tested.tolist(), "rates": rates})
    for case, found in zip(cases, json.loads(run_peer("conformal", CREPES, json.dumps(cases)))):
        own = [split_threshold(case["scores"], rate, True).value for rate in case["rates"]]
        assert own == pytest.approx(found["thresholds"], abs=1e-12)
        assert conformal_p_values(case["tested"], case["scores"]) == pytest.approx(found["p"], abs=1e-12)


def test_jackknife_plus_is_that_of_mapie():
    """Scores are distances to the mean of the others; above all means, the interval ends where p passes the rate."""
    values = np.random.default_rng(6).exponential(size=30)
    rates = [0.05, 0.1, 0.2, 0.3]
    ends = json.loads(run_peer("conformal", MAPIE, json.dumps([values.tolist(), rates])))
    means = np.array([np.delete(values, i).mean() for i in range(30)])
    for rate, end in zip(rates, ends):
        assert end > means.max()
        tested = np.array([end - 1e-9, end + 1e-9])
        p = jackknife_plus_p_values(abs(tested[:, None] - means), abs(values - means))
        assert p[0] > rate >= p[1] - 1e-12
