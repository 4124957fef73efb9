"""Streaming statistics against numpy and torch, degenerate data, the three orders of map operations."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from efficientad import calibration_statistics as calibration
from efficientad.calibration_statistics import (
    COMPATS,
    Moments,
    Quantiles,
    check_quantiles,
    finish_map,
    maps_for_quantiles,
    normalise_map,
    resize_maps,
)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(1, 5), min_size=1, max_size=6), st.floats(-1e4, 1e4), st.integers(0, 2**20))
def test_moments_of_parts_are_those_of_the_whole(sizes, offset, seed):
    generator = torch.Generator().manual_seed(seed)
    parts = [torch.randn(size, 3, 4, 5, generator=generator) + offset for size in sizes]
    moments, left, right = Moments(), Moments(), Moments()
    for number, part in enumerate(parts):
        moments.update(part)
        (left if number % 2 else right).update(part)
    left.merge(right)
    whole = torch.cat(parts).double().numpy()
    for found in (moments, left):
        mean, std = found.result()
        assert np.allclose(mean, whole.mean((0, 2, 3)), rtol=1e-6, atol=1e-6)
        assert np.allclose(std, whole.std((0, 2, 3)), rtol=1e-3, atol=1e-6)


def test_moments_are_stable_where_one_pass_is_not():
    features = torch.randn(8, 2, 16, 16, generator=torch.Generator().manual_seed(0)) * 0.01 + 300
    naive = (features**2).mean((0, 2, 3)) - features.mean((0, 2, 3)) ** 2
    moments = Moments()
    for part in features:
        moments.update(part[None])
    truth = features.double().var((0, 2, 3), correction=0)
    assert torch.allclose(moments.std() ** 2, truth, rtol=1e-3)
    assert not torch.allclose(naive.double(), truth, rtol=0.1)


def test_degenerate_channels_are_named():
    features = torch.randn(2, 4, 8, 8)
    features[:, 2] = 1.5
    moments = Moments()
    moments.update(features)
    with pytest.raises(ValueError, match=r"1 of 4 channels are constant.*\(2\).*TEACHER"):
        moments.result()
    with pytest.raises(ValueError, match="no image"):
        Moments().result()
    features[0, 0, 0, 0] = float("nan")
    moments.update(features)
    with pytest.raises(ValueError, match="NaN"):
        moments.result()


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 500), st.floats(0.01, 8), st.floats(0, 1), st.integers(0, 2**20))
def test_quantiles_are_numpys(count, power, q, seed):
    values = torch.rand(count, generator=torch.Generator().manual_seed(seed)) ** power
    exact, histogram = Quantiles("exact"), Quantiles("histogram")
    for part in values.split(97):
        exact.update(part)
        histogram.update(part)
    expected = np.quantile(values.double().numpy(), q)
    assert exact.result([q])[0] == pytest.approx(expected, rel=1e-9, abs=1e-12)
    assert histogram.result([q])[0] == pytest.approx(expected, rel=1.3e-4, abs=1e-30)


def test_histogram_is_close_on_many_values():
    values = torch.rand(300_000, generator=torch.Generator().manual_seed(0)) ** 3 * 40
    histogram = Quantiles("histogram")
    histogram.update(values)
    expected = np.quantile(values.numpy(), (0.9, 0.995))
    assert histogram.result((0.9, 0.995)) == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("methods", [("exact", "exact"), ("histogram", "histogram"), ("auto", "auto")])
def test_quantiles_merge(methods, monkeypatch):
    monkeypatch.setattr(calibration, "EXACT_LIMIT", 700)
    values = torch.rand(1000, generator=torch.Generator().manual_seed(0))
    whole, (left, right) = Quantiles(methods[0]), (Quantiles(m) for m in methods)
    whole.update(values)
    left.update(values[:800])  # of "auto", this one already counts, the other still keeps
    right.update(values[800:])
    left.merge(right)
    assert left.count == 1000
    assert left.result((0.1, 0.9)) == pytest.approx(whole.result((0.1, 0.9)), rel=1e-12)
    other = Quantiles(methods[0])
    other.merge(right)
    other.update(values[:800])
    assert other.result((0.1, 0.9)) == pytest.approx(whole.result((0.1, 0.9)), rel=1e-12)


def test_auto_stays_exact_until_the_limit(monkeypatch):
    monkeypatch.setattr(calibration, "EXACT_LIMIT", 50)
    few, many = Quantiles(), Quantiles()
    values = torch.rand(50, generator=torch.Generator().manual_seed(0))
    few.update(values)
    assert few.result([0.5])[0] == pytest.approx(np.quantile(values.double().numpy(), 0.5), rel=1e-9)
    many.update(torch.cat([values, values]))
    assert many._values is None


@pytest.mark.parametrize("bad", [-1.0, float("nan"), float("inf")])
def test_bad_map_values_are_refused(bad):
    with pytest.raises(ValueError, match="NaN, infinite or negative"):
        Quantiles().update(torch.tensor([0.5, bad]))


def test_no_values_and_unknown_method():
    with pytest.raises(ValueError, match=r"DATASETS\.CALIBRATION"):
        Quantiles().result([0.5])
    with pytest.raises(ValueError, match="histogram"):
        Quantiles("hist")


@pytest.mark.parametrize(("start", "end"), [(0.0, 0.0), (1.0, 1.0), (2.0, 1.0), (float("nan"), 1.0)])
def test_equal_quantiles_are_refused(start, end):
    with pytest.raises(ValueError, match=r"autoencoder map.*DATASETS\.CALIBRATION"):
        check_quantiles(start, end, "autoencoder")
    check_quantiles(1.0, 1.01, "autoencoder")


def test_normalised_quantiles_are_0_and_a_tenth():
    found = normalise_map(torch.tensor([2.0, 5.0]), torch.tensor(2.0), torch.tensor(5.0))
    assert torch.allclose(found, torch.tensor([0.0, 0.1]))


def test_orders_of_border_and_enlargement():
    raw = torch.rand(2, 1, 24, 24) + 1
    values = {compat: maps_for_quantiles(raw, compat, (128, 128)) for compat in COMPATS}
    assert torch.equal(values["nelson1425"], raw)
    assert torch.equal(values["paper"], resize_maps(raw, (128, 128)))
    padded = torch.zeros(2, 1, 32, 32)
    padded[:, :, 4:-4, 4:-4] = raw
    assert torch.equal(values["anomalib"], resize_maps(padded, (128, 128)))
    finished = finish_map(raw, "nelson1425", 4)
    assert torch.equal(finished, padded)
    assert torch.equal(finish_map(raw, "paper", 4), raw)
    # In nelson1425 mode the border is 0 whatever the quantiles; in anomalib's it lies below the normalised interior.
    start, end = torch.tensor(1.5), torch.tensor(1.9)
    assert finish_map(normalise_map(raw, start, end), "nelson1425", 4)[..., 0, 0].abs().max() == 0
    assert normalise_map(values["anomalib"], start, end)[..., 0, 0].max() < 0
