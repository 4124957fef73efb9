"""Windows over a stream of table chunks, in order: each with the rows of its image, without holding the rest."""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from d2road.traffic.table import Trajectories, concat
from d2road.traffic.time_space.render import TimeSpaceRenderer
from d2road.utils.errors import ConfigError

# Of a stride: t0 = start + k * stride is not quite on the grid that it is meant for.
ON_GRID = 1e-6


@dataclass(frozen=True)
class GridWindow:
    """A piece of road and time to draw.

    Attributes:
        lanes: to draw; None is all of them.
        t0: seconds. s0: metres.
        table: the recording's rows from some seconds before to after the window; all lanes and positions.
        ends: m, of the road, where they are known.
    """

    recording: str
    direction: int
    lanes: tuple[str, ...] | None
    t0: float
    s0: float
    table: Trajectories
    ends: tuple[float, float] | None = None

    def render(self, renderer: TimeSpaceRenderer) -> np.ndarray:
        """(H, W, 3) uint8."""
        return renderer.render(self.table, self.t0, self.s0, self.direction, self.lanes)


@dataclass(frozen=True)
class Tick:
    """Word of a stream that its recording has no more rows up to t (s): windows need not wait for the next vehicle."""

    t: float


@dataclass(frozen=True)
class WindowGrid:
    """Where windows are.

    In time they begin at the recording's first row and follow each other at `stride`; each is given out as soon as the
    rows up to renderer.margin after it are there, so that images do not depend on how the stream is cut.

    Args:
        renderer: of the images: duration, stretch and lane layout of a window.
        stride: seconds.
        stride_s: metres; None is the whole stretch, so that windows touch.
        s_range: first and last metre of the road; windows from the first on, as many as fit, one at least. None:
            windows at the multiples of stride_s, wherever vehicles are.
        direction: 1 or -1; None is all that there are.
        mirrored: whether s_range is that of direction 1, and the other carriageway has it with its signs turned, as
            the tracks of a camera have.
        lanes: to draw. None: all; with lane_layout "stacked" they must be named, so that panels stay what they are.
        keep_empty: windows without vehicles too; with s_range only.
        keep_partial: the window that the recording's end cuts off too. A recording's only window is always kept.
        start: seconds at which windows of the first recording begin, for a stream that goes on where an earlier one
            stopped; None: at its first row.
        longest_gap: seconds; in a longer time without any row there are no windows, with keep_empty neither.
    Raises:
        ConfigError: a stride is not positive, lanes are missing, or windows would have no end.
    """

    renderer: TimeSpaceRenderer
    stride: float = 12.8
    stride_s: float | None = None
    s_range: tuple[float, float] | None = None
    direction: int | None = None
    lanes: Sequence[str] | None = None
    keep_empty: bool = False
    keep_partial: bool = False
    start: float | None = None
    longest_gap: float = math.inf
    mirrored: bool = False

    def __post_init__(self) -> None:
        for name, value in (("stride", self.stride), ("stride_s", self.step_s)):
            if not value > 0:
                raise ConfigError(f"{name} of windows is {value}, expected more than 0")
        if self.direction not in (None, 1, -1):
            raise ConfigError(f"direction of windows is {self.direction}, expected 1, -1 or None for all")
        if self.renderer.lane_layout == "stacked" and not self.lanes:
            raise ConfigError("stacked images need the names of their lanes, from the bottom panel to the top one")
        if self.s_range is not None and not self.s_range[0] < self.s_range[1]:
            raise ConfigError(f"s_range is {self.s_range}, expected the first and the last metre of the road")
        if self.keep_empty and self.s_range is None:
            raise ConfigError("empty windows can be kept with s_range only: where else would they end?")

    @property
    def step_s(self) -> float:
        """Metres from a window to the next along the road."""
        return self.renderer.stretch if self.stride_s is None else self.stride_s

    def range_of(self, direction: int) -> tuple[float, float] | None:
        """First and last metre of a carriageway."""
        if self.s_range is None or direction == 1 or not self.mirrored:
            return self.s_range
        return -self.s_range[1], -self.s_range[0]

    def over(self, chunks: Iterable[Trajectories | Tick]) -> Iterator[GridWindow]:
        """Windows of a stream, ordered by recording, time, direction, lane and position.

        Args:
            chunks: of one recording each, as Source.chunks gives them: in order of time, recording after recording; a
                Tick is of the recording of the chunk before it.
        Raises:
            ValueError: a chunk holds several recordings, or begins before the one ahead of it ends.
        """
        stream: _Stream | None = None
        for chunk in chunks:
            if isinstance(chunk, Tick):
                if stream is not None:
                    stream.end = max(stream.end, chunk.t)
                    yield from stream.ready()
                continue
            if not len(chunk):
                continue
            if not chunk.one_recording:
                raise ValueError(f"a chunk holds the recordings {', '.join(chunk.recordings)}: pass them one by one")
            if stream is None or chunk.recordings[0] != stream.recording:
                if stream is not None:
                    yield from stream.rest()
                stream = _Stream(self, chunk, self.start if stream is None else None)
            else:
                stream.add(chunk)
            yield from stream.ready()
        if stream is not None:
            yield from stream.rest()


