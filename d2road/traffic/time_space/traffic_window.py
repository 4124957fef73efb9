"""A stretch of road for some time: its vehicles and, for what looks at it, its time-space image."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import groupby

import numpy as np

from d2road.traffic.table import Trajectories
from d2road.traffic.time_space.render import TimeSpaceRenderer
from d2road.traffic.time_space.window_grid import GridWindow


@dataclass(frozen=True)
class TrafficWindow:
    """A stretch of road for some time.

    t0, t1: s; s0, s1: m; table: the vehicles of one carriageway in it (rows outside are left out); image: (H, W, 3)
    uint8, for what looks at it.
    """

    recording: str
    t0: float
    t1: float
    s0: float
    s1: float
    table: Trajectories = field(repr=False)
    image: np.ndarray | None = field(default=None, repr=False)
    direction: int = 1

    @classmethod
    def unrendered(cls, window: GridWindow, renderer: TimeSpaceRenderer) -> "TrafficWindow":
        """One window of a grid without an image; of its vehicles those of the grid's lanes, where it names some."""
        table = window.table if window.lanes is None else window.table.select(lanes=window.lanes)
        end, top = window.t0 + renderer.duration, window.s0 + renderer.stretch
        return cls(window.recording, window.t0, end, window.s0, top, table, None, window.direction)

    @classmethod
    def rendered(cls, window: GridWindow, renderer: TimeSpaceRenderer) -> "TrafficWindow":
        """One window of a grid with its image."""
        return cls(
            window.recording,
            window.t0,
            window.t0 + renderer.duration,
            window.s0,
            window.s0 + renderer.stretch,
            window.table,
            window.render(renderer),
            window.direction,
        )

    def inside(self) -> Trajectories:
        """The rows that lie in the window."""
        frame = self.table.frame
        t, s = frame["t"].to_numpy(), frame["s"].to_numpy()
        keep = (t >= self.t0) & (t < self.t1) & (s >= self.s0) & (s < self.s1)
        keep &= frame["direction"].to_numpy() == self.direction
        return self.table if keep.all() else self.table.where(keep)

    def require_image(self) -> np.ndarray:
        """The image.

        Raises:
            ValueError: there is none.
        """
        if self.image is None:
            raise ValueError(f"window at {self.t0} s, {self.s0} m of {self.recording} has no image: render it first")
        return self.image


def windows_of_one_time(windows: Iterable[TrafficWindow]) -> Iterator[list[TrafficWindow]]:
    """Neighbours that show one carriageway at the same time: they have one table."""
    for _, group in groupby(windows, lambda window: (window.recording, window.t0, window.t1, window.direction)):
        yield list(group)
