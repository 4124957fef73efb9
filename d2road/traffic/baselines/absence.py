"""Vehicles that are not seen though they should be there: gaps in tracks, and tracks that begin or end on the road.

The rules of the second version look at the samples inside of a window; a vehicle that stands at its edge is then now in
and now out by the noise of its position alone, and seems lost for seconds, which in jams gave most of their false
alarms. Here tracks are whole, and a window asks only what of their gaps lies in it.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from d2road.traffic.baselines.vehicle_features import STOPPED, sampling_delay

EDGE_M = 3.0  # near the ends of what is seen, a position may be on either side of them by its noise
SHORTEST_S = 0.45


@dataclass(frozen=True)
class Absences:
    """Gaps of tracks (G,): vehicle, t and s of the samples around, and speed; NaN where there is no sample.

    delay: s, of each gap the part that is the source's coarseness.
    """

    vehicle: np.ndarray
    left_t: np.ndarray
    left_s: np.ndarray
    back_t: np.ndarray
    back_s: np.ndarray
    speed: np.ndarray
    delay: float = 0.0

    def longest(self, t0: float, t1: float, s0: float, s1: float) -> tuple[np.ndarray, np.ndarray]:
        """Vehicles' numbers (G,) and the seconds (G,) that each gap takes from a window."""
        left_in = (self.left_t >= t0) & (self.left_t < t1) & _well_inside(self.left_s, s0, s1)
        back_in = (self.back_t >= t0) & (self.back_t < t1) & _well_inside(self.back_s, s0, s1)
        # Without the other end it is there as long as a vehicle of its speed would be.
        gone = self.left_t + _travel(self.left_s, s0, s1, self.speed)
        come = self.back_t - _travel(self.back_s, s0, s1, -self.speed)
        known = np.isfinite(self.left_t) & np.isfinite(self.back_t)
        end = np.where(known, np.fmin(self.back_t, t1), np.where(left_in, np.fmin(gone, t1), self.back_t))
        begin = np.where(known, np.fmax(self.left_t, t0), np.where(back_in, np.fmax(come, t0), self.left_t))
        return self.vehicle, np.where(left_in | back_in, np.fmax(end - begin - self.delay, 0.0), 0.0)


def find_absences(samples: pd.DataFrame) -> Absences:
    """The gaps of all tracks of samples as `sorted_samples` gives them; what lies before and after is not seen."""
    vehicle, t, s, speed = (samples[name].to_numpy() for name in ("vehicle", "t", "s", "speed"))
    new = np.diff(vehicle, prepend=-1) != 0
    first = np.flatnonzero(new)
    last = np.append(first[1:], len(vehicle))[: len(first)] - 1
    delay = sampling_delay(t, ~new[1:])
    back = np.flatnonzero(~new & (np.diff(t, prepend=-np.inf) > SHORTEST_S + delay))
    none = np.full(len(first), np.nan)
    return Absences(
        np.concatenate([vehicle[back], vehicle[first], vehicle[last]]),
        np.concatenate([t[back - 1], none, t[last]]),
        np.concatenate([s[back - 1], none, s[last]]),
        np.concatenate([t[back], t[first], none]),
        np.concatenate([s[back], s[first], none]),
        np.concatenate([speed[back - 1], speed[first], speed[last]]),
        delay,
    )


def _well_inside(s: np.ndarray, s0: float, s1: float) -> np.ndarray:
    return (s > s0 + EDGE_M) & (s < s1 - EDGE_M)


def _travel(s: np.ndarray, s0: float, s1: float, speed: np.ndarray) -> np.ndarray:
    """Seconds to the edge of a window."""
    return np.where(speed >= 0, s1 - s, s - s0) / np.maximum(np.abs(speed), STOPPED)
