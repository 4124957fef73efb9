"""Vehicles of an alarm: the one that it is about, and those near it at its instant."""

from dataclasses import dataclass

import numpy as np

from d2road.traffic.baselines.explanation import Explanation
from d2road.traffic.table import Trajectories

NEAR_M = 30.0  # others that are named beside the vehicle of an alarm
AROUND_S = 0.5


@dataclass(frozen=True)
class AlarmVehicle:
    """A vehicle at the instant of an alarm.

    track: its name; s_m: of its front along the road, as trajectories have it; speed_kmh: along the nominal direction;
    culprit: whether the alarm is about it.
    """

    track: str
    cls: str
    lane: str
    s_m: float
    speed_kmh: float
    length_m: float
    culprit: bool


def vehicles_near(table: Trajectories, direction: int, why: Explanation) -> tuple[AlarmVehicle, ...]:
    """The vehicle of an explanation and those within NEAR_M of it at its instant: the culprit first, then by s."""
    frame = table.frame
    t = frame["t"].to_numpy()
    own = (frame["vehicle"] == why.vehicle).to_numpy()
    here = (frame["direction"].to_numpy() == direction) & (np.abs(t - why.t) <= AROUND_S)
    if not (own & here).any():
        here = own  # its samples leave a gap at that instant
    candidates = frame[here].assign(gap=np.abs(t[here] - why.t))
    nearest = candidates.sort_values("gap", kind="stable").drop_duplicates("vehicle")
    near = nearest[np.abs(nearest["s"].to_numpy() - why.s) <= NEAR_M]
    near = nearest[nearest["vehicle"] == why.vehicle] if not len(near) else near
    found = [
        AlarmVehicle(
            str(row.vehicle), str(row.cls), str(row.lane), round(float(row.s), 2), round(3.6 * float(row.speed), 1),
            round(float(row.length), 2), str(row.vehicle) == why.vehicle,
        )
        for row in near.itertuples()
    ]  # fmt: skip
    return tuple(sorted(found, key=lambda one: (not one.culprit, one.s_m)))
