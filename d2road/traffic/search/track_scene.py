"""Tracks of a recording as arrays that conditions are evaluated on: motion, place on the road and in the image."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from d2road.traffic.search.sentence_words import meanings_of
from d2road.traffic.tracking.ground_tracks import GroundTracks
from d2road.traffic.tracking.road_trajectories import lanes_at
from d2road.traffic.tracking.track_text import image_boxes
from d2road.utils.errors import DataError

if TYPE_CHECKING:  # its package loads torch
    from d2road.structures.road_axis import RoadAxis
    from d2road.structures.roadside_camera import RoadsideCamera

TREND_S = 1.0  # before and after an instant, over which a change of speed is measured
GAP_S = 1.0  # without a row of a track, after which it is another stretch of it


@dataclass(frozen=True)
class TrackScene:
    """Rows of tracks, sorted by track and time; all arrays (N,) unless said otherwise. Made by `of`.

    Args:
        camera: of the recording, with its road where that is known.
        frame, t (s), track, cls, x, y (m), heading (rad, NaN unknown), speed, speed_sd (m/s), motion, length, width (m,
            NaN unknown), score, seen: as `GroundTracks` has them.
        boxes: (N, 4) x1 y1 x2 y2 in the image.
    """

    camera: RoadsideCamera
    frame: np.ndarray
    t: np.ndarray
    track: np.ndarray
    cls: np.ndarray
    x: np.ndarray
    y: np.ndarray
    heading: np.ndarray
    speed: np.ndarray
    speed_sd: np.ndarray
    motion: np.ndarray
    length: np.ndarray
    width: np.ndarray
    score: np.ndarray
    seen: np.ndarray
    boxes: np.ndarray

    @classmethod
    def of(cls, tracks: GroundTracks, camera: RoadsideCamera) -> TrackScene:
        """The scene of a table of tracks."""
        rows = tracks.rows.sort_values(["track", "t"], kind="stable", ignore_index=True)
        plain = {
            name: rows[name].to_numpy()
            for name in ("frame", "t", "track", "cls", "x", "y", "heading", "speed", "speed_sd", "motion", "length",
                         "width", "score", "seen")
        }  # fmt: skip
        boxes = image_boxes(GroundTracks(rows), camera)
        return cls(camera, boxes=boxes, **plain)

    def __len__(self) -> int:
        return len(self.t)

    @cached_property
    def meanings(self) -> dict[str, tuple[str, ...]]:
        """Which classes each name of a class may mean."""
        return meanings_of(sorted(set(self.cls)))

    def is_class(self, names: Collection[str]) -> np.ndarray:
        """(N,) bool: of a class that may be one of these."""
        return np.isin(self.cls, [name for name, meant in self.meanings.items() if set(meant) & set(names)])

    def is_surely(self, names: Collection[str]) -> np.ndarray:
        """(N,) bool: of a class that is one of these for sure."""
        return np.isin(self.cls, [name for name, meant in self.meanings.items() if set(meant) <= set(names)])

    @cached_property
    def stretches(self) -> list[slice]:
        """Rows of one track without a gap of GAP_S."""
        if not len(self):
            return []
        cut = (np.diff(self.track) != 0) | (np.diff(self.t) > GAP_S)
        borders = np.concatenate([[0], np.flatnonzero(cut) + 1, [len(self)]])
        return [slice(int(a), int(b)) for a, b in pairwise(borders)]

    @cached_property
    def instants(self) -> list[np.ndarray]:
        """Indices of the rows of each instant, in order of time."""
        order = np.argsort(self.t, kind="stable")
        return np.split(order, np.flatnonzero(np.diff(self.t[order])) + 1) if len(self) else []

    @property
    def distance(self) -> np.ndarray:
        """m over the ground from the point below the camera."""
        return np.hypot(self.x, self.y)

    @property
    def road(self) -> RoadAxis:
        """The road. Raises DataError where the camera knows none, or no lanes."""
        road = self.camera.road
        if road is None or not len(road.directions):
            raise DataError(
                "the sentence speaks of lanes, and the calibration knows none: give the road's heading and lane "
                "borders (`road` in camera.yaml)"
            )
        return road

    @cached_property
    def _road_place(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Index of the lane, -1 beside the road; its direction; m along the road in that direction."""
        along, offset = self.road.along_across(np.stack([self.x, self.y], axis=-1)).T
        lane, direction, on_road = lanes_at(self.road, offset)
        return np.where(on_road, lane, -1), direction, along * direction

    @property
    def lane(self) -> np.ndarray:
        """Index of the lane counted from the right of the road's axis, -1 beside the road."""
        return self._road_place[0]

    @property
    def direction(self) -> np.ndarray:
        """1 in lanes along the road's axis, -1 in those against it."""
        return self._road_place[1]

    @property
    def along(self) -> np.ndarray:
        """m along the road in the direction of the lane."""
        return self._road_place[2]

    @cached_property
    def from_right(self) -> np.ndarray:
        """Number of the lane among those of its direction, from 0 at the driver's right; -1 beside the road."""
        rank = np.zeros(len(self), dtype=int)
        for way in (1, -1):
            lanes = np.flatnonzero(self.road.directions == way)[::way]
            for place, lane in enumerate(lanes):
                rank[self.lane == lane] = place
        return np.where(self.lane < 0, -1, rank)

    @cached_property
    def lane_count(self) -> np.ndarray:
        """Lanes of the direction of each row's lane."""
        return np.where(self.direction == 1, (self.road.directions == 1).sum(), (self.road.directions == -1).sum())

    @cached_property
    def trend(self) -> np.ndarray:
        """m/s^2: how the speed changes from TREND_S before an instant to TREND_S after it."""
        change = np.zeros(len(self))
        for rows in self.stretches:
            t, speed = self.t[rows], self.speed[rows]
            late, early = np.minimum(t + TREND_S, t[-1]), np.maximum(t - TREND_S, t[0])
            change[rows] = (np.interp(late, t, speed) - np.interp(early, t, speed)) / np.maximum(late - early, TREND_S)
        return change

    @cached_property
    def usual_speed(self) -> float:
        """m/s, the median of all that moves; 0 where nothing does."""
        moving = self.motion == "moving"
        return float(np.median(self.speed[moving])) if moving.any() else 0.0
