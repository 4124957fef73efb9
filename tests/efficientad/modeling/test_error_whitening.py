"""Mahalanobis distances of a student's errors: against NumPy, and through a training."""

import numpy as np
import pytest
import torch

from d2road.config.validate import find_problems
from d2road.engine import evaluate
from d2road.utils.errors import CheckpointError, DataError
from efficientad.modeling.error_whitening import ErrorCovariance, mahalanobis_map
from efficientad.modeling.networks import difference_maps
from tests.efficientad.test_extractor_teacher import FEATURES, SIDE
from tests.efficientad.test_training import run_cfg, train
from tests.factories.anomaly_models import build, entries, write_category

MAHALANOBIS = ("MODEL.EFFICIENT_AD.EXTRACTOR.DISTANCE", "mahalanobis")


def correlated(count, seed=0):
    rng = np.random.default_rng(seed)
    mixed = rng.normal(size=(count, 8, 9, 6)) @ rng.normal(size=(6, 6))
    return torch.from_numpy(mixed.transpose(0, 3, 1, 2).astype(np.float32))  # (B, C, h, w)


def test_distances_are_those_of_numpys_inverse_covariance():
    good, tested = correlated(3), correlated(2, seed=1)
    found, other = ErrorCovariance(share=1.0), ErrorCovariance(share=1.0)
    found.update(good[:1])
    other.update(good[1:])
    found.merge(other)
    rows = good.permute(0, 2, 3, 1).reshape(-1, 6).double().numpy()
    covariance = rows.T @ rows / len(rows)
    inverse = np.linalg.inv(covariance + 0.1 * np.trace(covariance) / 6 * np.eye(6))
    vectors = tested.permute(0, 2, 3, 1).double().numpy()
    expected = np.einsum("bhwc,cd,bhwd->bhw", vectors, inverse, vectors) / 6
    np.testing.assert_allclose(mahalanobis_map(tested, found.whitening(0.1)).numpy(), expected, rtol=1e-4)
    assert float(mahalanobis_map(good, found.whitening(0.0)).mean()) == pytest.approx(1, rel=1e-4)


def test_the_places_of_the_largest_errors_count_in_each_image():
    errors = correlated(2)
    errors[0] *= 10
    found = ErrorCovariance(share=0.25)
    found.update(errors)
    assert found.count == 2 * 18  # of 72 places
    rows = errors.flatten(2).permute(0, 2, 1).double().numpy()
    kept = np.concatenate([own[np.argsort((own**2).sum(1))[-18:]] for own in rows])
    np.testing.assert_allclose(found.products.numpy(), kept.T @ kept, rtol=1e-4)


def test_errors_without_a_covariance_are_refused():
    with pytest.raises(DataError, match="there is no image"):
        ErrorCovariance().whitening()
    for value in (0.0, float("nan")):
        found = ErrorCovariance()
        found.update(torch.full((1, 3, 4, 4), value))
        with pytest.raises(DataError, match="expected a positive number"):
            found.whitening()


def test_a_training_measures_its_errors_and_a_checkpoint_keeps_them(tmp_path):
    cfg = run_cfg(write_category(tmp_path, side=SIDE), tmp_path / "out", *FEATURES, *MAHALANOBIS)
    assert not find_problems(cfg)
    trainer, results = train(cfg)
    networks = trainer.bare_model.eval().networks
    assert not torch.allclose(networks.whitening, torch.eye(networks.channels))
    features = networks.features(trainer.bare_model.preprocess(entries(1, SIDE)))
    maps, plain = networks.maps_of(features), difference_maps(features)
    expected = mahalanobis_map(features.teacher - features.student, networks.whitening)
    torch.testing.assert_close(maps[:, 0], expected)
    assert not torch.allclose(maps[:, 0], plain[:, 0], rtol=0.1) and torch.equal(maps[:, 1], plain[:, 1])
    networks.autoencoder = None
    torch.testing.assert_close(networks.maps_of(features)[:, 1], expected)
    cfg.MODEL.WEIGHTS = str(tmp_path / "out" / "model_final.pth")
    assert evaluate(cfg)["anomaly"] == pytest.approx(results["anomaly"], nan_ok=True)
    saved = torch.load(cfg.MODEL.WEIGHTS, weights_only=True)["model"]
    with pytest.raises(CheckpointError, match="DISTANCE is mahalanobis in the checkpoint and squared in the config"):
        build(*FEATURES).load_state_dict(saved)
    with pytest.raises(CheckpointError, match="DISTANCE is squared in the checkpoint and mahalanobis in the config"):
        build(*FEATURES, *MAHALANOBIS).load_state_dict(build(*FEATURES).state_dict())
    problems = " ".join(find_problems(run_cfg(tmp_path, tmp_path, *FEATURES, MAHALANOBIS[0], "cosine")))
    assert "EXTRACTOR.DISTANCE is 'cosine': choose one of squared, mahalanobis" in problems
