"""Rasterization along time: where each vehicle is at the instants of the columns of an image."""

from dataclasses import dataclass

import numpy as np

from d2road.traffic.continuity import are_steps
from d2road.traffic.table import Trajectories

# Of a column: times such as 0.1 * 3 are not quite on the grid that they were meant for.
ON_GRID = 1e-4


@dataclass(frozen=True)
class VehicleSegments:
    """A vertical segment for each vehicle and column, arrays of one length N."""

    column: np.ndarray  # int, 0 at t0
    front: np.ndarray  # m, s of the vehicle's front at the column's instant
    length: np.ndarray  # m
    speed: np.ndarray  # m/s
    acceleration: np.ndarray  # m/s^2, NaN where unknown
    row: np.ndarray  # int, row of the table that the segment begins from: its vehicle and lane

    def where(self, keep: np.ndarray) -> "VehicleSegments":
        """The segments at which a boolean array (N,) is set."""
        return VehicleSegments(*(getattr(self, name)[keep] for name in self.__dataclass_fields__))


def rasterize(table: Trajectories, t0: float, columns: int, dt: float, max_gap: float | None = None) -> VehicleSegments:
    """Rasterize the vehicles of one recording at the instants t0 + i dt, i = 0 .. columns - 1.

    Between two samples of a vehicle, position, speed and acceleration are interpolated linearly, unless the samples
    are further apart than `max_gap`, of different directions, or further apart along the road than a vehicle can
    have driven (continuity.py): then it is missing there. Before and after its samples a vehicle stays for half a
    column, so that a single sample off the grid is seen too. Lane and length are those of the sample before.

    Args:
        table: of one recording; samples up to max_gap before and after the columns count.
        t0, dt: seconds.
        max_gap: seconds; None takes 1.5 times the usual interval between samples, or 1.5 dt where that is longer, so
            that a single missing sample of data at dt leaves a gap.
    """
    frame = table.frame
    vehicle, t = frame["vehicle"].cat.codes.to_numpy(), frame["t"].to_numpy()
    order = np.argsort(vehicle, kind="stable")  # rows are sorted by time already
    vehicle, t = vehicle[order], t[order]
    position = (t - t0) / dt  # in columns
    step = np.diff(t)
    same = vehicle[1:] == vehicle[:-1]
    if max_gap is None:
        max_gap = 1.5 * max(dt, float(np.median(step[same])) if same.any() else 0.0)
    linked = same & (step <= max_gap + ON_GRID * dt)
    direction = frame["direction"].to_numpy()[order]
    linked &= direction[1:] == direction[:-1]
    linked &= are_steps(t, frame["s"].to_numpy()[order], frame["speed"].to_numpy()[order])

    # A sample speaks for the columns [first, last): up to the next one it is linked with, else for half a column.
    first = np.ceil(position - ON_GRID)
    last = np.floor(position + 0.5 + ON_GRID) + 1
    last[:-1] = np.where(linked, first[1:], last[:-1])
    begins = np.ones(len(t), dtype=bool)
    begins[1:] = ~linked
    first = np.where(begins, np.ceil(position - 0.5 - ON_GRID), first)
    first, last = np.clip(first, 0, columns).astype(int), np.clip(last, 0, columns).astype(int)

    counts = np.maximum(last - first, 0)
    sample = np.repeat(np.arange(len(t)), counts)
    column = np.arange(len(sample)) - np.repeat(np.cumsum(counts) - counts, counts) + first[sample]
    after = sample + np.append(linked, False)[sample]
    length = position[after] - position[sample]
    weight = np.clip((column - position[sample]) / np.where(length > 0, length, 1), 0, 1) * (length > 0)

    def between(name: str) -> np.ndarray:
        values = frame[name].to_numpy()[order]
        return values[sample] + weight * (values[after] - values[sample])

    return VehicleSegments(
        column,
        between("s"),
        frame["length"].to_numpy()[order[sample]],
        between("speed"),
        between("acceleration"),
        order[sample],
    )
