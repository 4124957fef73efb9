"""A window of traffic as the baselines see it, and what a baseline is."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from d2road.traffic.table import Trajectories
from d2road.traffic.time_space.render import TimeSpaceRenderer
from d2road.traffic.time_space.window_grid import Window as GridWindow
from d2road.utils.errors import DataError


@dataclass(frozen=True)
class Window:
    """A stretch of road for some time.

    t0, t1: s; s0, s1: m; table: the vehicles of one carriageway in it (rows outside are left out); image: (H, W, 3)
    uint8, for baselines that look at it.
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
    def drawn(cls, window: GridWindow, renderer: TimeSpaceRenderer) -> "Window":
        """A window of a grid with its image."""
        return cls(
            window.recording,
            window.t0,
            window.t0 + renderer.duration,
            window.s0,
            window.s0 + renderer.stretch,
            window.table,
            window.draw(renderer),
            window.direction,
        )

    def inside(self) -> Trajectories:
        """The rows that lie in the window."""
        frame = self.table.frame
        t, s = frame["t"].to_numpy(), frame["s"].to_numpy()
        keep = (t >= self.t0) & (t < self.t1) & (s >= self.s0) & (s < self.s1)
        keep &= frame["direction"].to_numpy() == self.direction
        return self.table if keep.all() else self.table.where(keep)


class Baseline(Protocol):
    """Learns what is usual from windows of good traffic, and says how unusual a window is."""

    def fit(self, windows: Sequence[Window]) -> "Baseline":
        """Learn from good windows alone; returns itself.

        Raises:
            ValueError: too few windows to learn from.
        """
        ...

    def scores(self, windows: Sequence[Window]) -> np.ndarray:
        """A score a window, higher is more unusual: (N,), finite.

        Raises:
            ValueError: not fitted.
        """
        ...


def require_fit(baseline: object, fitted: object) -> None:
    """Raise ValueError unless something was fitted."""
    if fitted is None:
        raise DataError(f"{type(baseline).__name__} has not been fitted: call fit with windows of good traffic first")
