"""The decision threshold: above the scores of good images by its formula, as the evaluation compares, never silently
worthless."""

import numpy as np
import pytest
import torch

from efficientad.calibration import measure_maps, measure_teacher
from efficientad.conformal import decision_threshold, images_needed
from efficientad.evaluation.ranking_metrics import Ranking, f1_above
from efficientad.evaluation.weighted_scores import WeightedScores
from efficientad.inference.raw_maps import RawMaps
from tests.factories.anomaly_models import SIDE, build, calibrated, entries, narrow_networks


@pytest.fixture(scope="module", autouse=True)
def narrow():
    with narrow_networks():
        yield


def test_threshold_keeps_its_promise():
    rng = np.random.default_rng(0)
    rates = []
    for _ in range(400):
        scores = rng.normal(size=60)
        rates.append((rng.normal(size=100) > decision_threshold(scores[:59], 0.1)).mean())
    assert np.mean(rates) == pytest.approx(0.1, abs=0.01)
    assert decision_threshold([3.0, 1.0, 2.0], 0.01) == 3.0  # too few to promise 1 %
    assert decision_threshold(list(range(19)), 0.05) == 18
    with pytest.raises(ValueError, match="no score"):
        decision_threshold([], 0.1)
    with pytest.raises(ValueError, match="between 0 and 1"):
        decision_threshold([1.0], 0)


@pytest.mark.parametrize(("rate", "needed"), [(0.01, 99), (0.03, 33), (0.05, 19), (0.1, 9), (0.5, 1), (0.9, 1)])
def test_images_that_a_rate_needs(rate, needed):
    assert images_needed(rate) == needed
    scores = list(range(needed + 1))
    assert decision_threshold(scores[:needed], rate) == needed - 1
    if needed > 1:  # one less, and the rule asks for a score beyond the largest
        assert (1 - rate) * needed > needed - 1


@pytest.mark.parametrize("rate", [0.01, 0.1, 0.3])
@pytest.mark.parametrize("count", [1, 2, 9, 10, 33, 99, 200])
def test_scores_above_it_are_as_rare_as_asked_for(count, rate):
    """What the evaluation counts as a false alarm among the good images themselves; equal scores count neither."""
    scores = np.random.default_rng(count).permutation(np.repeat(np.arange(count), 2)[:count]).astype(float)
    threshold = decision_threshold(scores, rate)
    assert (scores > threshold).mean() <= rate
    good, bad = Ranking(WeightedScores(scores)), Ranking(WeightedScores(np.array([threshold, threshold + 1])))
    alarms = (scores > threshold).sum()
    assert f1_above(good, bad, threshold) == pytest.approx(2 * 1 / (1 + alarms + 2)), "a score at it is no alarm"


@pytest.mark.parametrize("puad", [False, True])
def test_no_good_image_crosses_it_by_rounding(puad):
    images = entries(5, seed=1)
    model = calibrated("MODEL.EFFICIENT_AD.PUAD.ENABLED", puad, batches=[[p] for p in images])
    together = [result["anomaly_score"].item() for result in model(images)]
    model.fold_for_inference()
    folded = [result["anomaly_score"].item() for result in model(images)]
    threshold = model(images[:1])[0]["anomaly_threshold"].item()
    assert max(together + folded) < threshold < max(together) + 1e-3 * max(1, abs(max(together)))


def test_scores_cut_off_at_the_border_are_told(monkeypatch, caplog):
    model = build()
    measure_teacher(model, [entries(2)], "x")
    # High in different places, and far below the quantiles elsewhere: the mean of the two is negative everywhere.
    tiles = torch.rand(1, 2, 24, 24, generator=torch.Generator().manual_seed(0)) * 1e-3 + 1
    tiles[0, 0, :, 12:] -= 0.5
    tiles[0, 1, :, :12] -= 0.5
    raw = RawMaps(tiles, [(0, 0, SIDE, SIDE)], (SIDE, SIDE))
    monkeypatch.setattr(model, "raw_maps", lambda images: iter([raw] * len(images)))
    measure_maps(model, [entries(1)] * 3)
    threshold = model.state.threshold.item()
    assert 0 < threshold < 1e-4, "above the good scores, which the border keeps at 0"
    assert "In 3 of 3 good images nothing exceeds the border" in caplog.text and "COMPAT paper" in caplog.text
    result = model.eval()(entries(1))[0]
    assert result["anomaly_score"] == 0 and result["anomaly_map"].shape == (SIDE, SIDE)
    tiles[0, :, 5, 5] += 1.0  # what is above the border is above the threshold
    assert model(entries(1))[0]["anomaly_score"] > threshold


def test_few_good_images_are_told(caplog):
    calibrated(batches=[[entry] for entry in entries(4, seed=1)])
    assert "Calibrated on 4 good image(s): a false-positive rate of 0.01 needs 99 or more" in caplog.text
    assert "about 0.2 of all good images exceed" in caplog.text
    caplog.clear()
    model = build()
    batches = [[entry] for entry in entries(4, seed=1)]
    measure_teacher(model, batches, "x")
    measure_maps(model, batches, false_positive_rate=0.3)
    assert "needs" not in caplog.text and "the quantiles of so few maps are rough" in caplog.text
