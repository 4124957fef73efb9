"""Parameters of the model of seeing: how detector and tracker together see vehicles at a distance from a camera.

    detected      logit p = detect[0] + detect[1] d/50 + detect[2] (d/50)^2 + detect[3] (1 - visible share)
    position      standard deviations r[0] + r[1] (d/50)^2 along the ray and a[0] + a[1] d/50 across it, m
    speed         v[0] + v[1] (d/50)^2, m/s
    all errors    are first-order autoregressive with one time constant, and normal

d is the distance from the camera's foot point in m. Errors along the ray grow with its square as those of a pixel do.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np

from d2road.utils.errors import DataError
from d2road.utils.values import as_list, as_number

SCALE_M = 50.0


@dataclass(frozen=True)
class SeeingModel:
    """How a detector and tracker see.

    Args:
        detect: logit of the probability of a detection in a frame, see the module.
        radial, across: coefficients of the standard deviations of positions, m. speed: of speeds, m/s.
        correlation_s: time constant of errors.
        birth_s: mean time from the first detection to a confirmed track.
        bridge_s: gaps of detections up to this are bridged by the tracker; a longer one ends the track.
        switches_per_hour: id switches an hour of a track's life.
        ghosts_per_hour, ghost_s: tracks of nothing an hour, and how long they live in the mean.
        length: relative standard deviation of a track's length.
    Raises:
        DataError: a number is not finite, negative where it must not be, or a list has another length.
    """

    detect: tuple[float, ...] = (4.0, 0.0, -1.0, -6.0)
    radial: tuple[float, ...] = (0.15, 0.45)
    across: tuple[float, ...] = (0.08, 0.10)
    speed: tuple[float, ...] = (0.25, 0.35)
    correlation_s: float = 0.5
    birth_s: float = 0.3
    bridge_s: float = 2.0
    switches_per_hour: float = 20.0
    ghosts_per_hour: float = 2.0
    ghost_s: float = 0.8
    length: float = 0.06

    def __post_init__(self) -> None:
        for name, count in (("detect", 4), ("radial", 2), ("across", 2), ("speed", 2)):
            values = getattr(self, name)
            if len(values) != count or not np.isfinite(values).all() or (name != "detect" and min(values) < 0):
                raise DataError(f"model of seeing: {name} is {values}, expected {count} numbers, of deviations from 0")
        for one in fields(self)[4:]:
            value = getattr(self, one.name)
            if not (np.isfinite(value) and value >= 0):
                raise DataError(f"model of seeing: {one.name} is {value}, expected 0 or more")

    def detection_probability(self, distance_m: np.ndarray, share: np.ndarray) -> np.ndarray:
        """(N,) that a vehicle is detected in a frame; 0 where nothing of it is seen."""
        z = distance_m / SCALE_M
        logit = self.detect[0] + self.detect[1] * z + self.detect[2] * z**2 + self.detect[3] * (1 - share)
        return np.where(share > 0, 1 / (1 + np.exp(-logit)), 0.0)

    def radial_sd(self, distance_m: np.ndarray) -> np.ndarray:
        """(N,) m, along the ray from the camera's foot point."""
        return self.radial[0] + self.radial[1] * (distance_m / SCALE_M) ** 2

    def across_sd(self, distance_m: np.ndarray) -> np.ndarray:
        """(N,) m, across the ray."""
        return self.across[0] + self.across[1] * distance_m / SCALE_M

    def speed_sd(self, distance_m: np.ndarray) -> np.ndarray:
        """(N,) m/s."""
        return self.speed[0] + self.speed[1] * (distance_m / SCALE_M) ** 2

    def to_json(self) -> dict[str, Any]:
        """All parameters by name."""
        return {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()}

    @classmethod
    def from_json(cls, values: Mapping[str, Any], source: str) -> SeeingModel:
        """Parameters that `to_json` wrote.

        Raises:
            DataError: they are no such parameters; `source` says where they stand.
        """
        names = [one.name for one in fields(cls)]
        if set(values) != set(names):
            raise DataError(f"{source} holds {', '.join(values)}; a model of seeing has {', '.join(names)}")
        found: dict[str, Any] = {}
        for name in names:
            value, place = values[name], f"{source}: {name!r}"
            several = isinstance(value, list)
            found[name] = (
                tuple(as_number(one, place) for one in as_list(value, place)) if several else as_number(value, place)
            )
        return cls(**found)
