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
    uint8, for what looks at it; ends: m, of the road that is seen, None where it goes on beyond the window.
    """

    recording: str
    t0: float
    t1: float
    s0: float
    s1: float
    table: Trajectories = field(repr=False)
    image: np.ndarray | None = field(default=None, repr=False)
    direction: int = 1
    ends: tuple[float, float] | None = None

    @classmethod
    def unrendered(cls, window: GridWindow, renderer: TimeSpaceRenderer) -> "TrafficWindow":
        """One window of a grid without an image; of its vehicles those of the grid's lanes, where it names some.

        A road whose ends nobody has told ends where vehicles are seen no further while the window lasts.
        """
        table = window.table if window.lanes is None else window.table.select(lanes=window.lanes)
        end, top = window.t0 + renderer.duration, window.s0 + renderer.stretch
        ends = window.ends or stretch_seen(table, window.t0, end, window.direction)
        return cls(window.recording, window.t0, end, window.s0, top, table, None, window.direction, ends)

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

    @property
    def stretch(self) -> tuple[float, float]:
        """m, of the window the part that is seen."""
        low, high = self.ends or (self.s0, self.s1)
        return max(self.s0, low), min(self.s1, high)

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


def stretch_seen(table: Trajectories, t0: float, t1: float, direction: int) -> tuple[float, float] | None:
    """From the lowest to the highest s (m) of the vehicles of a carriageway from t0 to t1 (s); None without any."""
    frame = table.frame
    t = frame["t"].to_numpy()
    s = frame["s"].to_numpy()[(t >= t0) & (t < t1) & (frame["direction"].to_numpy() == direction)]
    return (float(s.min()), float(s.max())) if len(s) else None


def windows_of_one_time(windows: Iterable[TrafficWindow]) -> Iterator[list[TrafficWindow]]:
    """Neighbours that show one carriageway at the same time: they have one table."""
    for _, group in groupby(windows, lambda window: (window.recording, window.t0, window.t1, window.direction)):
        yield list(group)
