"""What a vehicle's speed and acceleration look like: values of the three channels of a time-space image."""

from collections.abc import Callable

import numpy as np

RED, YELLOW, GREEN, MAGENTA, BLUE = (1, 0, 0), (1, 1, 0), (0, 1, 0), (1, 0, 1), (0, 0, 1)
# Share of the maximal speed -> colour. Flow's scale from red on; there a stopped vehicle is black, which would vanish
# on the black ground.
RAMP = ((0.2, RED), (0.6, YELLOW), (1.0, GREEN))


def speed_colors(
    speed: np.ndarray, acceleration: np.ndarray, max_speed: float, stopped_speed: float, max_acceleration: float
) -> np.ndarray:
    """Colour by signed speed: (N, 3), 0 to 1.

    Within stopped_speed of 0: magenta. From there it turns to red, which it reaches at 0.2 of max_speed, then by
    yellow at 0.6 to green at max_speed and above. Driving backwards, below -stopped_speed: blue.

    Args:
        speed: (N,) m/s along the nominal direction.
        max_speed, stopped_speed: m/s, stopped_speed < 0.2 max_speed.
    """
    knots = [stopped_speed, *(share * max_speed for share, _ in RAMP)]
    colors = (MAGENTA, *(color for _, color in RAMP))
    rgb = np.stack([np.interp(speed, knots, [c[i] for c in colors]) for i in range(3)], axis=1)
    rgb[speed < -stopped_speed] = BLUE
    return rgb


def occupancy_speed_acceleration(
    speed: np.ndarray, acceleration: np.ndarray, max_speed: float, stopped_speed: float, max_acceleration: float
) -> np.ndarray:
    """Channels (1, speed, acceleration): (N, 3), 0 to 1.

    Speed and acceleration go from minus to plus their maximum, beyond which they are cut; 0, and an acceleration that
    is unknown, is 0.5. The first channel is full, so that an image holds the share that is covered.

    Args:
        speed: (N,) m/s along the nominal direction. acceleration: (N,) m/s^2, NaN where unknown.
        max_speed: m/s. max_acceleration: m/s^2.
    """
    known = np.nan_to_num(acceleration, nan=0.0)
    signed = [speed / max_speed, known / max_acceleration]
    return np.stack([np.ones(len(speed)), *(0.5 + 0.5 * np.clip(value, -1, 1) for value in signed)], axis=1)


CHANNELS: dict[str, Callable[..., np.ndarray]] = {
    "speed": speed_colors,
    "occupancy_speed_acceleration": occupancy_speed_acceleration,
}
