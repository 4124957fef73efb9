"""Constant velocity on the ground with white acceleration, stronger along the motion than across it.

State: x, y, vx, vy and the part bx, by of the measurement error that stays from frame to frame: a detector sees the
same vehicle under nearly the same angle again and errs alike. A measurement is (x + bx, y + by) plus white noise.
Without that part, a vehicle at 60 m measured ten times a second would look much better known than it is.

Most vehicles keep their speed most of the time, and some brake hard: no one density of the acceleration says how well
the speeds of both are known. So there are two modes, and chances of going from one to the other (`motion_modes`).
"""

from dataclasses import dataclass

import numpy as np

from d2road.traffic.tracking.kalman import predict
from d2road.traffic.tracking.motion_modes import MotionModes, mixed

STATES = 6
OBSERVATION = np.hstack([np.eye(2), np.zeros((2, 2)), np.eye(2)])  # (2, 6)
DIRECTED_SPEED = 1.0  # m/s; a slower vehicle has no direction of motion


@dataclass(frozen=True)
class MotionModel:
    """Options of the model.

    Args:
        acceleration_density: m^2/s^3, spectral density of the acceleration along the motion in a manoeuvre.
        cruise_share: of it, while the vehicle cruises.
        cruise_s, manoeuvre_s: s that it does the one and the other before it changes, on average.
        lateral_density: m^2/s^3, of the acceleration across the motion, always.
        lasting_share: of the variance of a measurement that lasts, 0 to below 1.
        lasting_time: s, after which a lasting error is forgotten to 1/e.
        birth_speed_sd: m/s, along a new vehicle's heading, or in all directions where that is unknown.
        birth_lateral_sd: m/s, across the heading.
    """

    acceleration_density: float = 2.0
    cruise_share: float = 0.02
    cruise_s: float = 10.0
    manoeuvre_s: float = 3.0
    lateral_density: float = 0.3
    lasting_share: float = 0.6
    lasting_time: float = 1.0
    birth_speed_sd: float = 15.0
    birth_lateral_sd: float = 3.0

    def transition(self, dt: float) -> np.ndarray:
        """(6, 6) from a state to the one dt seconds later."""
        matrix = np.eye(STATES)
        matrix[0, 2] = matrix[1, 3] = dt
        matrix[4, 4] = matrix[5, 5] = np.exp(-dt / self.lasting_time)
        return matrix

    @property
    def start_weights(self) -> np.ndarray:
        """(2,) chances of a vehicle of which nothing is known to cruise, and to be in a manoeuvre."""
        return np.array([self.cruise_s, self.manoeuvre_s]) / (self.cruise_s + self.manoeuvre_s)

    def switching(self, dt: float) -> np.ndarray:
        """(2, 2) chances from cruising and from a manoeuvre (rows) to each of them dt seconds later."""
        kept = np.exp(-dt * (1 / self.cruise_s + 1 / self.manoeuvre_s))
        return kept * np.eye(2) + (1 - kept) * self.start_weights

    def process_noise(self, dt: float, means: np.ndarray, noise: np.ndarray, share: float = 1.0) -> np.ndarray:
        """(N, 6, 6) covariances of the process noise over dt seconds.

        Args:
            means: (N, 6) states at the beginning. noise: (N, 2, 2) covariance of a measurement there.
            share: of the acceleration along the motion in a manoeuvre.
        """
        density = directed(means[:, 2:4], share * self.acceleration_density, self.lateral_density)
        matrix = np.zeros((len(means), STATES, STATES))
        matrix[:, :2, :2] = density * dt**3 / 3
        matrix[:, :2, 2:4] = matrix[:, 2:4, :2] = density * dt**2 / 2
        matrix[:, 2:4, 2:4] = density * dt
        matrix[:, 4:, 4:] = self._lasting * (1 - np.exp(-2 * dt / self.lasting_time)) * noise
        return matrix

    def predicted(self, modes: MotionModes, noise: np.ndarray, dt: float) -> tuple[MotionModes, np.ndarray]:
        """States (T tracks, 2 modes) dt seconds later, and the transition (6, 6).

        Args:
            noise: (T, 2, 2) covariance of a measurement there.
        """
        transition, before = self.transition(dt), mixed(modes, self.switching(dt))
        process = [
            self.process_noise(dt, before.means[:, mode], noise, share)
            for mode, share in enumerate((self.cruise_share, 1.0))
        ]
        after = predict(before.means, before.covariances, transition, np.stack(process, axis=1))
        return MotionModes(before.weights, *after), transition

    @property
    def _lasting(self) -> float:
        """The lasting share, never quite 0: covariances stay positive definite."""
        return max(self.lasting_share, 1e-6)

    def white(self, noise: np.ndarray) -> np.ndarray:
        """The part of covariances of measurements (..., 2, 2) that is new in each frame."""
        return (1 - self.lasting_share) * noise

    def born(self, position: np.ndarray, noise: np.ndarray, heading: float) -> tuple[np.ndarray, np.ndarray]:
        """State (6,) and covariance (6, 6) from a first measurement.

        Nothing is known of the way that the vehicle goes along its heading, so that a heading off by pi does no harm.

        Args:
            position: (2,). noise: (2, 2), its covariance. heading: rad, NaN where unknown.
        """
        mean = np.concatenate([position, np.zeros(4)])
        covariance = np.zeros((STATES, STATES))
        lasting = self._lasting * noise
        covariance[:2, :2] = noise
        covariance[:2, 4:] = covariance[4:, :2] = -lasting
        covariance[4:, 4:] = lasting
        axis = np.array([[np.cos(heading), np.sin(heading)]]) if np.isfinite(heading) else np.zeros((1, 2))
        lateral = self.birth_lateral_sd if np.isfinite(heading) else self.birth_speed_sd
        covariance[2:4, 2:4] = directed(DIRECTED_SPEED * axis, self.birth_speed_sd**2, lateral**2)[0]
        return mean, covariance


def directed(velocities: np.ndarray, along: float, across: float) -> np.ndarray:
    """(N, 2, 2) matrices with eigenvalue `along` in the directions of velocities (N, 2), `across` at right angles.

    Velocities too small to tell a direction get `along` both ways.
    """
    speed = np.linalg.norm(velocities, axis=1)
    known = speed >= DIRECTED_SPEED * (1 - 1e-9)
    unit = np.where(known[:, None], velocities / np.where(known, speed, 1)[:, None], 0)
    outer = unit[:, :, None] * unit[:, None, :]
    least = np.where(known, across, along)[:, None, None]
    return least * np.eye(2) + (along - least) * outer
