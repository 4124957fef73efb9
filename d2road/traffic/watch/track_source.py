"""Tracks of a camera as a stream of trajectories: those of a file, and those of a tracker that runs, in one way."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from d2road.traffic.data_quality import QualityReport
from d2road.traffic.table import Trajectories
from d2road.traffic.time_space.window_grid import Tick
from d2road.traffic.tracking.ground_tracks import GroundTracks, concat
from d2road.traffic.tracking.road_trajectories import to_trajectories

if TYPE_CHECKING:  # its package loads torch
    from d2road.structures.road_axis import RoadAxis


class TrackSource:
    """Chunks of trajectories of ground tracks.

    Args:
        name: of the recording, and in messages.
        blocks: tracks in order of time; a Tick says that nothing more comes up to its instant.
        road: that the camera sees.
    """

    def __init__(self, name: str, blocks: Iterable[GroundTracks | Tick], road: RoadAxis):
        self.path, self.name, self.blocks, self.road = Path(name), Path(name).stem or name, blocks, road
        self.problems = QualityReport()

    def chunks(self, seconds: float) -> Iterator[Trajectories | Tick]:
        """See `ChunkSource`; an instant is given out once something later, or a Tick, says that it is complete."""
        held: list[GroundTracks] = []
        for block in self.blocks:
            if isinstance(block, Tick):
                yield from self._ready(held, block.t, after=True)
                yield block
            elif len(block):
                held.append(block)
                first, last = (float(one.rows["t"].iloc[i]) for one, i in ((held[0], 0), (block, -1)))
                if last - first > seconds:
                    yield from self._ready(held, last, after=False)
        yield from self._ready(held, np.inf, after=True)

    def _ready(self, held: list[GroundTracks], t: float, after: bool) -> Iterator[Trajectories]:
        """The rows before an instant, and with `after` those at it; the rest stays held."""
        if not held:
            return
        rows = concat(held).rows
        times = rows["t"].to_numpy()
        ready = times <= t if after else times < t
        held[:] = [] if ready.all() else [GroundTracks(rows[~ready].reset_index(drop=True))]
        if not ready.any():
            return
        given = GroundTracks(rows[ready].reset_index(drop=True))
        table = to_trajectories(given, self.road, self.name)
        self.problems.rows += len(given)
        self.problems.kept += len(table)
        if len(table):
            yield table
