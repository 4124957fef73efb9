"""Windows of a stream of traffic, scored and joined into alarms: the online part of `d2road score-stream`."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from d2road.traffic.events.alarms import Alarm, AlarmTracker, window_alarm
from d2road.traffic.time_space.render import TimeSpaceRenderer
from d2road.traffic.time_space.traffic_window import TrafficWindow
from d2road.utils.errors import CheckpointError


@dataclass(frozen=True)
class ScoredWindow:
    """A window with its score and anomaly map.

    heat: (H, W), or None where there is no map; alarms: whether it is above the threshold; begins: whether an alarm
    begins with it.
    """

    window: TrafficWindow
    score: float
    heat: np.ndarray | None
    alarms: bool
    begins: bool

    def place(self, renderer: TimeSpaceRenderer) -> tuple[float, float]:
        """Time (s) and position (m) of the highest value of its map, else of its middle."""
        if self.heat is None:
            return (self.window.t0 + self.window.t1) / 2, (self.window.s0 + self.window.s1) / 2
        row, column = np.unravel_index(int(np.argmax(self.heat)), self.heat.shape)
        x, y = column * renderer.size[1] / self.heat.shape[1], row * renderer.size[0] / self.heat.shape[0]
        t, s = renderer.to_time_position(x, y, self.window.t0, self.window.s0)
        return float(t), float(s)


# Windows to a score and an anomaly map, or None, for each.
WindowScorer = Callable[[Sequence[TrafficWindow]], Sequence[tuple[float, np.ndarray | None]]]


def window_scorer(predict: Callable[[Sequence[np.ndarray]], Any]) -> WindowScorer:
    """Scores by an anomaly detector.

    Args:
        predict: images (H, W, 3) uint8 in BGR order to a mapping with "anomaly_score" and "anomaly_map" for each, as
            `d2road.engine.Predictor` does.
    """

    def score(windows: Sequence[TrafficWindow]) -> list[tuple[float, np.ndarray | None]]:
        found = predict([window.require_image()[:, :, ::-1] for window in windows])
        return [(float(one["anomaly_score"]), np.asarray(one["anomaly_map"])) for one in found]

    return score


class StreamScorer:
    """Scores windows in batches and joins those above the threshold into alarms.

    Args:
        score: of windows: a score and a map, or None, for each.
        threshold: of the scores; infinite only collects.
        batch: windows at once.
    """

    def __init__(self, score: WindowScorer, threshold: float, batch: int = 8):
        self.score, self.tracker, self.batch = score, AlarmTracker(threshold), batch
        self.windows = self.raised = 0

    @property
    def threshold(self) -> float:
        """Of the scores."""
        return self.tracker.threshold

    def score_windows(self, windows: Sequence[TrafficWindow]) -> list[ScoredWindow]:
        """Score windows; those of earlier beginning come first, within a call and from call to call.

        Raises:
            CheckpointError: a score that is not finite.
        """
        scored = []
        for start in range(0, len(windows), self.batch):
            part = windows[start : start + self.batch]
            scored += [self._track(window, *found) for window, found in zip(part, self.score(part))]
        return scored

    def _track(self, window: TrafficWindow, score: float, heat: np.ndarray | None) -> ScoredWindow:
        if not np.isfinite(score):
            raise CheckpointError(
                f"the score of the window at {window.t0:g} s, {window.s0:g} m is {score}: the weights are damaged"
            )
        one = window_alarm(window.recording, window.t0, window.t1, window.s0, window.s1, score, window.direction)
        begins = self.tracker.add(one)
        self.windows += 1
        self.raised += begins
        return ScoredWindow(window, float(score), heat, score > self.threshold, begins)

    def pop_closed(self, before: float = np.inf) -> list[Alarm]:
        """Alarms that are over, since no window to come begins before this time."""
        return self.tracker.pop_closed(before)
