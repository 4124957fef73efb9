"""Plain baselines on features against scikit-learn and SciPy, and as detectors from end to end."""

import numpy as np
import pytest
import torch
from scipy.spatial.distance import mahalanobis
from sklearn.decomposition import PCA

from benchmarks.efficientad.feature_baselines import GaussianPerPlace, PrincipalComponents


def images(count: int = 30, places: int = 5, channels: int = 8, seed: int = 0) -> torch.Tensor:
    """(count, places, channels), correlated, far from zero."""
    rng = np.random.default_rng(seed)
    mix = rng.normal(size=(places, channels, channels)) * np.linspace(0.1, 2, channels)
    return torch.from_numpy(np.einsum("npc,pcd->npd", rng.normal(size=(count, places, channels)), mix) + 50).float()


def test_padim_is_the_mahalanobis_distance_at_each_place():
    good, new = images(), images(1, seed=1)[0]
    found = GaussianPerPlace(good, dimensions=8).distances(new)
    for place in range(5):
        values = good[:, place].double().numpy()
        covariance = np.cov(values, rowvar=False) + 0.01 * np.eye(8)
        expected = mahalanobis(new[place].double().numpy(), values.mean(0), np.linalg.inv(covariance))
        assert float(found[place]) == pytest.approx(expected, rel=1e-3)


def test_padim_draws_its_channels_by_the_seed():
    good = images()
    chosen = [GaussianPerPlace(good, dimensions=3, seed=seed).chosen.tolist() for seed in (0, 0, 1)]
    assert chosen[0] == chosen[1] != chosen[2] and len(set(chosen[0])) == 3
    assert GaussianPerPlace(good, dimensions=100).chosen.tolist() == list(range(8))
    with pytest.raises(ValueError, match="2 images or more, there are 1"):
        GaussianPerPlace(good[:1])


def test_pca_leaves_what_scikit_learn_leaves():
    good, new = images(), images(1, seed=1)[0]
    pca = PCA(n_components=0.95, svd_solver="full").fit(good.flatten(0, 1).double().numpy())
    model = PrincipalComponents(good, 0.95)
    assert model.components.shape[1] == pca.n_components_ < 8
    again = pca.inverse_transform(pca.transform(new.double().numpy()))
    expected = np.linalg.norm(new.double().numpy() - again, axis=1)
    np.testing.assert_allclose(model.distances(new).numpy(), expected, rtol=1e-3, atol=1e-3)
    with pytest.raises(ValueError, match="are there images"):
        PrincipalComponents([])
