"""Fusion of depths against dense least squares, and what it is worth in simulated images with a wrong plane."""

import numpy as np
import pytest
import torch

from diffusion_det.pose.pose_decoding import Pose
from diffusion_det.pose.pose_fusion import fuse, fuse_image, ground_error


def random_pose(rng, count, std=None, usable=None):
    """Objects of one image with Jacobians of a roadside camera: 1 / drop is depth over height."""
    x, over_drop = rng.uniform(-0.5, 0.5, count), rng.uniform(10, 80, count) / 7
    plane = np.stack([over_drop, over_drop * x, np.ones(count)], axis=-1)
    shared = np.stack([np.zeros((count, 3)), plane, 1.1 * plane], axis=1)
    std = np.exp(rng.uniform(-4, -1.5, (count, 3))) if std is None else np.broadcast_to(std, (count, 3))
    usable = np.ones((count, 3), bool) if usable is None else usable
    return Pose(
        xy=torch.zeros(count, 2),
        log_depth=torch.tensor(np.log(rng.uniform(10, 80, (count, 1))) + rng.normal(0, 1, (count, 3)) * std).float(),
        var=torch.tensor(std**2).float(),
        usable=torch.tensor(usable),
        shared=torch.tensor(shared).float(),
        dims=torch.ones(count, 3),
        alpha=torch.zeros(count),
        quality=torch.ones(count),
    )


def some_unusable(rng, count):
    usable = rng.random((count, 3)) > 0.3
    usable[:, 0] = True
    return usable


def dense_posterior(pose, ground_var, object_weights=None, common=0.0):
    """Log depths and ground error of one image from one big Gaussian: unknowns g (3), the error that all direct depths
    have in common (1), zeta (P); flat prior on zeta.

    Returns means and covariances of g and zeta. An object of weight w speaks about g with w times its precision.
    """
    count = len(pose.log_depth)
    precision, vector = np.zeros((4 + count, 4 + count)), np.zeros(4 + count)
    precision[:4, :4] = np.diag([*(1 / np.asarray(ground_var, dtype=float)), 1.0])
    for i in range(count):
        for j in range(3):
            if not pose.usable[i, j]:
                continue
            row, var = np.zeros(4 + count), pose.var[i, j].item()
            row[:3], row[4 + i] = pose.shared[i, j].double().numpy(), 1.0
            if j == 0:
                row[3], var = (common * var) ** 0.5, (1 - common) * var
            weight = (1.0 if object_weights is None else object_weights[i]) / var
            precision += weight * np.outer(row, row)
            vector += weight * row * pose.log_depth[i, j].item()
    covariance = np.linalg.inv(precision)
    mean = covariance @ vector
    return mean[:3], covariance[:3, :3], mean[4:], np.diag(covariance)[4:]


@pytest.mark.parametrize("seed", range(3))
def test_fuse_is_generalised_least_squares(seed):
    rng = np.random.default_rng(seed)
    pose = random_pose(rng, 30, usable=some_unusable(rng, 30))
    ground_var = rng.uniform(1e-5, 1e-3, (30, 3))
    log_depth, var = fuse(pose, torch.tensor(ground_var).float())
    for i in range(30):
        use = pose.usable[i].numpy()
        S = pose.shared[i].double().numpy()[use]
        covariance = np.diag(pose.var[i].double().numpy()[use]) + S @ np.diag(ground_var[i]) @ S.T
        inverse, one = np.linalg.inv(covariance), np.ones(use.sum())
        best = (one @ inverse @ pose.log_depth[i].double().numpy()[use]) / (one @ inverse @ one)
        assert log_depth[i].item() == pytest.approx(best, abs=2e-4)
        assert var[i].item() == pytest.approx(1 / (one @ inverse @ one), rel=1e-3)


def test_fuse_with_exact_ground_weighs_by_inverse_variance():
    pose = random_pose(np.random.default_rng(0), 10)
    log_depth, var = fuse(pose, torch.zeros(10, 3))
    weights = 1 / pose.var
    torch.testing.assert_close(log_depth, (weights * pose.log_depth).sum(1) / weights.sum(1))
    torch.testing.assert_close(var, 1 / weights.sum(1))


