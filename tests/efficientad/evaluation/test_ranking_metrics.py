"""Areas and F1 against scikit-learn, brute force over thresholds, and the same metrics from summarized scores."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage
from sklearn.metrics import f1_score, precision_recall_curve, roc_auc_score, roc_curve

from d2road.utils.bootstrap import draw_weights
from efficientad.evaluation.anomaly_protocol import evaluate
from efficientad.evaluation.bootstrap_intervals import bootstrap, histogram, paired_bootstrap, thresholds
from efficientad.evaluation.image_scores import check_map, region_scores, score_image
from efficientad.evaluation.ranking_metrics import (
    Ranking,
    curve_area,
    f1_above,
    f1_max,
    histogram_areas,
    histogram_f1_max,
)
from efficientad.evaluation.weighted_scores import WeightedScores, pool, rank_edges, summarize
from tests.oracles.aupro import threshold_by_threshold_aupro

FEW_VALUES = st.lists(st.integers(0, 6), min_size=1, max_size=30)


def _test_set(seed: int, size: int = 48, images: int = 12, scale: float = 1.0, offset: float = 0.0) -> list[tuple]:
    """(name, kind, map, mask) with correlated noise and blobs that are found more or less."""
    rng, made = np.random.default_rng(seed), []
    for i in range(images):
        anomaly_map = ndimage.gaussian_filter(rng.normal(size=(size, size)), 1.5) * 3
        mask = None
        if i % 3:
            mask = ndimage.gaussian_filter(rng.normal(size=(size, size)), 2.5) > 0.22
            mask[:2, :2] = True
            anomaly_map = anomaly_map + rng.uniform(0, 1.5) * mask
        kind = ("good", "scratch", "dent")[i % 3]
        made.append((f"{kind}/{i:03d}", kind, (anomaly_map * scale + offset).astype(np.float32), mask))
    return made


def _score(test_set: list[tuple], exact: bool) -> list:
    return [score_image(name, kind, m, mask, exact=exact) for name, kind, m, mask in test_set]


@given(FEW_VALUES, FEW_VALUES, st.sampled_from([0.01, 0.1, 0.3, 0.77, 1.0]))
@settings(max_examples=60, deadline=None)
def test_area_up_to_a_limit_interpolates_the_curve_of_sklearn(negatives, positives, limit):
    labels = np.repeat([0, 1], [len(negatives), len(positives)])
    x, y, _ = roc_curve(labels, negatives + positives, drop_intermediate=False)
    inside = x <= limit
    end = np.interp(limit, x, y) if not (x == limit).any() else y[inside][-1]
    expected = np.trapezoid(np.append(y[inside], end), np.append(x[inside], limit)) / limit
    area = curve_area(Ranking(WeightedScores(np.array(negatives))), WeightedScores(np.array(positives)), limit)
    assert area == pytest.approx(expected, abs=1e-12)


@given(FEW_VALUES, FEW_VALUES)
@settings(max_examples=60, deadline=None)
def test_f1_is_that_of_sklearn(negatives, positives):
    scores, labels = np.array(negatives + positives), np.repeat([0, 1], [len(negatives), len(positives)])
    precision, recall, _ = precision_recall_curve(labels, scores)
    expected = (2 * precision * recall / np.maximum(precision + recall, 1e-12)).max()
    sides = Ranking(WeightedScores(np.array(negatives))), Ranking(WeightedScores(np.array(positives)))
    best, threshold = f1_max(*sides)
    assert best == pytest.approx(expected, abs=1e-9)
    assert f1_score(labels, scores >= threshold) == pytest.approx(best, abs=1e-12)
    assert f1_above(*sides, 3) == pytest.approx(f1_score(labels, scores > 3, zero_division=0), abs=1e-12)


def test_weights_count_like_repeated_points():
    rng = np.random.default_rng(0)
    negatives, positives = rng.integers(0, 9, 40).astype(float), rng.integers(3, 12, 30).astype(float)
    repeat_n, repeat_p = rng.integers(1, 5, 40), rng.integers(1, 5, 30)
    weighted = curve_area(
        Ranking(WeightedScores(negatives, repeat_n.astype(float))),
        WeightedScores(positives, repeat_p.astype(float)),
        0.4,
    )
    plain = curve_area(
        Ranking(WeightedScores(np.repeat(negatives, repeat_n))), WeightedScores(np.repeat(positives, repeat_p)), 0.4
    )
    assert weighted == pytest.approx(plain, abs=1e-12)


def test_nothing_to_measure_is_nan_and_a_wrong_limit_an_error():
    some, none = np.ones(3), np.zeros(0)
    sides = Ranking(WeightedScores(some)), WeightedScores(none)
    assert np.isnan(curve_area(*sides)) and np.isnan(curve_area(Ranking(sides[1]), WeightedScores(some)))
    assert np.isnan(f1_max(Ranking(WeightedScores(some)), Ranking(WeightedScores(none)))[0])
    with pytest.raises(ValueError, match="limit of the false-positive rate is 0"):
        curve_area(Ranking(WeightedScores(some)), WeightedScores(some), 0)


def test_exact_metrics_equal_sklearn_and_brute_force():
    test_set = [(name, kind, m.round(2), mask) for name, kind, m, mask in _test_set(0)]  # with ties
    results = evaluate(_score(test_set, exact=True))
    pixels = np.concatenate([m.ravel() for _, _, m, _ in test_set])
    labels = np.concatenate([np.zeros(m.size) if k is None else k.ravel() for _, _, m, k in test_set]).astype(int)
    assert results["pixel_auroc"] == pytest.approx(roc_auc_score(labels, pixels), abs=1e-9)
    precision, recall, _ = precision_recall_curve(labels, pixels)
    assert results["pixel_f1_max"] == pytest.approx((2 * precision * recall / (precision + recall)).max(), abs=1e-9)
    image_labels, image_scores = [k is not None for *_, k in test_set], [m.max() for _, _, m, _ in test_set]
    assert results["image_auroc"] == pytest.approx(roc_auc_score(image_labels, image_scores), abs=1e-9)
    for kind in ("scratch", "dent"):
        chosen = [i for i, (_, k, _, _) in enumerate(test_set) if k in ("good", kind)]
        expected = roc_auc_score(np.array(image_labels)[chosen], np.array(image_scores)[chosen])
        assert results["image_auroc_by_type"][kind] == pytest.approx(expected, abs=1e-9)
    for name, limit in (("aupro", 0.3), ("aupro@0.05", 0.05)):
        assert results[name] == pytest.approx(threshold_by_threshold_aupro(test_set, limit), abs=1e-9)
    assert results["auspro"] is None and "good_threshold" not in results


@pytest.mark.parametrize(("scale", "offset"), [(1, 0), (1e-6, 0), (1e-3, 100), (1e6, -1e7)])
def test_streaming_holds_its_precision_at_any_range_of_scores(scale, offset):
    test_set = _test_set(1, size=256, images=6, scale=scale, offset=offset)
    test_set[0][2][0, 0] = 1e12  # an outlier costs no resolution
    exact, streaming = (evaluate(_score(test_set, exact=exact), threshold=offset + scale) for exact in (True, False))
    for key, value in exact.items():
        if isinstance(value, float):
            slack = 1e-3 if "f1" in key else 5e-5 if "0.05" in key else 2e-5
            assert streaming[key] == pytest.approx(value, abs=slack), key
    assert streaming["image_auroc"] == exact["image_auroc"]


def test_summarized_scores_keep_the_count_above_any_threshold():
    rng = np.random.default_rng(2)
    for scores in (rng.exponential(size=200_000), rng.integers(0, 50, 200_000).astype(float)):
        weighted = summarize(scores, bins=4096)
        assert len(weighted) < 12_000 and weighted.total == len(scores)
        for threshold in np.quantile(scores, [0.01, 0.5, 0.9, 0.99, 0.999, 0.9999]):
            above = (scores > threshold).sum()
            error = abs(weighted.weights[weighted.scores > threshold].sum() - above)
            assert error <= min(len(scores) / 4096, above / 400 + 1)


@pytest.mark.parametrize("count", [0, 1, 511, 512, 513, 8192, 8193, 100_000, 1_048_576])
def test_rank_edges_cover_all_ranks(count):
    edges = rank_edges(count, 8192)
    assert edges[0] == 0 and edges[-1] == count and (np.diff(edges) > 0).all()
    assert len(edges) < 12_000 and (count == 0 or np.diff(edges).max() <= max(1, count / 8192 + 1))
    if count <= 8192:
        assert len(edges) == count + 1


def test_pool_mixes_weighted_and_plain_points():
    weighted = pool(
        [
            WeightedScores(np.array([1.0, 2.0])),
            WeightedScores(np.array([3.0]), np.array([0.5])),
            WeightedScores(np.zeros(0)),
        ]
    )
    assert weighted.total == 2.5 and len(pool([])) == 0


def test_regions_are_8_connected_and_weigh_one_each():
    mask = np.zeros((9, 300), dtype=bool)
    mask[[0, 1, 2], [0, 1, 2]] = True  # touches at corners: one region
    mask[5, :] = True  # long and thin
    mask[8, 4] = True
    scores = np.random.default_rng(3).normal(size=mask.shape)
    for bins in (None, 100):
        weighted, count = region_scores(scores, mask, bins)
        assert count == 3 == ndimage.label(mask, np.ones((3, 3)))[1]
        assert weighted.total == pytest.approx(3)


def test_bootstrap_centres_on_the_metrics_and_covers_repeated_test_sets():
    images = _score(_test_set(4, images=30), exact=False)
    results, intervals = evaluate(images), bootstrap(images, draws=200)
    assert intervals.keys() == results.keys()
    for key in ("image_auroc", "pixel_auroc", "aupro", "aupro@0.05", "pixel_f1_max"):
        low, high = intervals[key]
        assert low < results[key] < high
    assert set(intervals["image_auroc_by_type"]) == {"scratch", "dent"} and intervals["auspro"] is None
    assert bootstrap(images, draws=50, seed=3) == bootstrap(images[::-1], draws=50, seed=3)
    with pytest.raises(ValueError, match="interval from 1 draws"):
        bootstrap(images, draws=1)


def test_histograms_of_the_bootstrap_agree_with_the_metrics():
    images = _score(_test_set(5), exact=True)
    results = evaluate(images)
    edges = thresholds([image.negatives for image in images])
    names = ("negatives", "positives", "regions")
    parts = {name: sum(histogram(getattr(i, name), edges) for i in images)[None] for name in names}
    assert histogram_areas(parts["negatives"], parts["positives"])[0] == pytest.approx(results["pixel_auroc"], abs=1e-4)
    for name, limit in (("aupro", 0.3), ("aupro@0.05", 0.05)):
        area = histogram_areas(parts["negatives"], parts["regions"], limit)[0]
        assert area == pytest.approx(results[name], abs=1e-3)
    assert histogram_f1_max(parts["negatives"], parts["positives"])[0] == pytest.approx(
        results["pixel_f1_max"], abs=2e-3
    )


def test_draws_keep_the_number_of_images_of_each_kind():
    kinds = ["good"] * 5 + ["a"] * 3 + ["b"]
    weights = draw_weights(kinds, 40, seed=0)
    assert (weights[:, :5].sum(axis=1) == 5).all() and (weights[:, 5:8].sum(axis=1) == 3).all()
    assert (weights[:, 8] == 1).all() and len(np.unique(weights, axis=0)) > 30


def test_paired_differences():
    worse, better = _test_set(6, images=24), _test_set(6, images=24)
    better = [(n, k, m + (0 if mask is None else 2.0 * mask), mask) for n, k, m, mask in better]
    a, b = _score(worse, exact=False), _score(better, exact=False)
    assert paired_bootstrap(a, a, draws=50)["image_auroc"] == [0, 0]
    low, high = paired_bootstrap(a, b, draws=100)["pixel_auroc"]
    assert 0 < low < high
    with pytest.raises(ValueError, match="the same images"):
        paired_bootstrap(a, b[1:])


@pytest.mark.parametrize(
    ("anomaly_map", "message"),
    [
        (np.zeros((2, 3, 4)), r"float64 \(2, 3, 4\), expected numbers of shape"),
        (np.array([["a"]]), "expected numbers"),
        (np.zeros((0, 4)), "expected numbers"),
        (np.array([[1.0, np.nan], [np.inf, 0]]), r"2 value\(s\) that are not finite, the first at x 1, y 0: nan"),
    ],
)
def test_what_is_no_map_is_refused(anomaly_map, message):
    with pytest.raises(ValueError, match=message):
        check_map(anomaly_map, "a.npy")


def test_maps_of_all_types_of_numbers():
    for dtype, expected in (("f2", "f4"), ("f4", "f4"), ("f8", "f8"), ("u2", "f4"), ("i4", "f8"), ("?", "f4")):
        assert check_map(np.ones((1, 2, 3), dtype), "a").dtype == expected
    assert check_map(np.ones((2, 3, 1)), "a").shape == (2, 3)


def test_sets_that_cannot_be_evaluated():
    with pytest.raises(ValueError, match="no image"):
        evaluate([])
    images = _score(_test_set(7), exact=True)
    with pytest.raises(ValueError, match="good/000 was evaluated twice"):
        evaluate([*images, images[0]])
    blank = np.zeros((4, 4))
    with pytest.raises(ValueError, match=r"1 of 9 anomalous images have no mask, dent/x first"):
        evaluate([*images, score_image("dent/x", "dent", blank)])
    with pytest.raises(ValueError, match=r"map is 4x4, its mask 5x4"):
        score_image("dent/x", "dent", blank, np.ones((4, 5)))
    with pytest.raises(ValueError, match="anomaly score is nan"):
        score_image("dent/x", "dent", blank, score=float("nan"))


def test_without_masks_images_are_judged_alone():
    images = [score_image(f"{k}/{i}", k, np.full((4, 4), i % 5)) for i, k in enumerate(["good", "bad"] * 6)]
    results = evaluate(images, threshold=2.0)
    assert np.isfinite([results[k] for k in ("image_auroc", "f1_max", "f1_at_good_threshold")]).all()
    assert np.isnan([results[k] for k in ("pixel_auroc", "aupro", "pixel_f1_max", "pixel_f1_at_good_threshold")]).all()
    assert np.isnan(bootstrap(images, draws=20)["aupro"]).all()
    only_good = evaluate([i for i in images if i.kind == "good"])
    assert np.isnan(only_good["image_auroc"]) and only_good["image_auroc_by_type"] == {}
