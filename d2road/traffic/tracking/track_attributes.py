"""What a track knows of its vehicle beside its motion: class, sizes, and which end is the front."""

import bisect
from collections import defaultdict
from dataclasses import dataclass, field

import numpy as np

KEPT_SIZES = 128
# Log odds that a second of a detector's headings is worth. Of single images 17.6 % are reversed: log(0.824 / 0.176).
HEADING_VOTE = 1.5
# Log odds, at most, that slow driving is forwards; most of it within so many metres. Nobody reverses fast.
FORWARD_MOST, FORWARD_METRES = 6.0, 6.0
FAST = 5.0  # m/s


class RobustMean:
    """Midmean of a growing sample: the mean of its middle half. Keeps at most KEPT_SIZES values, evenly thinned."""

    def __init__(self) -> None:
        self.values: list[float] = []  # rising
        self.every, self.skipped = 1, 0
        self.mean = float("nan")

    def add(self, value: float) -> None:
        """Take a value; NaN, for unknown, is left out."""
        if not np.isfinite(value):
            return
        self.skipped += 1
        if self.skipped < self.every:
            return
        self.skipped = 0
        bisect.insort(self.values, value)
        if len(self.values) > KEPT_SIZES:
            self.values, self.every = self.values[::2], 2 * self.every
        outside = len(self.values) // 4
        middle = self.values[outside : len(self.values) - outside]
        self.mean = sum(middle) / len(middle)


@dataclass
class VehicleAttributes:
    """Class by the vote of scores, sizes by their midmeans."""

    votes: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    sizes: tuple[RobustMean, RobustMean, RobustMean] = field(
        default_factory=lambda: (RobustMean(), RobustMean(), RobustMean())
    )

    def add(self, cls: str, score: float, sizes: np.ndarray) -> None:
        """Take a detection. sizes: (3,) length, width, height, NaN where unknown."""
        self.votes[cls] += score
        for kept, value in zip(self.sizes, sizes):
            kept.add(float(value))

    @property
    def cls(self) -> str:
        """The class with the largest sum of scores; of equal ones, the first seen."""
        return max(self.votes, key=lambda name: self.votes[name])

    @property
    def lengths(self) -> list[float]:
        """Length, width and height, m, NaN where unknown."""
        return [kept.mean for kept in self.sizes]


@dataclass
class FrontEstimate:
    """Which end of a vehicle is the front, from the way it drives and, where that says little, from a detector.

    A vehicle's axis turns steadily, so one direction of it is followed, and driving along it and against it are told
    apart even where the vehicle stops in between. The front is that direction or its opposite, once for the track.

    Attributes:
        axis: rad, the direction that is followed; NaN until there is one.
        driven: m along it. fast: m of these that were driven fast.
        votes: log odds by the detector's headings that the axis points to the front. headings: how many those were.
        has_moved: whether the axis is that of a motion.
    """

    axis: float = float("nan")
    driven: float = 0.0
    fast: float = 0.0
    votes: float = 0.0
    headings: int = 0
    has_moved: bool = False

    def moved(self, course: float, speed: float, dt: float) -> float:
        """Take dt seconds of motion; returns 1 where it goes along the axis, -1 where it goes against it."""
        side = -1.0 if np.cos(course - self.axis) < 0 else 1.0
        self.axis = course if side > 0 else course + np.pi
        self.has_moved = True
        self.driven += side * speed * dt
        self.fast += side * speed * dt * (speed > FAST)
        return side

    def seen(self, heading: float, dt: float) -> None:
        """Take a detector's heading that is worth dt seconds, at most one; NaN is left out."""
        if not np.isfinite(heading):
            return
        if not np.isfinite(self.axis):
            self.axis = heading
        self.headings += 1
        if not self.has_moved:  # nothing better is known of the axis than the mean of headings, of either end
            off = (heading - self.axis + np.pi / 2) % np.pi - np.pi / 2
            self.axis += off / self.headings
        self.votes += HEADING_VOTE * float(np.cos(heading - self.axis)) * min(dt, 1.0)

    @property
    def sign(self) -> float:
        """1 where the axis points to the front, -1 where it points to the rear."""
        if self.fast:
            return float(np.sign(self.fast))
        forward = FORWARD_MOST * np.tanh(self.driven / FORWARD_METRES)
        return 1.0 if forward + self.votes >= 0 else -1.0
