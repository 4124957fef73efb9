"""Continuity of a track: whether a vehicle can have come from one sample to the next.

Where it cannot, the track ends and another begins: a vehicle that a simulator puts elsewhere, a route that begins anew
on a closed road, a name that a tracker gives to somebody else. No speed is taken and nothing is drawn in between.
"""

import numpy as np

SLACK_M = 5.0  # noise of positions, lanes of different lengths side by side, ends of edges that are not quite known
SPEED_MARGIN = 1.25
ACCELERATION = 5.0  # m/s^2; either way between two samples
# Without speeds beside a step: nobody is faster (m/s).
TOP_SPEED = 100.0


def is_reachable(dt: np.ndarray, ds: np.ndarray, slowest: np.ndarray, fastest: np.ndarray) -> np.ndarray:
    """Whether changes of position are possible at the speeds at their ends.

    Args:
        dt: seconds, more than 0. ds: metres.
        slowest, fastest: m/s along the direction in which s rises, lower and higher one of the two ends; negative is
            against it. NaN allows nothing but the slack.
    Returns:
        bool, of the arguments' shape.
    """
    slack = SLACK_M + 0.5 * ACCELERATION * dt**2
    low, high = np.fmin(slowest, 0) * SPEED_MARGIN * dt - slack, np.fmax(fastest, 0) * SPEED_MARGIN * dt + slack
    return (ds >= low) & (ds <= high)


def are_steps(t: np.ndarray, s: np.ndarray, speed: np.ndarray) -> np.ndarray:
    """Whether rows i and i + 1 can be samples of one drive: (N - 1,) bool of t (s), s (m) and signed speeds (m/s)."""
    return is_reachable(np.diff(t), np.diff(s), np.minimum(speed[:-1], speed[1:]), np.maximum(speed[:-1], speed[1:]))


def are_steps_of_positions(t: np.ndarray, s: np.ndarray, near: np.ndarray) -> np.ndarray:
    """As `are_steps`, where speeds are not known: the usual one of the four steps around a step tells them.

    Args:
        near: (N - 1,) bool, whether rows i and i + 1 are neighbours of one vehicle.
    """
    dt, ds = np.diff(t), np.diff(s)
    if not near.any():
        return near
    rate = np.full(len(dt) + 4, np.nan)
    rate[2:-2][near] = np.abs(ds[near]) / dt[near]
    # Sorted, NaN is last: the median of those that are there, the lower one of two.
    two_before, before, after, two_after = (rate[i : i + len(dt)] for i in (0, 1, 3, 4))
    two_before = np.where(np.isnan(before), np.nan, two_before)  # else another vehicle's
    two_after = np.where(np.isnan(after), np.nan, two_after)
    around = np.sort(np.stack([two_before, before, after, two_after]), axis=0)
    count = np.isfinite(around).sum(axis=0)
    usual = around[np.maximum(count - 1, 0) // 2, np.arange(len(dt))]
    speed = np.where(count > 0, np.minimum(2 * usual, TOP_SPEED), TOP_SPEED)
    return is_reachable(dt, ds, -speed, speed)
