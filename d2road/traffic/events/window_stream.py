"""Windows of a stream of traffic, scored and joined into alarms: what d2road score-stream is made of."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from d2road.traffic.baselines.baseline import Window
from d2road.traffic.events.alarms import Alarm, AlarmTracker, window_alarm
from d2road.traffic.time_space.render import TimeSpaceRenderer
from d2road.utils.errors import DataError


@dataclass(frozen=True)
class Finding:
    """What was said of a window: score; heat (H, W) or None; begins: whether an alarm begins with it."""

    window: Window
    score: float
    heat: np.ndarray | None
    alarms: bool
    begins: bool

    def place(self, renderer: TimeSpaceRenderer) -> tuple[float, float]:
        """Time (s) and position (m) of the highest value of its map, else of its middle."""
        if self.heat is None:
            return (self.window.t0 + self.window.t1) / 2, (self.window.s0 + self.window.s1) / 2
        y, x = np.unravel_index(int(np.argmax(self.heat)), self.heat.shape)
        x, y = x * renderer.size[1] / self.heat.shape[1], y * renderer.size[0] / self.heat.shape[0]
        t, s = renderer.to_time_position(x, y, self.window.t0, self.window.s0)
        return float(t), float(s)


Score = Callable[[Sequence[Window]], Sequence[tuple[float, np.ndarray | None]]]


def window_scorer(predict: Callable[[list[np.ndarray]], Sequence[Mapping]]) -> Score:
    """Windows through a Predictor: images in BGR order to "anomaly_score" and "anomaly_map"."""

    def score(windows: Sequence[Window]) -> list[tuple[float, np.ndarray | None]]:
        found = predict([window.image[:, :, ::-1] for window in windows])
        return [(float(one["anomaly_score"]), np.asarray(one["anomaly_map"])) for one in found]

    return score


class StreamScorer:
    """Scores windows in batches and joins those above the threshold into alarms.

    Args:
        score: of windows: a score and a map, or None, for each.
        threshold: of the scores; infinite only collects.
        batch: windows at once.
    """

    def __init__(self, score: Score, threshold: float, batch: int = 8):
        self.score, self.tracker, self.batch = score, AlarmTracker(threshold), batch
        self.windows = self.raised = 0

    @property
    def threshold(self) -> float:
        """Of the scores."""
        return self.tracker.threshold

    def judge(self, windows: Sequence[Window]) -> list[Finding]:
        """What is said of windows; those of earlier beginning come first, within a call and from call to call.

        Raises:
            ValueError: a score that is not finite.
        """
        findings = []
        for start in range(0, len(windows), self.batch):
            part = windows[start : start + self.batch]
            findings += [self._finding(*one) for one in zip(part, self.score(part))]
        return findings

    def _finding(self, window: Window, judged: tuple[float, np.ndarray | None]) -> Finding:
        score, heat = judged
        if not np.isfinite(score):
            raise DataError(
                f"the score of the window at {window.t0:g} s, {window.s0:g} m is {score}: the weights are damaged"
            )
        one = window_alarm(window.recording, window.t0, window.t1, window.s0, window.s1, score, window.direction)
        begins = self.tracker.add(one)
        self.windows += 1
        self.raised += begins
        return Finding(window, float(score), heat, score > self.threshold, begins)

    def closed(self, before: float = np.inf) -> list[Alarm]:
        """Alarms that are over, since no window to come begins before this time."""
        return self.tracker.close(before)

    def state(self) -> dict:
        """For JSON; see `restore`."""
        open_ = [{"alarm": vars(alarm), "parts": [vars(part) for part in parts]} for alarm, parts in self.tracker.open]
        return {"windows": self.windows, "raised": self.raised, "open": open_}

    def restore(self, state: Mapping) -> None:
        """Go on where `state` was taken."""
        self.windows, self.raised = int(state["windows"]), int(state["raised"])
        self.tracker.open = [
            (Alarm(**entry["alarm"]), [Alarm(**part) for part in entry["parts"]]) for entry in state["open"]
        ]
