"""Tracks on the ground as the trajectory table of `d2road.traffic`: along the road that the camera sees."""

import logging

import numpy as np
import pandas as pd

from d2road.structures.road_axis import RoadAxis
from d2road.traffic.table import Trajectories
from d2road.traffic.tracking.ground_tracks import GroundTracks
from d2road.traffic.vehicle_lengths import length_of_class

logger = logging.getLogger(__name__)
MARGIN_M = 1.5  # beside the outer lanes: those are theirs still
ONE_LANE = "0"


def to_trajectories(tracks: GroundTracks, road: RoadAxis, recording: str) -> Trajectories:
    """Trajectories along a road.

    s is the distance of a vehicle's front along the axis times the nominal direction of its lane, so that it rises in
    that direction; it may be negative. Lanes are named by their index from the right. On a road without lanes all is
    in lane 0 in direction 1.

    Args:
        road: of the camera. recording: the name of the video.
    Returns:
        the rows on the road; those more than MARGIN_M beside its lanes are left out, and counted in the log.
    """
    rows = tracks.rows
    heading = rows["heading"].to_numpy()
    along, offset = road.along_across(rows[["x", "y"]].to_numpy()).T
    lane, direction, on_road = lanes_at(road, offset)
    length = rows["length"].to_numpy()
    usual = rows["cls"].map({name: length_of_class(name) for name in rows["cls"].unique()}).to_numpy(dtype=float)
    length = np.where(length > 0, length, usual)
    # Which way the front points along the nominal direction; one that is not known points as it should.
    facing = np.where(np.isfinite(heading), np.cos(heading - road.heading_rad) * direction, 1.0)
    frame = pd.DataFrame(
        {
            "recording": recording,
            "vehicle": rows["track"].astype(str),
            "cls": rows["cls"],
            "t": rows["t"],
            "s": along * direction + facing * length / 2,
            "lane": lane.astype(str),
            "direction": direction,
            "speed": _nominal_speed(rows, facing, direction, road.heading_rad),
            "acceleration": rows["acceleration"] * np.sign(facing) * np.where(rows["motion"] == "reversing", -1, 1),
            "length": length,
            "width": rows["width"],
        }
    )
    if not on_road.all():
        logger.info("%d of %d rows of tracks are beside the road's lanes and left out", (~on_road).sum(), len(rows))
    return Trajectories.from_frame(frame[on_road])


def lanes_at(road: RoadAxis, offset: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Index of the lane, direction, and whether it is on the road, of offsets (N,) across it."""
    if not len(road.directions):
        return np.full(len(offset), int(ONE_LANE)), np.ones(len(offset), dtype=int), np.ones(len(offset), dtype=bool)
    first, last = road.borders_m[0], road.borders_m[-1]
    on_road = (offset >= first - MARGIN_M) & (offset <= last + MARGIN_M)
    lane = road.lane_of(np.clip(offset, first, last))
    return lane, road.directions[lane], on_road


def _nominal_speed(rows: pd.DataFrame, facing: np.ndarray, direction: np.ndarray, axis: float) -> np.ndarray:
    """(N,) m/s along the nominal direction: by the course, else as the vehicle faces; 0 of what stands."""
    course, speed = rows["course"].to_numpy(), rows["speed"].to_numpy()
    share = np.where(np.isfinite(course), np.cos(course - axis) * direction, facing)
    return np.where(rows["motion"] == "standing", 0.0, speed * share)
