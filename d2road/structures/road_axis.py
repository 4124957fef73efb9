"""A straight road in the ground frame of a camera: its axis, lane borders and the nominal direction of each lane."""

from dataclasses import dataclass

import numpy as np

from d2road.utils.errors import DataError


@dataclass(frozen=True)
class RoadAxis:
    """A straight road.

    The axis passes through the camera's foot point. Along it: s, m, growing in its heading; across it: offset, m,
    growing to the left of the heading.

    Args:
        heading_rad: of the axis in the ground frame, from +X towards +Y.
        borders_m: (L + 1,) offsets of the borders of L lanes, rising; empty where no lanes are known.
        directions: (L,) nominal driving direction of each lane: 1 along the heading, -1 against it.
    Raises:
        DataError: borders that do not rise, or other counts or directions.
    """

    heading_rad: float
    borders_m: np.ndarray
    directions: np.ndarray

    def __post_init__(self) -> None:
        borders = np.asarray(self.borders_m, dtype=np.float64).reshape(-1)
        directions = np.asarray(self.directions, dtype=np.int64).reshape(-1)
        if not np.isfinite(borders).all() or (np.diff(borders) <= 0).any() or not np.isfinite(self.heading_rad):
            raise DataError(f"lane borders are offsets in m that rise, from right to left; got {borders.tolist()}")
        if len(directions) != max(len(borders) - 1, 0) or not np.isin(directions, (-1, 1)).all():
            raise DataError(
                f"{len(borders)} lane borders need {max(len(borders) - 1, 0)} directions of 1 (along the axis) or -1 "
                f"(against it), got {directions.tolist()}"
            )
        object.__setattr__(self, "borders_m", borders)
        object.__setattr__(self, "directions", directions)

    def along_across(self, xy: np.ndarray) -> np.ndarray:
        """(..., 2) s and offset, m, of points (..., 2) of the ground frame."""
        return np.asarray(xy, dtype=np.float64) @ self._axes().T

    def to_ground(self, along_across: np.ndarray) -> np.ndarray:
        """(..., 2) points of the ground frame; inverse of `along_across`."""
        return np.asarray(along_across, dtype=np.float64) @ self._axes()

    def lane_of(self, offset_m: np.ndarray) -> np.ndarray:
        """(...,) index of the lane that holds an offset, counted from the right-most; -1 outside of all."""
        offset = np.asarray(offset_m, dtype=np.float64)
        if not len(self.borders_m):
            return np.full(offset.shape, -1)
        lane = np.searchsorted(self.borders_m, offset, side="right") - 1
        inside = (offset >= self.borders_m[0]) & (offset <= self.borders_m[-1])
        return np.where(inside, np.minimum(lane, len(self.directions) - 1), -1)

    def _axes(self) -> np.ndarray:
        """(2, 2) rows: unit vectors along and across."""
        cos, sin = np.cos(self.heading_rad), np.sin(self.heading_rad)
        return np.array([[cos, sin], [-sin, cos]])
