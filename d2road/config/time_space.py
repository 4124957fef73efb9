"""Keys of time-space images, in the node TIME_SPACE."""

from __future__ import annotations

from typing import TYPE_CHECKING

from detectron2.config import CfgNode as CN

from d2road.config.defaults import set_default

if TYPE_CHECKING:  # they need pandas, an extra; the keys are in every config
    from d2road.traffic.time_space.render import TimeSpaceRenderer
    from d2road.traffic.time_space.window_grid import WindowGrid

KEYS = {
    "SIZE": (256, 256),  # height, width in pixels
    "DT": 0.1,  # seconds of a column
    "DS": 2.0,  # metres of a row
    # overlay: all lanes over each other | stacked: a panel for each of LANES | per_lane: an image for each lane
    "LANE_LAYOUT": "overlay",
    "CHANNELS": "speed",  # speed: colours by signed speed | occupancy_speed_acceleration
    "MAX_SPEED": 40.0,  # m/s at which the scale of speeds ends; some more than the limit, so that speeding differs
    "STOPPED_SPEED": 0.5,  # m/s; slower is stopped, and backwards only beyond it: the noise of speeds must be less
    "MAX_ACCELERATION": 8.0,  # m/s^2 at which the scale of accelerations ends
    # Seconds without a sample that are bridged. 0: 1.5 times the usual interval of samples. A stream waits so long (or
    # 20 DT) before it draws a window.
    "MAX_GAP": 0.0,
    "STRIDE": 12.8,  # seconds from window to window
    "STRIDE_S": 0.0,  # metres from window to window; 0 is the stretch of a window
    "S_RANGE": (),  # first and last metre of the road; () is wherever vehicles are
    "DIRECTION": 0,  # 1 | -1 | 0: both
    "LANES": (),  # names of the lanes to draw; () is all. Panels of "stacked" follow them from the bottom up
    "KEEP_EMPTY": False,  # windows without vehicles, with S_RANGE
    "KEEP_PARTIAL": False,  # windows that the end of a recording cuts off
}


def add_time_space_config(cfg: CN) -> None:
    """Add the node TIME_SPACE to a config, in place; idempotent."""
    set_default(cfg, "TIME_SPACE", CN())
    for key, value in KEYS.items():
        set_default(cfg.TIME_SPACE, key, value)


def renderer_of(cfg: CN) -> TimeSpaceRenderer:
    """The renderer that a config describes.

    Raises:
        ValueError: a key makes no sense.
    """
    from d2road.traffic.time_space.render import TimeSpaceRenderer

    node = cfg.TIME_SPACE
    return TimeSpaceRenderer(
        size=tuple(node.SIZE),
        dt=node.DT,
        ds=node.DS,
        lane_layout=node.LANE_LAYOUT,
        channels=node.CHANNELS,
        max_speed=node.MAX_SPEED,
        stopped_speed=node.STOPPED_SPEED,
        max_acceleration=node.MAX_ACCELERATION,
        max_gap=node.MAX_GAP or None,
    )


def window_grid_of(cfg: CN) -> WindowGrid:
    """The windows that a config describes.

    Raises:
        ValueError: a key makes no sense.
    """
    from d2road.traffic.time_space.window_grid import WindowGrid

    node = cfg.TIME_SPACE
    return WindowGrid(
        renderer_of(cfg),
        stride=node.STRIDE,
        stride_s=node.STRIDE_S or None,
        s_range=tuple(node.S_RANGE) or None,
        direction=node.DIRECTION or None,
        lanes=tuple(str(lane) for lane in node.LANES) or None,
        keep_empty=node.KEEP_EMPTY,
        keep_partial=node.KEEP_PARTIAL,
    )
