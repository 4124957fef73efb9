"""Interacting multiple models: one Kalman filter for each mode of motion, weighed by how well it foretells.

A vehicle that cruises and one that brakes differ in how fast their velocities may change, not in what is measured of
them. Letters: T tracks, M modes, n states.

Source: Blom and Bar-Shalom, "The interacting multiple model algorithm for systems with Markovian switching
coefficients", IEEE Transactions on Automatic Control 1988.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from d2road.traffic.tracking.kalman import innovation, mahalanobis_squared, symmetric, update

LEAST_WEIGHT = 1e-9


@dataclass(frozen=True)
class MotionModes:
    """Gaussian mixtures over the modes.

    Args:
        weights: (T, M), sum 1. means: (T, M, n). covariances: (T, M, n, n).
    """

    weights: np.ndarray
    means: np.ndarray
    covariances: np.ndarray

    def moments(self) -> tuple[np.ndarray, np.ndarray]:
        """Mean (T, n) and covariance (T, n, n) of the mixtures."""
        return _moments(self.weights, self.means, self.covariances)

    @classmethod
    def same(cls, weights: np.ndarray, mean: np.ndarray, covariance: np.ndarray) -> "MotionModes":
        """One track in the same state by all modes: weights (M,), mean (n,), covariance (n, n)."""
        count = len(weights)
        return cls(weights[None], np.stack([mean] * count)[None], np.stack([covariance] * count)[None])

    def replaced(self, rows: Sequence[int], by: "MotionModes") -> "MotionModes":
        """With other mixtures in some rows."""
        weights, means, covariances = self.weights.copy(), self.means.copy(), self.covariances.copy()
        weights[rows], means[rows], covariances[rows] = by.weights, by.means, by.covariances
        return MotionModes(weights, means, covariances)

    def __getitem__(self, rows: slice | list[int]) -> "MotionModes":
        return MotionModes(self.weights[rows], self.means[rows], self.covariances[rows])


def joined(parts: Sequence[MotionModes], states: int, count: int = 2) -> MotionModes:
    """Mixtures of tracks in one; of no track, an empty one of so many modes and states."""
    if not parts:
        return MotionModes(np.zeros((0, count)), np.zeros((0, count, states)), np.zeros((0, count, states, states)))
    return MotionModes(
        np.concatenate([part.weights for part in parts]),
        np.concatenate([part.means for part in parts]),
        np.concatenate([part.covariances for part in parts]),
    )


def mixed(modes: MotionModes, switching: np.ndarray) -> MotionModes:
    """Each filter's state before a step: those of all modes that may have become its own.

    Args:
        switching: (M, M) probabilities from a mode (row) to another over the step.
    """
    joint = modes.weights[:, :, None] * switching  # (T, M from, M to)
    weights = joint.sum(axis=1)
    share = np.swapaxes(joint / np.maximum(weights, LEAST_WEIGHT)[:, None], 1, 2)  # (T, M to, M from)
    means, covariances = _moments(share, modes.means[:, None], modes.covariances[:, None])
    return MotionModes(weights, means, covariances)


def updated(modes: MotionModes, measured: np.ndarray, observation: np.ndarray, noise: np.ndarray) -> MotionModes:
    """The mixtures after a measurement each.

    Args:
        measured: (T, m). observation: (m, n). noise: (T, m, m).
    """
    measured, noise = measured[:, None], noise[:, None]
    expected, spread = innovation(modes.means, modes.covariances, observation, noise)
    distance = mahalanobis_squared(measured - expected, spread) + np.log(np.linalg.det(spread))
    likelihood = np.exp(-(distance - distance.min(axis=1, keepdims=True)) / 2)
    weights = np.maximum(modes.weights * likelihood, LEAST_WEIGHT)
    means, covariances = update(modes.means, modes.covariances, measured, observation, noise)
    return MotionModes(weights / weights.sum(axis=1, keepdims=True), means, covariances)


def _moments(weights: np.ndarray, means: np.ndarray, covariances: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean (..., n) and covariance (..., n, n) of mixtures with weights (..., M)."""
    mean = (weights[..., None] * means).sum(axis=-2)
    away = means - mean[..., None, :]
    spread = covariances + away[..., :, None] * away[..., None, :]
    return mean, symmetric((weights[..., None, None] * spread).sum(axis=-3))
