"""PUAD against scikit-learn's Ledoit-Wolf estimator and plain formulas."""

import numpy as np
import pytest
import torch
from sklearn.covariance import LedoitWolf

from efficientad.modeling.puad import Puad, channel_means, ledoit_wolf


@pytest.mark.parametrize(("count", "channels"), [(40, 6), (10, 30), (2, 5)])
def test_covariance_and_distance_are_sklearns(count, channels):
    rng = np.random.default_rng(0)
    samples = rng.normal(size=(count, channels)) @ rng.normal(size=(channels, channels)) + 3
    reference = LedoitWolf().fit(samples)
    assert np.allclose(ledoit_wolf(torch.tensor(samples)).numpy(), reference.covariance_, rtol=1e-9, atol=1e-12)
    puad = Puad(channels)
    puad.fit(torch.tensor(samples))
    others = rng.normal(size=(7, channels))
    expected = np.sqrt(reference.mahalanobis(others))
    assert np.allclose(puad.distance(torch.tensor(others)).numpy(), expected, rtol=1e-3)


def test_scores_are_standardised_and_added():
    puad = Puad(2)
    distances, maxima = torch.tensor([1.0, 2.0, 3.0]), torch.tensor([10.0, 20.0, 30.0])
    puad.standardise(distances, maxima)
    assert torch.allclose(puad.combine(torch.tensor([3.0]), torch.tensor([40.0])), torch.tensor([3.0]))
    assert torch.allclose(channel_means(torch.arange(8.0).view(1, 2, 2, 2)), torch.tensor([[1.5, 5.5]]))


def test_too_few_and_equal_images():
    puad = Puad(3)
    with pytest.raises(ValueError, match="1 training image"):
        puad.fit(torch.rand(1, 3))
    with pytest.raises(ValueError, match="equal"):
        puad.fit(torch.ones(5, 3))
    with pytest.raises(ValueError, match=r"DATASETS\.CALIBRATION.*PUAD\.ENABLED False"):
        puad.standardise(torch.tensor([1.0]), torch.tensor([1.0]))
    with pytest.raises(ValueError, match="maximums"):
        puad.standardise(torch.tensor([1.0, 2.0]), torch.tensor([1.0, 1.0]))
