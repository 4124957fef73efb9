"""From velocities with covariances to speed, course and their standard deviations, and what is said of the motion."""

import numpy as np

STANDING = 0.5  # m/s
KNOWN = 0.8  # m/s, standard deviation up to which a velocity is well enough known to say so
CHI2_95 = 5.991  # of two degrees of freedom


def speed_and_course(
    velocity: np.ndarray, covariance: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Speed, its standard deviation, course and its standard deviation.

    Args:
        velocity: (N, 2) m/s. covariance: (N, 2, 2).
    Returns:
        four arrays (N,), m/s and rad. The deviation of the speed is that along the course; of a course at most that
        of no knowledge, pi / sqrt(3).
    """
    speed = np.linalg.norm(velocity, axis=1)
    course = np.arctan2(velocity[:, 1], velocity[:, 0])
    along = np.stack([np.cos(course), np.sin(course)], axis=1)
    across = np.stack([-along[:, 1], along[:, 0]], axis=1)
    speed_sd = np.sqrt(np.einsum("ni,nij,nj->n", along, covariance, along))
    lateral_sd = np.sqrt(np.einsum("ni,nij,nj->n", across, covariance, across))
    return speed, speed_sd, course, np.minimum(np.arctan2(lateral_sd, speed), np.pi / np.sqrt(3))


def is_moving(velocity: np.ndarray, covariance: np.ndarray) -> np.ndarray:
    """(N,) bool: faster than STANDING, and not by chance: zero velocity is outside the 95 % ellipse."""
    away = (velocity * np.linalg.solve(covariance, velocity[..., None])[..., 0]).sum(-1)
    return (np.linalg.norm(velocity, axis=1) > STANDING) & (away > CHI2_95)


def is_standing(velocity: np.ndarray, covariance: np.ndarray) -> np.ndarray:
    """(N,) bool: does not move, and so well measured that it would be known."""
    return ~is_moving(velocity, covariance) & (np.linalg.eigvalsh(covariance)[:, -1] < KNOWN**2)
