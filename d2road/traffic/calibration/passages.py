"""Passages of vehicles: where each drove across the road, at stations along it. One passage is one piece of evidence,
however many frames it has: those of a jam are alike.

Letters: S stations, V passages.
"""

from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from d2road.structures.road_axis import RoadAxis
from d2road.structures.roadside_camera import RoadsideCamera
from d2road.traffic.tracking.row_table import refuse
from d2road.utils.errors import DataError

TRACK_COLUMNS = ("t", "track", "x", "y")
STATIONS, LEAST_STATIONS = 6, 3
OUTER = 0.02  # share of rows before the first and beyond the last station
FARTHEST_M = 120.0  # from the camera's foot point
GONE_S = 3.0  # a track without rows for so long has ended
WHAT = "tracks"


@dataclass(frozen=True)
class Passages:
    """t (V,): s, of the last row. offsets (V, S): m left of the road axis at the stations, NaN where not seen."""

    t: np.ndarray
    offsets: np.ndarray

    def __len__(self) -> int:
        return len(self.t)


@dataclass(frozen=True)
class Stations:
    """Pieces of the road in view.

    axis: of the road. edges: (S + 1,) m along it, rising.
    """

    axis: RoadAxis
    edges: np.ndarray

    @classmethod
    def of(cls, rows: pd.DataFrame, camera: RoadsideCamera) -> "Stations":
        """Equal pieces of where vehicles are seen, along the camera's road or, without one, along their ways."""
        none = np.zeros(0)
        heading = main_heading(rows) if camera.road is None else camera.road.heading_rad
        axis = RoadAxis(heading, none, none)
        along = axis.along_across(rows[["x", "y"]].to_numpy(float))[:, 0]
        ends = np.quantile(along, [OUTER, 1 - OUTER]) if len(along) else np.array([0.0, 1.0])
        return cls(axis, np.linspace(ends[0], max(ends[1], ends[0] + 1.0), STATIONS + 1))

    @property
    def count(self) -> int:
        """S."""
        return len(self.edges) - 1

    @property
    def middle(self) -> np.ndarray:
        """(S,) m along the axis."""
        return (self.edges[1:] + self.edges[:-1]) / 2

    def sums(self, rows: pd.DataFrame) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Of rows t, track, x, y: tracks (V,), times of their last rows (V,), rows and summed offsets (V, S)."""
        along, offset = self.axis.along_across(rows[["x", "y"]].to_numpy(float)).T
        station = np.searchsorted(self.edges, along, side="right") - 1
        inside = (station >= 0) & (station < self.count)
        names, track = np.unique(rows["track"].to_numpy(), return_inverse=True)
        place, size = track[inside] * self.count + station[inside], len(names) * self.count
        count = np.bincount(place, minlength=size).reshape(len(names), -1)
        total = np.bincount(place, offset[inside], minlength=size).reshape(len(names), -1)
        last = np.full(len(names), -np.inf)
        np.maximum.at(last, track, rows["t"].to_numpy(float))
        return names, last, count, total

    def passages(self, rows: pd.DataFrame) -> Passages:
        """Of whole tracks with LEAST_STATIONS or more, by their ends: who stands, or is no vehicle, makes none."""
        _, last, count, total = self.sums(rows)
        return _passages(last, count, total)


@dataclass
class PassageCollector:
    """Passages of a stream of rows, each once its track has ended; memory is that of the tracks that have not."""

    stations: Stations
    _open: dict[int, tuple[float, np.ndarray, np.ndarray]] = field(default_factory=dict)

    def add(self, rows: pd.DataFrame, now: float) -> Passages:
        """Take rows in; returns what has ended before `now` (s), up to which all rows have come."""
        if len(rows):
            for name, last, count, total in zip(*self.stations.sums(rows)):
                before = self._open.get(int(name))
                if before is not None:
                    last, count, total = max(last, before[0]), count + before[1], total + before[2]
                self._open[int(name)] = float(last), count, total
        gone = [name for name, (last, _, _) in self._open.items() if last <= now - GONE_S]
        ended = [self._open.pop(name) for name in gone]
        if not ended:
            return Passages(np.zeros(0), np.zeros((0, self.stations.count)))
        last, count, total = (np.array(values) for values in zip(*ended))
        return _passages(last, count, total)


def _passages(last: np.ndarray, count: np.ndarray, total: np.ndarray) -> Passages:
    with np.errstate(invalid="ignore"):
        mean = total / np.where(count > 0, count, np.nan)
    keep = (count > 0).sum(axis=1) >= LEAST_STATIONS
    order = np.argsort(last[keep], kind="stable")
    return Passages(last[keep][order], mean[keep][order])


def check_tracks(rows: pd.DataFrame) -> pd.DataFrame:
    """The columns t, track, x, y of tracks on the ground, of rows that were seen where the table says so.

    Raises:
        DataError: columns are missing, or values are not finite.
    """
    missing = [name for name in TRACK_COLUMNS if name not in rows]
    if missing:
        raise DataError(
            f"{WHAT} lack the columns {', '.join(missing)}: expected those that `d2road track` writes (tracks.csv)"
        )
    kept = rows[rows["seen"].astype(bool)] if "seen" in rows else rows
    kept = kept[list(TRACK_COLUMNS)].reset_index(drop=True)
    for name in ("t", "x", "y"):
        refuse(kept, ~np.isfinite(pd.to_numeric(kept[name], errors="coerce")), name, "a finite number", WHAT)
    return kept


def near_rows(rows: pd.DataFrame) -> pd.DataFrame:
    """Rows within FARTHEST_M of the camera's foot point."""
    return rows[np.hypot(rows["x"], rows["y"]) <= FARTHEST_M]


def main_heading(rows: pd.DataFrame) -> float:
    """Heading, rad, along which most vehicles drive, either way; rows: t, track, x, y."""
    ends = rows.sort_values("t", kind="stable").groupby("track")[["x", "y"]].agg(["first", "last"])
    way = [ends[name]["last"] - ends[name]["first"] for name in ("x", "y")]
    twice = (way[0].to_numpy() + 1j * way[1].to_numpy()) ** 2  # of opposite ways the same
    return float(np.angle(twice.sum()) / 2)
