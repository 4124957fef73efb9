"""Scores relative to good traffic of the same density."""

import numpy as np
import pytest

from d2road.traffic.events.relative_scores import LEAST, RelativeScores


def good(count=2000, seed=0):
    """Scores that grow with density, and so does their spread."""
    rng = np.random.default_rng(seed)
    density = np.exp(rng.uniform(np.log(2), np.log(80), count))
    return density, 0.1 * density * (1 + 0.2 * rng.normal(size=count))


def test_nearest_are_those_of_a_search_through_all():
    density, score = good(61)
    relative = RelativeScores(density, score)
    for one in (0.0, 2.0, 17.3, 80.0, 500.0):
        away = np.abs(np.log(density + 1) - np.log(one + 1))
        near = score[np.argsort(away)[: relative.neighbours]]
        usual = np.median(near)
        expected = (3.0 - usual) / np.abs(near - usual).mean()
        assert relative([one], [3.0])[0] == pytest.approx(expected)


def test_good_traffic_is_alike_at_every_density():
    relative = RelativeScores(*good())
    density, score = good(seed=1)
    found = relative(density, score)
    for low, high in ((3, 10), (10, 25), (25, 60)):
        part = found[(density >= low) & (density < high)]
        assert abs(np.median(part)) < 0.2 and np.abs(part - np.median(part)).mean() == pytest.approx(1, abs=0.2)


def test_an_incident_on_an_empty_road_is_above_a_jam():
    relative = RelativeScores(*good())
    empty, jam = relative([5, 70], [1.5, 7.0])
    assert empty > 5 and abs(jam) < 1  # though the jam's score is higher


def test_equal_scores_stay_finite():
    relative = RelativeScores(np.arange(30), np.zeros(30))
    assert relative([3, 3], [0.0, 1.0]).tolist() == [0, 1]
    assert relative([], []).shape == (0,)


@pytest.mark.parametrize(
    ("densities", "scores", "message"),
    [
        (np.ones(LEAST - 1), np.ones(LEAST - 1), f"expected at least {LEAST}"),
        (np.ones(30), np.ones(29), "30 densities and 29 scores"),
        (np.ones(30), np.full(30, np.nan), "have to be finite"),
        (-np.ones(30), np.ones(30), "0 or more"),
    ],
)
def test_what_cannot_be_learned_from(densities, scores, message):
    with pytest.raises(ValueError, match=message):
        RelativeScores(densities, scores)
