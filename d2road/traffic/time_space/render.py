"""Time-space images: time to the right, position up, a vertical segment for each vehicle in each column.

A vehicle covers [s - length, s] at the instant of a column. A pixel of which it covers the share a is a times the
vehicle's colour; where vehicles of several lanes overlap, colours are averaged by their shares, which never sum to more
than 1. Between columns nothing is blurred: a column is an instant. Where pixels are: pixel_geometry.py.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from d2road.traffic.table import Trajectories, codes_in
from d2road.traffic.time_space.channel_colors import CHANNELS, RAMP
from d2road.traffic.time_space.pixel_geometry import ImageGeometry
from d2road.traffic.time_space.rasterize import VehicleSegments, rasterize
from d2road.utils.errors import ConfigError
from d2road.utils.registry import unknown_name

LAYOUTS = ("overlay", "stacked", "per_lane")
# Shares below this are rounding of positions, not vehicles.
LEAST_SHARE = 1e-6


@dataclass(frozen=True)
class TimeSpaceRenderer:
    """Draws windows of a trajectory table.

    Args:
        size: height and width in pixels.
        dt: seconds between columns. ds: metres of a row.
        lane_layout: "overlay" draws all lanes over each other; "per_lane" draws one lane; "stacked" draws a panel for
            each lane, the first at the bottom, see pixel_geometry.py.
        channels: "speed" (colours of channel_colors.speed_colors) or "occupancy_speed_acceleration".
        max_speed: m/s at which the scale of speeds ends.
        stopped_speed: m/s; slower is stopped, and backwards only beyond it.
        max_acceleration: m/s^2 at which the scale of accelerations ends.
        max_gap: seconds without a sample that are bridged; None as in `rasterize`.
    Raises:
        ConfigError: a name is unknown or a number makes no sense.
    """

    size: tuple[int, int] = (256, 256)
    dt: float = 0.1
    ds: float = 2.0
    lane_layout: str = "overlay"
    channels: str = "speed"
    max_speed: float = 40.0
    stopped_speed: float = 0.5
    max_acceleration: float = 8.0
    max_gap: float | None = None

    def __post_init__(self) -> None:
        for kind, name, known in (
            ("lane layout", self.lane_layout, LAYOUTS),
            ("channel layout", self.channels, CHANNELS),
        ):
            if name not in known:
                raise ConfigError(unknown_name(kind, name, known))
        if len(self.size) != 2 or min(self.size) < 1:
            raise ConfigError(f"size is {self.size}, expected height and width in pixels")
        for name in ("dt", "ds", "max_speed", "max_acceleration"):
            if not getattr(self, name) > 0:
                raise ConfigError(f"{name} is {getattr(self, name)}, expected more than 0")
        slowest = RAMP[0][0] * self.max_speed
        if not 0 <= self.stopped_speed < slowest:
            raise ConfigError(f"stopped_speed is {self.stopped_speed} m/s, expected 0 to below {slowest:g} (red)")
        if self.max_gap is not None and not self.max_gap > 0:
            raise ConfigError(f"max_gap is {self.max_gap}, expected seconds above 0, or None")

    @property
    def duration(self) -> float:
        """Seconds of an image."""
        return self.size[1] * self.dt

    @property
    def stretch(self) -> float:
        """Metres of road of an image."""
        return self.size[0] * self.ds

    def render(
        self,
        table: Trajectories,
        t0: float,
        s0: float,
        direction: int | None = None,
        lanes: Sequence[str] | None = None,
        recording: str | None = None,
    ) -> np.ndarray:
        """Draw a window.

        Args:
            table: what lies outside of the window is not drawn; samples just before and after it are interpolated with.
            t0: seconds, instant of the first column. s0: metres, lower end of the bottom row.
            direction: 1 or -1; may be left out if the table has one.
            lanes: to draw; panels in this order, from the bottom. None takes those of the table, so name them where
                images of several tables are to have the same panels.
            recording: may be left out if the table has one.
        Returns:
            (H, W, 3) uint8, RGB or the channels that are asked for.
        Raises:
            ValueError: direction or recording is left open, or several lanes are to be drawn per lane.
        """
        window = self._rasterized(table, t0, direction, lanes, recording)
        segments = window.segments
        values = CHANNELS[self.channels](
            segments.speed, segments.acceleration, self.max_speed, self.stopped_speed, self.max_acceleration
        )
        pixel, share, segment = window.geometry.pixel_coverage(segments.column, *_reach(segments, s0), window.panel)
        count = self.size[0] * self.size[1]
        total = np.maximum(np.bincount(pixel, share, minlength=count), 1)
        image = [np.bincount(pixel, share * values[segment, i], minlength=count) / total for i in range(3)]
        return (np.stack(image, axis=-1) * 255 + 0.5).astype(np.uint8).reshape(*self.size, 3)

    def mask(
        self,
        table: Trajectories,
        t0: float,
        s0: float,
        vehicles: Iterable[str],
        interval: tuple[float, float] | None = None,
        direction: int | None = None,
        lanes: Sequence[str] | None = None,
        recording: str | None = None,
        dilate: int = 0,
    ) -> np.ndarray:
        """The pixels that some vehicles paint during an interval, for ground truth.

        Args:
            table, t0, s0, direction, lanes, recording: as in `render`.
            vehicles: names.
            interval: seconds, first and last instant that count; None is always.
            dilate: pixels by which the mask grows on all sides, never into another lane's panel.
        Returns:
            (H, W) bool.
        Raises:
            ValueError: as `render`.
        """
        window = self._rasterized(table, t0, direction, lanes, recording)
        keep = codes_in(window.table.frame["vehicle"], vehicles)[window.segments.row]
        if interval is not None:
            t, slack = t0 + window.segments.column * self.dt, 1e-4 * self.dt
            keep &= (t >= interval[0] - slack) & (t <= interval[1] + slack)
        segments = window.segments.where(keep)
        pixel, share, _ = window.geometry.pixel_coverage(segments.column, *_reach(segments, s0), window.panel[keep])
        mask = np.zeros(self.size, dtype=np.uint8)
        mask.reshape(-1)[pixel[share > LEAST_SHARE]] = 1
        if dilate:
            kernel = np.ones((2 * dilate + 1, 2 * dilate + 1), np.uint8)
            for panel in range(window.geometry.panels):
                rows = window.geometry.rows(panel)
                mask[rows] = cv2.dilate(mask[rows], kernel)
        return mask.astype(bool)

    def geometry(self, panels: int = 1) -> ImageGeometry:
        """Where pixels of an image are in time and on the road; panels: the number of lanes of a stacked one."""
        height, width = self.size
        return ImageGeometry((height, width), self.dt, self.ds, panels)

    def to_pixel(
        self, t: np.ndarray, s: np.ndarray, t0: float, s0: float, panel: int = 0, panels: int = 1
    ) -> tuple[np.ndarray, np.ndarray]:
        """Where (t seconds, s metres) lies: x and y in pixels, whole numbers at their centres."""
        return self.geometry(panels).to_pixel(t, s, t0, s0, panel)

    def to_time_position(
        self, x: np.ndarray, y: np.ndarray, t0: float, s0: float, panel: int = 0, panels: int = 1
    ) -> tuple[np.ndarray, np.ndarray]:
        """The inverse of `to_pixel`: t in seconds and s in metres."""
        return self.geometry(panels).to_time_position(x, y, t0, s0, panel)

    @property
    def margin(self) -> float:
        """Seconds before and after a window whose samples matter, for interpolation at its ends."""
        return self.max_gap if self.max_gap is not None else 20 * self.dt

    def _rasterized(
        self,
        table: Trajectories,
        t0: float,
        direction: int | None,
        lanes: Sequence[str] | None,
        recording: str | None,
    ) -> "_Rasterized":
        if recording is not None:
            table = table.select(recording=recording)
        elif not table.one_recording:
            raise ValueError(f"the table has the recordings {', '.join(table.recordings)}: say which to draw")
        if direction is None and len(table.directions) > 1:
            raise ValueError("the table has both directions: say which to draw, 1 or -1")
        if isinstance(lanes, str):
            lanes = [lanes]
        elif lanes is None and self.lane_layout != "overlay":
            lanes = table.lanes(direction)
        names = None if lanes is None else [str(lane) for lane in lanes]
        if self.lane_layout == "per_lane" and names is not None and len(names) > 1:
            raise ValueError(f"the lanes are {', '.join(names)}: name one of them to draw it alone")

        near = table.between(t0 - self.margin, t0 + self.duration + self.margin)
        # Before lanes are chosen: a vehicle that leaves a lane and comes back was not seen in it in between.
        segments = rasterize(near, t0, self.size[1], self.dt, self.max_gap)
        keep = np.ones(len(segments.row), dtype=bool)
        panel = np.zeros(len(segments.row), dtype=int)
        if direction is not None:
            keep = near.frame["direction"].to_numpy()[segments.row] == direction
        if names is not None:
            column = near.frame["lane"].cat
            # Panel of each lane's code; the last entry serves lanes that are not drawn.
            of_code = np.full(len(column.categories) + 1, -1)
            of_code[column.categories.get_indexer(names)] = np.arange(len(names))
            of_code[-1] = -1
            panel = of_code[column.codes.to_numpy()[segments.row]]
            keep &= panel >= 0
        panels = 1
        if self.lane_layout == "stacked" and names:
            panels = len(names)
        else:
            panel = np.zeros_like(panel)
        return _Rasterized(near, segments.where(keep), panel[keep], self.geometry(panels))


@dataclass(frozen=True)
class _Rasterized:
    """What is drawn: segments.row counts rows of `table`; panel (N,) of each segment."""

    table: Trajectories
    segments: VehicleSegments
    panel: np.ndarray
    geometry: ImageGeometry


def _reach(segments: VehicleSegments, s0: float) -> tuple[np.ndarray, np.ndarray]:
    """Lower and upper end of each segment in metres above s0."""
    return segments.front - segments.length - s0, segments.front - s0
