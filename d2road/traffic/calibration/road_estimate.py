"""The road of a camera from the vehicles that drive on it: heading, lane borders and the direction of each lane.

Lanes are the peaks of the lateral places of vehicles; a border is half way between two of them. Where the outer lanes
end no vehicle tells: they are taken to be as wide as usual.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from d2road.structures.road_axis import RoadAxis
from d2road.structures.roadside_camera import RoadsideCamera
from d2road.traffic.calibration.lane_paths import ASTRAY_M, BESIDE_M, find_lanes
from d2road.traffic.calibration.passages import Passages, Stations, check_tracks, near_rows
from d2road.utils.errors import DataError

LEAST_PASSAGES = 20
LEAST_IN_LANE, LEAST_SHARE = 4, 0.03  # of all passages, below which a peak is no lane
USUAL_WIDTH_M = 3.5  # of a lane that has no neighbour
TURNS = 2  # of the axis, until vehicles drive along it
WIDE = 1.3  # times the usual width, from which on a strip or a lane without vehicles is told


@dataclass(frozen=True)
class RoadEstimate:
    """road: with its lanes, from the right. vehicles (L,): that each lane is known by. spread_m (L,): standard
    deviations of their lateral places. notes: what the user should know, in words.
    """

    road: RoadAxis
    vehicles: np.ndarray
    spread_m: np.ndarray
    notes: tuple[str, ...]

    def to_text(self) -> str:
        """A line a lane, from the right."""
        widths = np.diff(self.road.borders_m)
        lines = [f"road: heading {np.rad2deg(self.road.heading_rad):.2f} degrees, {len(widths)} lanes from the right:"]
        for number, width in enumerate(widths):
            way = "along" if self.road.directions[number] > 0 else "against"
            middle = self.road.borders_m[number : number + 2].mean()
            lines.append(
                f"  lane {number}: {width:.2f} m wide, middle {middle:+.2f} m to the left of the camera, {way} the "
                f"heading, by {self.vehicles[number]} vehicles that keep within {self.spread_m[number]:.2f} m"
            )
        return "\n".join([*lines, *self.notes])


def estimate_road(rows: pd.DataFrame, camera: RoadsideCamera) -> RoadEstimate:
    """The road of tracks on the ground.

    Args:
        rows: t, track, x, y, as `GroundTracks.rows` has them. camera: that they were lifted with; its own road is not
            looked at.
    Raises:
        DataError: fewer than LEAST_PASSAGES vehicles pass, or they follow no lanes.
    """
    bare = RoadsideCamera(camera.width, camera.height, camera.K, camera.ground, camera.distortion)
    rows = near_rows(check_tracks(rows))
    stations, found = _aligned(rows, Stations.of(rows, bare))
    if len(found) < LEAST_PASSAGES:
        raise DataError(
            f"{len(found)} vehicles pass through the view, expected {LEAST_PASSAGES} or more to tell where the lanes "
            "are: track more of the video, or write `road` into camera.yaml"
        )
    mean = np.nanmean(found.offsets, axis=1)
    keeps = np.nanmax(np.abs(found.offsets - mean[:, None]), axis=1) < ASTRAY_M  # who changes lanes is between two
    if keeps.sum() < LEAST_PASSAGES / 2:
        raise DataError("vehicles do not drive along one straight road: give tracks of one, or write `road` yourself")
    beside = mean[keeps]  # (V,) m
    lanes = find_lanes(beside)
    number = np.abs(beside[:, None] - lanes).argmin(axis=1)
    used = np.bincount(number, minlength=len(lanes)) >= max(LEAST_IN_LANE, LEAST_SHARE * len(beside))
    if not used.any():
        raise DataError("vehicles follow no common lanes: give tracks of one straight road, or write `road` yourself")
    number = np.abs(beside[:, None] - lanes[used]).argmin(axis=1)
    near = np.abs(beside - lanes[used][number]) < BESIDE_M
    members = [beside[near & (number == k)] for k in range(used.sum())]
    middles = np.array([np.median(one) for one in members])  # (L,) from the right
    ways = _ways(rows, stations.axis)
    directions = np.array([_direction(ways, middle) for middle in middles])
    heading, sense = stations.axis.heading_rad, 1
    if (directions * [len(one) for one in members]).sum() < 0:  # the axis points where most drive to
        heading, sense = (heading + 2 * np.pi) % (2 * np.pi) - np.pi, -1
    order = np.arange(len(middles))[::sense]
    middles, directions = sense * middles[order], sense * directions[order]
    members = [members[k] for k in order]
    usual = float(np.median(np.diff(middles))) if len(middles) > 1 else USUAL_WIDTH_M
    inner = (middles[1:] + middles[:-1]) / 2
    borders = np.concatenate([[middles[0] - usual / 2], inner, [middles[-1] + usual / 2]])
    spread = np.array([float(np.std(one)) for one in members])
    return RoadEstimate(
        RoadAxis(float(heading), borders, directions), np.array([len(one) for one in members]), spread,
        _notes(borders, usual, int((~near).sum()), len(beside)),
    )  # fmt: skip


def _aligned(rows: pd.DataFrame, stations: Stations) -> tuple[Stations, Passages]:
    """Stations along the median way of single vehicles, which those that change lanes do not turn."""
    for _ in range(TURNS):
        found = stations.passages(rows)
        seen = np.isfinite(found.offsets)
        along = np.where(seen, stations.middle, np.nan)
        along, offset = (one - np.nanmean(one, axis=1, keepdims=True) for one in (along, found.offsets))
        slopes = np.nansum(along * offset, axis=1) / np.nansum(along**2, axis=1)  # (V,)
        turn = float(np.arctan(np.median(slopes))) if len(slopes) else 0.0
        axis = RoadAxis(stations.axis.heading_rad + turn, stations.axis.borders_m, stations.axis.directions)
        stations = Stations(axis, stations.edges)
    return stations, stations.passages(rows)


def _ways(rows: pd.DataFrame, axis: RoadAxis) -> np.ndarray:
    """(V, 2) mean offset of each track, m, and how far it went along the axis, m."""
    along, offset = axis.along_across(rows[["x", "y"]].to_numpy(float)).T
    ends = rows[["t", "track"]].assign(along=along, offset=offset).sort_values("t", kind="stable").groupby("track")
    went = ends["along"].last() - ends["along"].first()
    return np.stack([ends["offset"].mean().to_numpy(), went.to_numpy()], axis=1)


def _direction(ways: np.ndarray, middle: float) -> int:
    """Where most drive to in a lane: 1 along the axis, -1 against it."""
    return 1 if ways[np.abs(ways[:, 0] - middle) < BESIDE_M, 1].sum() >= 0 else -1


def _notes(borders: np.ndarray, usual: float, beside: int, count: int) -> tuple[str, ...]:
    notes = []
    for number in np.flatnonzero(np.diff(borders) > WIDE * usual):
        notes.append(
            f"lane {number} is wider than others: between it and its neighbour is a strip, or a lane in which nobody "
            "drove; correct its borders in camera.yaml"
        )
    if beside:
        notes.append(f"{beside} of {count} vehicles drive beside all lanes")
    return tuple(notes)