class _Stream:
    """One recording: the rows that windows still need."""

    def __init__(self, grid: WindowGrid, chunk: Trajectories, start: float | None):
        self.grid, self.recording = grid, chunk.recordings[0]
        self.held, self.count = chunk, 0
        self.waiting: list[Trajectories] = []
        first, self.end = chunk.span
        self.start, self.goes_on = (first, False) if start is None else (start, True)
        self.directions = set(chunk.directions)

    def add(self, chunk: Trajectories) -> None:
        start, end = chunk.span
        if start <= self.end:
            raise ValueError(f"recording {self.recording!r}: a chunk begins at t = {start} s, not after {self.end} s")
        self.waiting.append(chunk)
        self.end = end
        self.directions |= set(chunk.directions)

    def _t0(self) -> float:
        return self.start + self.count * self.grid.stride

    def ready(self) -> Iterator[GridWindow]:
        """Windows whose rows are all there."""
        renderer = self.grid.renderer
        while self._t0() + renderer.duration + renderer.margin <= self.end:
            if not self._skip_gap():
                yield from self._at(self._t0())

    def rest(self) -> Iterator[GridWindow]:
        """The recording is at its end: windows that lie in it, and what may be cut off."""
        renderer, slack = self.grid.renderer, ON_GRID * self.grid.stride
        while (
            (self.count == 0 and not self.goes_on)
            or self._t0() + renderer.duration <= self.end + renderer.dt + slack
            or (self.grid.keep_partial and self._t0() + renderer.duration - self.grid.stride <= self.end)
        ):
            if not self._skip_gap():
                yield from self._at(self._t0())

    def _skip_gap(self) -> bool:
        """Whether several windows without rows come next that are not given out; they are passed over at once."""
        renderer, stride = self.grid.renderer, self.grid.stride
        ahead = self._next_row() - (self._t0() + renderer.duration)
        if not (ahead > self.grid.longest_gap if self.grid.keep_empty else ahead > 2 * stride):
            return False
        # One window less than there are before the row: sums of strides are not exact.
        count = math.floor(ahead / stride) - 1
        self.count += max(count, 0)
        return count > 0

    def _next_row(self) -> float:
        """Seconds of the first row from the beginning of the next window on; minus infinity without any."""
        begin = self._t0() - self.grid.renderer.dt / 2
        for table in (self.held, *self.waiting):
            t = table.frame["t"].to_numpy()
            if len(t) and t[-1] >= begin:
                return float(t[np.searchsorted(t, begin)])
        return -math.inf

    def _join(self) -> None:
        """Take in the chunks that wait, and let go of rows that no window needs: once a window, not once a chunk."""
        if self.waiting:
            needed = self.held.between(self._t0() - self.grid.renderer.margin, math.inf)
            self.held = concat([needed, *self.waiting]).compact()
            self.waiting = []

    def _at(self, t0: float) -> Iterator[GridWindow]:
        self._join()
        self.count += 1
        grid, renderer = self.grid, self.grid.renderer
        table = self.held.between(t0 - renderer.margin, t0 + renderer.duration + renderer.margin)
        inside = self.held.between(t0 - renderer.dt / 2, t0 + renderer.duration - renderer.dt / 2)
        for direction in (1, -1):
            if direction not in self.directions or grid.direction not in (None, direction):
                continue
            here = inside.select(direction=direction, lanes=grid.lanes)
            for lanes in self._groups(here):
                seen = here if lanes is None else here.select(lanes=lanes)
                for s0 in self._positions(seen, direction):
                    yield GridWindow(self.recording, direction, lanes, t0, s0, table, grid.range_of(direction))

    def _groups(self, table: Trajectories) -> list[tuple[str, ...] | None]:
        """Lanes of each image."""
        names = None if self.grid.lanes is None else tuple(str(lane) for lane in self.grid.lanes)
        if self.grid.renderer.lane_layout != "per_lane":
            return [names]
        return [(name,) for name in names or table.lanes()]

    def _positions(self, table: Trajectories, direction: int) -> list[float]:
        """s0 of the windows along the road that hold something of a table."""
        grid, step, stretch = self.grid, self.grid.step_s, self.grid.renderer.stretch
        s_range = grid.range_of(direction)
        top = table.frame["s"].to_numpy()
        bottom = top - table.frame["length"].to_numpy()
        if s_range is None:
            if not len(top):
                return []
            first, last = math.floor((bottom.min() - stretch) / step), math.floor(top.max() / step)
            origin = 0.0
        else:
            origin, first = s_range[0], 0
            last = max(0, math.floor((s_range[1] - origin - stretch) / step + ON_GRID))
        positions = [origin + i * step for i in range(first, last + 1)]
        return [s0 for s0 in positions if grid.keep_empty or ((top > s0) & (bottom < s0 + stretch)).any()]
