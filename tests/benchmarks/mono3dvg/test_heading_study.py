"""Reversed headings counted, and features that hold the front of an object or do not."""

import numpy as np
import pytest

from benchmarks.mono3dvg.heading_study import FEATURES, Headings, describe, fit_headings, judge, read_headings
from tests.factories.grounders import untrained


def made_up(count: int, seed: int) -> Headings:
    """Headings whose cell knows all, whose tower knows the axis alone, and whose box knows nothing."""
    rng = np.random.default_rng(seed)
    alpha = rng.uniform(-np.pi, np.pi, count)
    features = {
        "cell": np.column_stack([np.cos(alpha), np.sin(alpha)]),
        "tower": np.column_stack([np.cos(2 * alpha), np.sin(2 * alpha)]),
        "pooled": rng.normal(size=(count, 3)),
    }
    detected = np.where(np.arange(count) % 4 == 0, np.pi, 0.0)
    detected[1::4] = np.nan
    names = np.where(np.arange(count) % 2 == 0, "car", "pedestrian")
    return Headings(features, alpha, np.zeros(count), detected, names, np.linspace(5, 85, count))


def test_half_a_turn_is_reversed_and_no_error_of_the_axis():
    found = describe(np.array([0.1, np.pi - 0.1, -np.pi, np.nan, 2 * np.pi]))
    assert found == pytest.approx({"count": 4, "reversed": 50, "axis_deg": np.rad2deg(0.05)})
    assert describe(np.array([np.nan]))["count"] == 0


@pytest.mark.parametrize("kernel", ["linear", "rbf"])
def test_what_features_lack_no_regression_finds(kernel):
    train, test = made_up(400, 0), made_up(300, 1)
    shares = {name: describe(fit_headings(train, test, name, kernel))["reversed"] for name in FEATURES}
    assert shares["cell"] < 2 and all(35 < shares[name] < 65 for name in ("tower", "pooled"))


def test_detections_are_counted_by_class_and_vehicles_by_range():
    found = judge(made_up(80, 0), made_up(80, 1))["detected"]
    assert found["car"] == found["vehicles"] and found["car"]["count"] == 40 and found["car"]["reversed"] == 50
    assert found["pedestrian"]["count"] == 20 and found["pedestrian"]["reversed"] == 0
    ranges = [found[name]["count"] for name in ("0 to 20 m", "20 to 40 m", "40 to 60 m", "60 to 90 m")]
    assert sum(ranges) == 40 and min(ranges) > 0


def test_an_object_is_read_where_the_head_predicts_it(repo_dir, tmp_path):
    model, records, mapper = untrained(repo_dir, tmp_path)
    found = read_headings(model, records, mapper)
    labelled = sum(len(record["annotations"]) for record in records)
    assert 0 < len(found.alpha) <= labelled
    assert {name: len(values) for name, values in found.features.items()} == dict.fromkeys(FEATURES, len(found.alpha))
    assert found.features["pooled"].shape[1] == 49 * found.features["cell"].shape[1]
    assert ((found.range_m > 5) & (found.range_m < 90)).all() and np.isfinite(found.at_cell).all()
