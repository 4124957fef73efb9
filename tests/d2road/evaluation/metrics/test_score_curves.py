"""Curves of scores against scikit-learn's."""

import numpy as np
import pytest

from d2road.evaluation.metrics.score_curves import (
    bin_edges,
    interpolated_precision,
    reliability_bins,
    roc_points,
    thinned,
    threshold_counts,
)

sklearn_metrics = pytest.importorskip("sklearn.metrics")
calibration = pytest.importorskip("sklearn.calibration")


@pytest.fixture(params=[(3, 8), (400, 1), (400, 9)], ids=["few", "continuous", "ties"])
def scored(request):
    """Scores and labels; with few levels many scores are equal."""
    count, levels = request.param
    rng = np.random.default_rng(count + levels)
    right = np.r_[True, False, rng.random(count) < 0.4]
    scores = np.clip(rng.normal(0.4 + 0.2 * right, 0.2), 0, 1)
    return (np.round(scores * levels) / levels if levels > 1 else scores), right


def test_precision_and_recall_are_those_of_sklearn(scored):
    scores, right = scored
    counts = threshold_counts(scores, right)
    precision, recall, thresholds = sklearn_metrics.precision_recall_curve(right, scores, drop_intermediate=False)
    np.testing.assert_allclose(counts.thresholds, thresholds[::-1])
    np.testing.assert_allclose(counts.precision(), precision[:-1][::-1])
    np.testing.assert_allclose(counts.recall(right.sum()), recall[:-1][::-1])
    best = max(sklearn_metrics.f1_score(right, scores >= t) for t in thresholds)
    assert counts.f1(right.sum()).max() == pytest.approx(best)


def test_weights_count_as_sklearn_counts_them(scored):
    scores, right = scored
    weights = np.random.default_rng(0).random(len(scores)) + 0.1
    counts = threshold_counts(scores, right, weights)
    given = {"sample_weight": weights, "drop_intermediate": False}
    precision, recall, _ = sklearn_metrics.precision_recall_curve(right, scores, **given)
    np.testing.assert_allclose(counts.precision(), precision[:-1][::-1])
    np.testing.assert_allclose(counts.recall(weights[right].sum()), recall[:-1][::-1])


def test_the_roc_curve_is_that_of_sklearn(scored):
    scores, right = scored
    x, y = roc_points(scores[~right], scores[right])
    false, true, _ = sklearn_metrics.roc_curve(right, scores, drop_intermediate=False)
    np.testing.assert_allclose(x, false)
    np.testing.assert_allclose(y, true)
    weights = np.random.default_rng(1).random(len(scores)) + 0.1
    x, y = roc_points(scores[~right], scores[right], weights[~right], weights[right])
    false, true, _ = sklearn_metrics.roc_curve(right, scores, sample_weight=weights, drop_intermediate=False)
    np.testing.assert_allclose(x, false, atol=1e-12)
    np.testing.assert_allclose(y, true, atol=1e-12)


def test_one_side_alone_has_no_curve():
    assert [len(column) for column in roc_points(np.zeros(0), np.ones(3))] == [0, 0]
    assert len(threshold_counts(np.zeros(0), np.zeros(0)).thresholds) == 0


def test_a_thinned_curve_has_the_area_of_the_whole():
    rng = np.random.default_rng(3)
    x, y = roc_points(rng.normal(0, 1, 20000), rng.normal(2, 1, 5000))
    few = thinned(x, y)
    assert len(few[0]) <= 201 and (few[0][0], few[1][0], few[0][-1], few[1][-1]) == (0, 0, 1, 1)
    assert np.trapezoid(few[1], few[0]) == pytest.approx(sklearn_metrics.auc(x, y), abs=1e-4)
    assert thinned(np.arange(5), np.arange(5))[0].tolist() == [0, 1, 2, 3, 4]


def test_interpolated_precision_is_the_highest_at_this_recall_or_beyond():
    precision, recall = np.array([1.0, 0.5, 2 / 3, 0.5]), np.array([0.25, 0.25, 0.5, 0.5])
    found = interpolated_precision(precision, recall, np.array([0.0, 0.25, 0.3, 0.5, 0.51]))
    np.testing.assert_allclose(found, [1.0, 1.0, 2 / 3, 2 / 3, 0.0])


def test_reliability_is_the_calibration_curve_of_sklearn(scored):
    scores, right = scored
    bins = reliability_bins(scores, right)
    shares, means = calibration.calibration_curve(right, scores, n_bins=10)
    known = bins.counts > 0
    # sklearn gives the edges to the bins below them: compared where no score lies on one.
    if not np.isclose(scores[:, None], bins.edges[1:-1]).any():
        np.testing.assert_allclose(bins.shares[known], shares)
        np.testing.assert_allclose(bins.scores[known], means)
    assert bins.counts.sum() == len(scores) and np.isnan(bins.shares[~known]).all()


def test_the_expected_calibration_error_is_worked_off_by_hand():
    # Three scores of 0.9, two right: off by 0.9 - 2/3. One of 0.1, wrong: off by 0.1.
    bins = reliability_bins(np.array([0.9, 0.9, 0.9, 0.1]), np.array([True, True, False, False]))
    assert bins.expected_error() == pytest.approx((3 * (0.9 - 2 / 3) + 0.1) / 4)
    assert bins.counts.tolist() == [0, 1, 0, 0, 0, 0, 0, 0, 0, 3]
    assert np.isnan(reliability_bins(np.zeros(0), np.zeros(0)).expected_error())
    with pytest.raises(ValueError, match="between 0 and 1"):
        reliability_bins(np.array([1.5]), np.array([True]))


@pytest.mark.parametrize("at", [None, 0.3, -2.0, 9.0, 0.1 + 0.2])
@pytest.mark.parametrize("values", [[0.1, 0.9, 0.3], [0.5, 0.5], [], [-3.0, 4.0]])
def test_bins_hold_all_values_and_meet_the_threshold(values, at):
    edges = bin_edges(np.array(values), 10, at)
    assert (np.diff(edges) > 0).all() and 1 <= len(edges) - 1 <= 11
    assert np.histogram(values, edges)[0].sum() == len(values)
    assert at is None or at in edges
