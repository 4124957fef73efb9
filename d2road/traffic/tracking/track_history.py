"""One track: its filter's past, as far as smoothing needs it, and its vehicle."""

import math
from dataclasses import dataclass, field

import numpy as np

from d2road.traffic.tracking.frame_detections import HEADING, SCORE, SIZE, UNSEEN
from d2road.traffic.tracking.kalman import smooth
from d2road.traffic.tracking.motion_modes import MotionModes
from d2road.traffic.tracking.track_attributes import FrontEstimate, VehicleAttributes


@dataclass(frozen=True)
class Step:
    """One instant of a track: state before and after its measurement, and the measurement's other numbers."""

    frame: int
    t: float
    predicted_mean: np.ndarray
    predicted_covariance: np.ndarray
    mean: np.ndarray
    covariance: np.ndarray
    transition: np.ndarray
    numbers: np.ndarray = field(default_factory=lambda: UNSEEN)  # as `frame_detections` has them

    @property
    def seen(self) -> bool:
        """Whether a detection is in it."""
        return bool(np.isfinite(self.numbers[SCORE]))


@dataclass
class Track:
    """A vehicle that is followed.

    Attributes:
        id: from 1 on; 0 until it is confirmed.
        modes: its newest state by each mode of motion, of one track.
        noise: (2, 2) covariance of its last measurement.
        last_seen: s. misses: frames since then. hits: detections so far.
        live_front, front: by the filtered and by the smoothed course.
        live_side: 1 where the vehicle moves along the axis of live_front, else -1.
    """

    steps: list[Step]
    modes: MotionModes
    noise: np.ndarray
    last_seen: float
    id: int = 0
    misses: int = 0
    hits: int = 0
    vehicle: VehicleAttributes = field(default_factory=VehicleAttributes)
    live_front: FrontEstimate = field(default_factory=FrontEstimate)
    front: FrontEstimate = field(default_factory=FrontEstimate)
    live_side: float = 1.0

    @property
    def last(self) -> Step:
        """The newest instant."""
        return self.steps[-1]

    def follow(self, step: Step, modes: MotionModes, moving: bool) -> None:
        """Take the next instant, its state by each mode, and whether the vehicle moves there."""
        dt = step.t - self.last.t
        self.steps.append(step)
        self.modes = modes
        self.misses += 1
        if moving:
            vx, vy = step.mean[2:4]
            self.live_side = self.live_front.moved(math.atan2(vy, vx), math.hypot(vx, vy), dt)
        self.live_front.seen(float(step.numbers[HEADING]), dt)

    def hit(self, cls: str, noise: np.ndarray) -> None:
        """Take the rest of the newest instant's detection: its class, and the covariance (2, 2) of its place."""
        numbers = self.last.numbers
        self.noise, self.last_seen, self.misses = noise, self.last.t, 0
        self.hits += 1
        self.vehicle.add(cls, float(numbers[SCORE]), numbers[SIZE])

    def trim(self) -> None:
        """Forget what was only predicted after the last detection: nobody knows where the vehicle went."""
        while not self.steps[-1].seen:
            self.steps.pop()

    def smoothed(self) -> tuple[np.ndarray, np.ndarray]:
        """Means (T, n) and covariances (T, n, n) of all steps given all of them."""
        stacked = [
            np.stack([getattr(step, name) for step in self.steps])
            for name in ("mean", "covariance", "predicted_mean", "predicted_covariance", "transition")
        ]
        return smooth(*stacked)
