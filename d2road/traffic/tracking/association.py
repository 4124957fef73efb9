"""Assignment of detections to tracks inside their gates."""

import numpy as np
from scipy.optimize import linear_sum_assignment

from d2road.traffic.tracking.kalman import mahalanobis_squared


def assign(costs: np.ndarray, allowed: np.ndarray) -> list[tuple[int, int]]:
    """Pairs (row, column) with the least sum of costs, each row and column in at most one.

    Args:
        costs: (T, D); below 0 where a pair is better than none. Other pairs are never taken.
        allowed: (T, D) bool.
    """
    gains = np.where(allowed & (costs < 0), costs, 0.0)
    rows, columns = linear_sum_assignment(gains)
    return [(int(i), int(j)) for i, j in zip(rows, columns) if gains[i, j] < 0]


def association_costs(
    difference: np.ndarray, covariance: np.ndarray, new_density: float
) -> tuple[np.ndarray, np.ndarray]:
    """Twice the negative log likelihood ratio of "this detection is that track's" to "it is something new".

    Args:
        difference: (T, D, 2) m, of detections to where tracks expect them. covariance: (T, D, 2, 2) of it, m^2.
        new_density: new vehicles and false detections a frame and m^2.
    Returns:
        (T, D) costs, below 0 where it is rather the track's; (T, D) squared Mahalanobis distances.
    """
    distance = mahalanobis_squared(difference, covariance)
    spread = np.log(np.linalg.det(covariance)) + 2 * np.log(2 * np.pi)
    return distance + spread + 2 * np.log(new_density), distance
