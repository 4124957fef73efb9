"""Intelligent Driver Model: the acceleration of a driver who follows another one, with parameters fitted to traffic.

Source: Treiber, Hennecke, Helbing, Congested traffic states in empirical observations and microscopic simulations,
Phys. Rev. E 62 (2000), Eq. 1 to 3.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.optimize import least_squares

from d2road.traffic.baselines.driving_states import STATE_FEATURES
from d2road.utils.errors import DataError
from d2road.utils.values import as_number, number_rows

LONG_M = 7.5  # vehicles at least so long have parameters of their own
FEWEST, MOST = 100, 30_000  # seconds of driving that one set of parameters is fitted to
# desired speed m/s, time gap s, standing gap m, acceleration and comfortable braking m/s^2
START = (32.0, 1.2, 2.0, 1.2, 2.5)
BOUNDS = ((15.0, 0.3, 0.5, 0.3, 0.5), (60.0, 3.0, 6.0, 4.0, 6.0))
LIMITS = (-9.0, 5.0)  # m/s^2
NEAREST_M = 0.5
TYPICAL_ERROR = 0.2  # m/s^2; what is far beyond weighs less
COLUMNS = tuple(STATE_FEATURES.index(name) for name in ("speed", "length", "gap", "closing"))


def idm_acceleration(parameters: np.ndarray, speed: np.ndarray, gap: np.ndarray, closing: np.ndarray) -> np.ndarray:
    """(M,) m/s^2.

    Args:
        parameters: (5,) as START.
        speed: (M,) m/s; gap: (M,) m; closing: (M,) m/s by which the vehicle ahead is slower.
    """
    desired, headway, standing, acceleration, braking = parameters
    forwards = np.maximum(speed, 0.0)
    wanted = standing + np.maximum(forwards * (headway + closing / (2 * np.sqrt(acceleration * braking))), 0.0)
    free = 1 - (forwards / desired) ** 4
    return np.clip(acceleration * (free - (wanted / np.maximum(gap, NEAREST_M)) ** 2), *LIMITS)


@dataclass(frozen=True)
class CarFollowing:
    """Parameters of the mean driver of short and of long vehicles; (5,) each."""

    short: np.ndarray
    long: np.ndarray

    @classmethod
    def fit(cls, states: np.ndarray, acceleration: np.ndarray, seed: int = 0) -> "CarFollowing":
        """Fit to seconds of good driving by least squares with a soft loss.

        Args:
            states: (M, F) columns STATE_FEATURES. acceleration: (M,) m/s^2 to the next second, finite.
        Raises:
            DataError: fewer than 100 seconds.
        """
        if len(states) < FEWEST:
            raise DataError(f"car following is fitted to {len(states)} seconds of driving; expected {FEWEST} or more")
        length = states[:, COLUMNS[1]]
        short = _fit(states[length < LONG_M], acceleration[length < LONG_M], seed)
        long = _fit(states[length >= LONG_M], acceleration[length >= LONG_M], seed)
        either = short if short is not None else long if long is not None else _fit(states, acceleration, seed)
        assert either is not None, "there are enough of all together"
        return cls(either if short is None else short, either if long is None else long)

    def predict(self, states: np.ndarray) -> np.ndarray:
        """(M,) m/s^2 to the next second."""
        speed, length, gap, closing = states[:, COLUMNS].astype(float).T
        both = (idm_acceleration(one, speed, gap, closing) for one in (self.long, self.short))
        return np.where(length >= LONG_M, *both)

    def to_json(self) -> dict[str, list[list[float]]]:
        """The parameters, for `from_json`."""
        return {"drivers": [self.short.tolist(), self.long.tolist()]}

    @classmethod
    def from_json(cls, values: Mapping[str, Any], source: str) -> "CarFollowing":
        """What `to_json` wrote; source: where it stands, for messages.

        Raises:
            DataError: these are no such parameters.
        """
        drivers = number_rows(values, "drivers", len(START), source)
        if len(drivers) != 2:
            raise DataError(f"{source} has {len(drivers)} drivers, expected those of short and of long vehicles")
        for driver in drivers:
            for value, low, high in zip(driver, *BOUNDS):
                as_number(value, f"{source}: a parameter", low, high)
        return cls(*np.array(drivers))


def _fit(states: np.ndarray, acceleration: np.ndarray, seed: int) -> np.ndarray | None:
    """Parameters (5,); None for fewer than FEWEST seconds."""
    if len(states) < FEWEST:
        return None
    if len(states) > MOST:
        chosen = np.random.default_rng(seed).choice(len(states), MOST, replace=False)
        states, acceleration = states[chosen], acceleration[chosen]
    speed, _, gap, closing = states[:, COLUMNS].astype(float).T
    return least_squares(
        lambda parameters: idm_acceleration(parameters, speed, gap, closing) - acceleration,
        START, bounds=BOUNDS, loss="soft_l1", f_scale=TYPICAL_ERROR,
    ).x  # fmt: skip
