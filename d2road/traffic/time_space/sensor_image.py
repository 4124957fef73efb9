"""Time-space images of lane sensors at fixed places, which know speeds and no vehicles."""

from collections.abc import Sequence

import cv2
import numpy as np

from d2road.traffic.readers.ft_aed import LANES, LaneSensors
from d2road.traffic.time_space.channel_colors import speed_colors


def render_sensors(
    sensors: LaneSensors,
    first: int,
    columns: int,
    size: tuple[int, int] = (256, 256),
    lanes: Sequence[int] | None = None,
    max_speed: float = 40.0,
    stopped_speed: float = 0.5,
) -> np.ndarray:
    """A time-space image of some instants: time to the right, downstream up, colour by speed as for trajectories.

    Between sensors speeds are interpolated linearly along the road; several lanes give their mean, weighted by volume.
    Where a sensor tells nothing the image is black. Unlike the image of trajectories it has no single vehicles.

    Args:
        first, columns: instants, `first` at the left edge; `columns` of them are stretched to the width.
        size: height and width in pixels; the height covers the road from the first sensor to the last.
        lanes: 1 to 4; None takes all.
    Returns:
        (H, W, 3) uint8.
    Raises:
        ValueError: instants outside of the day, or lanes that do not exist.
    """
    if first < 0 or columns < 1 or first + columns > len(sensors.times):
        raise ValueError(f"instants {first} to {first + columns} of a day that has {len(sensors.times)}")
    chosen = [lane - 1 for lane in (lanes or range(1, LANES + 1))]
    if not chosen or min(chosen) < 0 or max(chosen) >= LANES:
        raise ValueError(f"lanes are {lanes}, expected numbers from 1 (left) to {LANES}")
    part = slice(first, first + columns)
    speed = sensors.speed[part][:, :, chosen]
    weight = np.where(np.isfinite(speed), np.fmax(sensors.volume[part][:, :, chosen], 0) + 1e-3, 0)
    total = weight.sum(axis=2)
    mean = (np.nan_to_num(speed) * weight).sum(axis=2) / np.where(total > 0, total, 1)  # (columns, M)
    height, width = size
    rows = sensors.s[0] + (np.arange(height) + 0.5) / height * (sensors.s[-1] - sensors.s[0])
    image = np.zeros((height, columns, 3), dtype=np.float32)
    for i in range(columns):
        known = total[i] > 0
        if not known.any():
            continue
        values = np.interp(rows, sensors.s[known], mean[i, known])
        image[:, i] = speed_colors(values, np.full(height, np.nan), max_speed, stopped_speed, 1.0)
        nearest = np.abs(rows[:, None] - sensors.s[None]).argmin(axis=1)
        image[~known[nearest], i] = 0
    stretched = cv2.resize(image[::-1], (width, height), interpolation=cv2.INTER_NEAREST)
    return (stretched * 255 + 0.5).astype(np.uint8)
