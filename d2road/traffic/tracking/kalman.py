"""Kalman filter and Rauch-Tung-Striebel smoother for linear models; leading axes of all arrays are batches.

Source: Rauch, Tung and Striebel, "Maximum likelihood estimates of linear dynamic systems", AIAA Journal 1965.
"""

import numpy as np


def predict(
    mean: np.ndarray, covariance: np.ndarray, transition: np.ndarray, noise: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The state one step later.

    Args:
        mean: (..., n). covariance: (..., n, n).
        transition: (..., n, n). noise: (..., n, n), covariance of the process noise over the step.
    Returns:
        mean (..., n) and covariance (..., n, n).
    """
    mean = (transition @ mean[..., None])[..., 0]
    return mean, symmetric(transition @ covariance @ _transposed(transition) + noise)


def innovation(
    mean: np.ndarray, covariance: np.ndarray, observation: np.ndarray, noise: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Expected measurement (..., m) and its covariance (..., m, m), noise of the measurement included.

    Args:
        observation: (m, n), from states to measurements. noise: (..., m, m).
    """
    return (observation @ mean[..., None])[..., 0], observation @ covariance @ observation.T + noise


def update(
    mean: np.ndarray, covariance: np.ndarray, measured: np.ndarray, observation: np.ndarray, noise: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The state after a measurement (..., m); the covariance in Joseph's form, which stays positive definite."""
    expected, spread = innovation(mean, covariance, observation, noise)
    gain = _transposed(np.linalg.solve(spread, observation @ covariance))
    mean = mean + (gain @ (measured - expected)[..., None])[..., 0]
    rest = np.eye(mean.shape[-1]) - gain @ observation
    return mean, symmetric(rest @ covariance @ _transposed(rest) + gain @ noise @ _transposed(gain))


def mahalanobis_squared(difference: np.ndarray, covariance: np.ndarray) -> np.ndarray:
    """(...,) squared Mahalanobis distance of differences (..., m)."""
    return (difference * np.linalg.solve(covariance, difference[..., None])[..., 0]).sum(-1)


def smooth(
    means: np.ndarray,
    covariances: np.ndarray,
    predicted_means: np.ndarray,
    predicted_covariances: np.ndarray,
    transitions: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """Rauch-Tung-Striebel smoother of one filtered sequence.

    Args:
        means: (T, n) after the measurement of each step. covariances: (T, n, n).
        predicted_means, predicted_covariances: of each step before its measurement; those of the first are not used.
        transitions: (T, n, n) into each step; that of the first is not used.
    Returns:
        means (T, n) and covariances (T, n, n) given all measurements.
    """
    means, covariances = means.copy(), covariances.copy()
    # All gains at once: they do not depend on what is smoothed.
    cross = transitions[1:] @ covariances[:-1]
    gains = _transposed(np.linalg.solve(predicted_covariances[1:], cross)) if len(means) > 1 else cross
    for k in range(len(means) - 2, -1, -1):
        gain = gains[k]
        means[k] += gain @ (means[k + 1] - predicted_means[k + 1])
        change = covariances[k + 1] - predicted_covariances[k + 1]
        covariances[k] = symmetric(covariances[k] + gain @ change @ gain.T)
    return means, covariances


def symmetric(matrix: np.ndarray) -> np.ndarray:
    """The symmetric part of matrices (..., n, n): rounding must not add up."""
    return (matrix + _transposed(matrix)) / 2


def _transposed(matrix: np.ndarray) -> np.ndarray:
    return np.swapaxes(matrix, -1, -2)