def test_a_way_that_cannot_be_used_changes_nothing():
    rng = np.random.default_rng(1)
    pose = random_pose(rng, 12, usable=some_unusable(rng, 12))
    other = Pose(**vars(pose))
    bad = ~pose.usable
    other.log_depth, other.shared = pose.log_depth.clone(), pose.shared.clone()
    other.log_depth[bad] += 0.5
    other.shared[bad] *= 40
    ground_var = torch.full((3,), 1e-3)
    each = ground_var.expand(12, 3)
    pairs = [[fuse(p, each), fuse_image(p, ground_var, torch.ones(12))] for p in (pose, other)]
    for before, after in zip(*pairs):
        for x, y in zip(before, after):
            torch.testing.assert_close(x, y, atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize("common", [0.0, 0.5])
@pytest.mark.parametrize("trusted", [True, False])
def test_image_is_the_dense_posterior(trusted, common):
    """Where no object disagrees by more than the Huber bound, so that all weights stay as given."""
    rng = np.random.default_rng(3)
    pose = random_pose(rng, 15, std=np.array([0.1, 0.05, 0.07]), usable=some_unusable(rng, 15))
    error = np.array([0.004, -0.003, 0.02])
    zeta = np.log(rng.uniform(10, 80, 15))
    noise = rng.normal(0, 0.3, (15, 3)) * np.array([0.1, 0.05, 0.07])
    pose.log_depth = torch.tensor(zeta[:, None] + pose.shared.double().numpy() @ error + noise).float()
    ground_var = torch.tensor([1e-5, 2e-5, 4e-4])
    object_weights = torch.ones(15) if trusted else torch.rand(15, generator=torch.Generator().manual_seed(0))
    mean, covariance = ground_error(pose, ground_var, object_weights, common)
    wanted, wanted_cov, depths, variances = dense_posterior(pose, ground_var, object_weights.tolist(), common)
    np.testing.assert_allclose(mean[:3], wanted, atol=2e-5)
    np.testing.assert_allclose(covariance[:3, :3], wanted_cov, rtol=2e-3, atol=1e-9)
    log_depth, var, again = fuse_image(pose, ground_var, object_weights, common)
    assert torch.equal(again, mean[:3])
    if trusted:  # else the depths use their own measurements in full
        np.testing.assert_allclose(log_depth, depths, atol=3e-4)
        np.testing.assert_allclose(var, variances, rtol=2e-3)


def test_one_object_alone_is_as_fuse():
    """With one object, private and shared ground errors are the same thing."""
    rng = np.random.default_rng(4)
    pose = random_pose(rng, 1, std=np.array([0.1, 0.2, 0.2]))
    ground_var = torch.tensor([4e-5, 4e-5, 1e-3])
    together, alone = fuse_image(pose, ground_var, torch.ones(1)), fuse(pose, ground_var[None])
    torch.testing.assert_close(together[0], alone[0], atol=1e-4, rtol=0)
    torch.testing.assert_close(together[1], alone[1], rtol=1e-3, atol=0)


def test_certain_ground_is_not_corrected():
    pose = random_pose(np.random.default_rng(5), 20)
    log_depth, var, error = fuse_image(pose, torch.zeros(3), torch.ones(20))
    assert (error == 0).all()
    wanted, wanted_var = fuse(pose, torch.zeros(20, 3))
    torch.testing.assert_close(log_depth, wanted)
    torch.testing.assert_close(var, wanted_var)


def test_images_without_objects_and_without_trust():
    pose = random_pose(np.random.default_rng(6), 4)
    ground_var = torch.tensor([1e-4, 1e-4, 1e-2])
    mean, covariance = ground_error(pose, ground_var, torch.zeros(4))
    assert (mean == 0).all()
    torch.testing.assert_close(covariance, torch.diag(ground_var))
    log_depth, var, error = fuse_image(pose[torch.zeros(0, dtype=torch.long)], ground_var, torch.zeros(0))
    assert log_depth.shape == var.shape == (0,) and (error == 0).all()


def simulate(seed, count=15, prior=(0.01, 0.01, 0.03)):
    """An image whose plane is off by a draw from the prior: (pose, true log depths, true error, prior variances)."""
    rng = np.random.default_rng(seed)
    std = np.array([0.12, 0.03, 0.05])
    pose = random_pose(rng, count, std=std)
    zeta, error = np.log(rng.uniform(10, 80, count)), rng.normal(0, prior)
    noise = rng.normal(0, 1, (count, 3)) * std
    pose.log_depth = torch.tensor(zeta[:, None] + pose.shared.double().numpy() @ error + noise).float()
    return pose, zeta, error, torch.tensor(prior).float() ** 2


def test_objects_together_beat_objects_alone_on_a_wrong_plane():
    together, alone, errors, spread = [], [], [], []
    for seed in range(60):
        pose, zeta, error, ground_var = simulate(seed)
        log_depth, var, found = fuse_image(pose, ground_var, torch.ones(len(zeta)))
        together.append(log_depth.numpy() - zeta)
        alone.append(fuse(pose, ground_var.expand(len(zeta), 3))[0].numpy() - zeta)
        errors.append(np.stack([error, found.numpy() - error, dense_posterior(pose, ground_var)[0] - error]))
        spread.append((log_depth.numpy() - zeta) / var.sqrt().numpy())
    rms = [np.sqrt(np.mean(np.square(e))) for e in (together, alone)]
    assert rms[0] < 0.7 * rms[1], rms
    before, after, best = np.square(errors).mean(0)[:, 0]  # of the pitch, on which depth hangs most
    assert after < 0.3 * before
    assert after < 1.15 * best  # what guarding against outliers costs where there are none
    assert 0.85 < np.sqrt(np.mean(np.square(spread))) < 1.15  # the variance says how far off they are


def test_an_outlier_moves_the_ground_little():
    moves, plain = [], []
    for seed in range(20):
        pose, _, _, ground_var = simulate(seed)
        object_weights = torch.ones(15)
        before, _ = ground_error(pose, ground_var, object_weights)
        pose.log_depth[0, 0] += 1.5
        pose.shared[0, 1:] *= 1.5  # far away, where the lever is long
        without, _ = ground_error(pose[torch.arange(1, 15)], ground_var, object_weights[1:])
        after, _ = ground_error(pose, ground_var, object_weights)
        wanted, *_ = dense_posterior(pose, ground_var)
        scale = ground_var.sqrt()
        moves.append(((after - without) / scale).abs().max().item())
        plain.append(((torch.tensor(wanted) - without) / scale).abs().max().item())
        assert torch.isfinite(before).all()
    assert np.mean(moves) < 0.35 * np.mean(plain), (np.mean(moves), np.mean(plain))


def test_false_alarms_of_low_score_move_the_ground_little():
    pose, _, _, ground_var = simulate(3)
    good, _ = ground_error(pose, ground_var, torch.ones(15))
    junk = random_pose(np.random.default_rng(8), 10, std=np.array([0.12, 0.03, 0.05]))
    junk.log_depth += 0.3 * torch.tensor(np.random.default_rng(9).normal(0, 1, (10, 3))).float()
    both = Pose(*(torch.cat([getattr(pose, k), getattr(junk, k)]) for k in vars(pose)))
    low, _ = ground_error(both, ground_var, torch.cat([torch.ones(15), torch.full((10,), 0.02)]))
    full, _ = ground_error(both, ground_var, torch.ones(25))
    scale = ground_var.sqrt()
    assert ((low - good) / scale).abs().max() < 0.1 < ((full - good) / scale).abs().max()


def test_common_error_of_direct_depths_is_a_fourth_unknown():
    """Against normal equations for all depths, the ground and one factor on the direct depths, solved at once."""
    rng = np.random.default_rng(5)
    pose, ground_var, common = random_pose(rng, 9, std=np.array([0.1, 0.05, 0.07])), np.array([1e-5, 2e-5, 4e-4]), 0.4
    zeta = np.log(rng.uniform(10, 80, 9))
    pose.log_depth = torch.tensor(zeta[:, None] + rng.normal(0, 0.02, (9, 3))).float()
    shared, var, y = (t.double().numpy() for t in (pose.shared, pose.var, pose.log_depth))
    precision = np.zeros((9 + 4, 9 + 4))
    precision[9:, 9:] = np.diag([*(1 / ground_var), 1.0])
    evidence = np.zeros(13)
    for i in range(9):
        for way in range(3):
            row, own = np.zeros(13), var[i, way]
            row[i], row[9:12] = 1, shared[i, way]
            if way == 0:  # direct
                row[12], own = np.sqrt(common * own), own * (1 - common)
            precision += np.outer(row, row) / own
            evidence += row * y[i, way] / own
    wanted = np.linalg.solve(precision, evidence)
    log_depth, variance, error = fuse_image(pose, torch.tensor(ground_var).float(), torch.ones(9), common)
    np.testing.assert_allclose(error, wanted[9:12], atol=2e-5)
    np.testing.assert_allclose(log_depth, wanted[:9], atol=3e-4)
    np.testing.assert_allclose(variance, np.diag(np.linalg.inv(precision))[:9], rtol=2e-3)


def test_direct_depths_that_are_all_too_long_do_not_turn_an_exact_ground():
    rng = np.random.default_rng(6)
    pose = random_pose(rng, 20, std=np.array([0.1, 0.02, 0.03]))
    zeta = np.log(rng.uniform(10, 80, 20))
    pose.log_depth = torch.tensor(zeta[:, None] + np.array([0.1, 0.0, 0.0])).float()
    ground_var, object_weights = torch.tensor([3e-6, 3e-6, 2.5e-5]), torch.ones(20)
    off = [(fuse_image(pose, ground_var, object_weights, c)[0] - torch.tensor(zeta)).abs().mean() for c in (0.0, 0.5)]
    assert off[1] < 0.7 * off[0]
