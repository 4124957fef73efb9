"""Covariance of a self-calibrated camera: independent vehicles, and what is considered without being estimated.

Letters: J vehicles, G numbers of the camera.
"""

import numpy as np

from d2road.traffic.calibration.evidence import wide_prior
from d2road.traffic.calibration.track_model import OUTLIER, SINK, Linearised

INFLATION = 1.1  # of deviations, chosen on simulated cameras: what the linear covariance leaves out


def sandwich(
    linear: Linearised, known: np.ndarray, free_focal: bool, share: float = 1.0
) -> tuple[np.ndarray, tuple[str, ...]]:
    """(G, G) covariance of the camera from how much single vehicles disagree, and which numbers are left to the prior.

    Args:
        known: (G, G) information of what is no vehicle: priors and other evidence, believed as stated.
        share: of what the vehicles tell that is believed: their errors are that much more alike.
    Source: Huber, The behavior of maximum likelihood estimates under nonstandard conditions, 1967; White, 1982.
    """
    information, gradient = share * linear.reduced.information, np.sqrt(share) * linear.reduced.gradient
    total_information = information.sum(axis=0) + known
    use: np.ndarray = np.ones(len(known), dtype=bool)
    use[0] = free_focal
    bread = np.zeros_like(known)
    bread[np.ix_(use, use)] = np.linalg.inv(total_information[np.ix_(use, use)])
    # A vehicle pulls its own fit towards itself: without it its residual would be larger (HC3, by clusters).
    leverage = np.eye(len(known)) - information @ bread
    alone = np.linalg.solve(leverage, gradient[..., None])[..., 0]
    meat = alone.T @ alone + known
    covariance = bread @ meat @ bread
    # A handful of vehicles that happen to agree prove nothing: never less than what the stated noise allows.
    std, least = np.sqrt(np.diag(covariance)), np.sqrt(np.diag(bread))
    grown = np.maximum(1.0, np.divide(least, std, out=np.ones_like(std), where=std > 0))
    covariance = covariance * np.outer(grown, grown)
    covariance = (covariance + covariance.T) / 2
    names = ("focal length", "pitch", "roll", "height")
    prior = np.diag(wide_prior(1.0).information)[:4]
    left = np.diag(bread)[:4] * prior
    weak = tuple(name for name, part, ok in zip(names, left, use) if ok and part > 0.25 and name != "focal length")
    return covariance, weak


def considered(linear: Linearised, known: np.ndarray, share: float) -> np.ndarray:
    """(G,) by how much the estimate moves for each unit that bottom centres lie too low, which it does not estimate.

    Args:
        known, share: as of `sandwich`.
    Source: Schmidt, Application of state-space methods to navigation problems, 1966 (consider parameters).
    """
    information = share * linear.reduced.information.sum(axis=0) + known
    others = np.arange(len(known)) != SINK
    moves = np.zeros(len(known))
    moves[others] = np.linalg.solve(information[np.ix_(others, others)], information[others, SINK])
    return moves


def robust_loss(residuals: np.ndarray, outlier: float = OUTLIER) -> float:
    """By how much the weights of a robust fit overstate the curvature of its cost: deviations grow by that factor."""
    square = (residuals[residuals != 0] / outlier) ** 2
    return (
        float(np.mean(1 / (1 + square)) / max(np.mean((1 - square) / (1 + square) ** 2), 0.3)) if square.size else 1.0
    )
