"""Linking of detections from frame to frame in the image, for calibration: no ground plane is known yet.

A vehicle that drives straight on is predicted by two facts of perspective: the reciprocal of its size in the image is
linear in time, and its place is linear in its size. Detections are assigned by the overlap with the predicted box.
"""

from dataclasses import dataclass, field

import numpy as np
from scipy.optimize import linear_sum_assignment

from d2road.traffic.calibration.observations import BOX, NO_TRACK, CalibrationObservations

LEAST_OVERLAP = 0.2
LOST_S = 1.0  # a track without detections for so long ends
SHORTEST = 3  # rows: what is linked less often is no track
MEMORY = 4  # boxes that a prediction is made from
FLOW_WEIGHT = 0.1


@dataclass
class _Track:
    number: int
    times: list[float] = field(default_factory=list)
    boxes: list[np.ndarray] = field(default_factory=list)

    def add(self, t: float, box: np.ndarray) -> None:
        self.times, self.boxes = [*self.times, t][-MEMORY:], [*self.boxes, box][-MEMORY:]

    def predictions(self, t: float, flow: float) -> list[np.ndarray]:
        """Boxes at which the vehicle may be; a new one moves with or against the flow, or stands."""
        last, dt = self.boxes[-1], t - self.times[-1]
        if len(self.boxes) == 1:
            size = last[3] - last[1]
            return [_grown(last, 1 / max(1 / size + sign * flow * dt / size, 1e-3)) for sign in (0.0, 1.0, -1.0)]
        boxes, times = np.array(self.boxes), np.array(self.times) - self.times[-1]
        size = boxes[:, 3] - boxes[:, 1]
        slope, start = np.polyfit(times, 1 / size, 1)
        size_next = 1 / max(start + slope * dt, 1e-3)
        foot = np.stack([(boxes[:, 0] + boxes[:, 2]) / 2, boxes[:, 3]], axis=1)
        steady = np.ptp(size) < 0.05 * size.mean()  # too alike to tell how the place follows the size
        by, value, at = (times, dt, size[-1]) if steady else (size, size_next, size_next)
        middle, low = (float(np.polyval(np.polyfit(by, foot[:, k], 1), value)) for k in range(2))
        scale = float(np.clip(at / size[-1], 0.3, 3))
        half, high = (last[2] - last[0]) / 2 * scale, (last[3] - last[1]) * scale
        return [np.array([middle - half, low - high, middle + half, low])]

    def rate(self) -> float | None:
        """How fast the reciprocal of the size changes, over the reciprocal; None where it is not known."""
        if len(self.boxes) < 3:
            return None
        size = np.array([box[3] - box[1] for box in self.boxes])
        return abs(float(np.polyfit(self.times, 1 / size, 1)[0])) * float(size.mean())


def link_in_image(observations: CalibrationObservations) -> CalibrationObservations:
    """The same with a track for every detection that was linked at least `SHORTEST` times, `NO_TRACK` for others."""
    rows = observations.rows
    boxes, times = rows[list(BOX)].to_numpy(), rows["t"].to_numpy()
    track, active, number, flow = np.full(len(rows), NO_TRACK), list[_Track](), 0, 0.0
    for t in np.unique(times):
        here = np.flatnonzero(times == t)
        active = [one for one in active if t - one.times[-1] <= LOST_S]
        for row, one in _assigned(boxes[here], active, t, flow):
            one.add(t, boxes[here[row]])
            track[here[row]] = one.number
            rate = one.rate()
            flow = flow if rate is None else (1 - FLOW_WEIGHT) * flow + FLOW_WEIGHT * rate
        for row in here[track[here] == NO_TRACK]:
            active.append(_Track(number))
            active[-1].add(t, boxes[row])
            track[row], number = number, number + 1
    counts = np.bincount(track, minlength=1) if len(track) else np.zeros(1)
    return observations.with_tracks(np.where(counts[track] >= SHORTEST, track, NO_TRACK))


def _assigned(boxes: np.ndarray, active: list[_Track], t: float, flow: float) -> list[tuple[int, _Track]]:
    """Pairs of a box and a track of the largest sum of overlaps."""
    if not active or not len(boxes):
        return []
    overlap = np.stack([np.max([_overlaps(boxes, p) for p in one.predictions(t, flow)], axis=0) for one in active], 1)
    pairs = zip(*linear_sum_assignment(np.where(overlap >= LEAST_OVERLAP, -overlap, 0.0)))
    return [(int(i), active[k]) for i, k in pairs if overlap[i, k] >= LEAST_OVERLAP]


def _grown(box: np.ndarray, size: float) -> np.ndarray:
    """A box of another height about the middle of its lower edge."""
    middle, scale = (box[0] + box[2]) / 2, size / (box[3] - box[1])
    half = (box[2] - box[0]) / 2 * scale
    return np.array([middle - half, box[3] - size, middle + half, box[3]])


def _overlaps(boxes: np.ndarray, other: np.ndarray) -> np.ndarray:
    """(N,) intersection over union of boxes (N, 4) with one."""
    size = np.minimum(boxes[:, 2:], other[2:]) - np.maximum(boxes[:, :2], other[:2])
    common = np.prod(size.clip(min=0), axis=1)
    area = np.prod(boxes[:, 2:] - boxes[:, :2], axis=1) + np.prod(other[2:] - other[:2])
    return common / np.maximum(area - common, 1e-9)
