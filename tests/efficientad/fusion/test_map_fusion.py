"""Fused maps against NumPy, written from the definition of the publication."""

import numpy as np
import pytest
import torch

from efficientad.fusion.map_fusion import fuse_maps

MAPS = np.random.default_rng(0).gamma(2, [[[1.0]], [[30.0]], [[0.01]]], (3, 5, 7))
QUANTILES = np.quantile(np.random.default_rng(1).gamma(2, [[1.0], [30.0], [0.01]], (3, 900)), (0.9, 0.995), axis=1).T


def fused(weights, combine):
    return fuse_maps(torch.tensor(MAPS), torch.tensor(QUANTILES), weights, combine).numpy()


def published(number):
    """0 at the quantile q_a = 0.9 and 0.1 at q_b = 0.995 of good images: Batzner et al., section 3.4."""
    q_a, q_b = QUANTILES[number]
    return 0.1 * (MAPS[number] - q_a) / (q_b - q_a)


def test_the_mean_weighs_maps_that_are_normalised_by_their_quantiles():
    student, autoencoder, bank = map(published, range(3))
    np.testing.assert_allclose(fused((1, 1, 0), "mean"), 0.5 * student + 0.5 * autoencoder)
    np.testing.assert_allclose(fused((1, 1, 2), "mean"), 0.25 * student + 0.25 * autoencoder + 0.5 * bank)
    np.testing.assert_allclose(fused((0, 0, 3), "mean"), bank)


def test_the_maximum_is_that_of_maps_that_have_a_weight():
    student, autoencoder, bank = map(published, range(3))
    np.testing.assert_allclose(fused((1, 5, 2), "max"), np.maximum(np.maximum(student, autoencoder), bank))
    np.testing.assert_allclose(fused((1, 0, 1), "max"), np.maximum(student, bank))


def test_no_scale_of_a_map_matters():
    factors = torch.tensor([3.0, 0.01, 500.0], dtype=torch.float64)
    for combine in ("mean", "max"):
        found = fuse_maps(
            torch.tensor(MAPS) * factors.view(-1, 1, 1), torch.tensor(QUANTILES) * factors[:, None], (1, 1, 1), combine
        )
        np.testing.assert_allclose(found.numpy(), fused((1, 1, 1), combine))


@pytest.mark.parametrize(("weights", "combine"), [((1, 1), "mean"), ((0, 0, 0), "mean"), ((1, -1, 1), "max"),
                                                  ((1, 1, 1), "median")])  # fmt: skip
def test_what_cannot_be_combined_is_refused(weights, combine):
    with pytest.raises(ValueError, match="3 maps cannot be combined"):
        fused(weights, combine)
