"""The clock of who writes a stream: time stamps that stand alone, a clock that was set, told when they come."""

import logging
import math
from collections.abc import Iterator

import numpy as np
import pandas as pd

from d2road.traffic.data_quality import QualityReport
from d2road.traffic.readers.ordering import join

logger = logging.getLogger(__name__)

# Seconds (s) from instant to instant, either way, beyond which a time stamp is believed once a second one follows it.
LEAP_S = 60.0


class StreamClock:
    """Sorts the rows of a stream by what their time stamps say of the writer's clock.

    A time stamp more than LEAP_S ahead of the one before (or, where `restarts`, behind it) is held back until the next
    instant. Does that go on from it, the clock was set: ahead is a gap, behind is the beginning of another recording.
    Does it go on from the earlier ones, the rows held back are dropped. Rows that are behind by less pass; who reads
    them in order of time drops them.

    Args:
        name: of the file, for messages.
        problems: counts what is dropped.
        restarts: whether a clock that is set back begins another recording; else its rows pass, as any late ones.
    """

    def __init__(self, name: str, problems: QualityReport, restarts: bool):
        self.name, self.problems, self.restarts = name, problems, restarts
        self.latest = -math.inf
        self.held: list[pd.DataFrame] = []
        self.held_t = math.nan
        # Where reading can begin so that the block that comes next, or what is held back, is seen.
        self.place = self.held_place = 0
        self.late = 0  # rows of the present stretch of late ones
        self.told = 1

    def regular(self, t: float) -> bool:
        """Whether a time stamp (s) goes on from those before."""
        return not self.held and (self.latest == -math.inf or 0 <= t - self.latest <= LEAP_S)

    def take(self, block: pd.DataFrame) -> Iterator[pd.DataFrame | None]:
        """The rows of a block that can be used, in pieces; None where another recording begins."""
        t = block["t"].to_numpy(dtype=float)
        if not len(t):
            return
        steps = np.diff(t)
        if self.regular(t[0]) and not self.late and (steps >= 0).all() and (steps <= LEAP_S).all():
            self.latest = t[-1]
            yield block
            return
        first = np.flatnonzero(np.append(True, steps != 0))
        good = np.zeros(len(t), dtype=bool)
        for start, end in zip(first, np.append(first[1:], len(t))):
            verdict = self._judge(float(t[start]), end - start)
            if verdict == "set":
                if good.any():
                    yield block[good]
                    good[:] = False
                yield from self._set()
                verdict = self._judge(float(t[start]), end - start)
            good[start:end] = verdict == "good"
            if verdict == "held":
                self.held.append(block.iloc[start:end])
        if good.any():
            yield block[good]

    def end(self) -> None:
        """Nothing follows: what is held back stands alone."""
        self._drop()

    def _judge(self, t: float, count: int) -> str:
        """Of the rows of an instant: good, held, or "set": it bears out the clock of those that are held."""
        if self.held:
            if t == self.held_t:
                return "held"
            if not 0 <= t - self.latest <= LEAP_S and 0 < t - self.held_t <= LEAP_S:
                return "set"
            self._drop()
        if not math.isfinite(t):  # counted where numbers are checked
            return "good"
        ahead = t - self.latest
        if self.latest > -math.inf and (ahead > LEAP_S or (ahead < -LEAP_S and self.restarts)):
            self.held_t, self.held_place = t, self.place
            return "held"
        if ahead < 0:
            self._tell_late(t, count)
        else:
            self._caught_up(t)
            self.latest = t
        return "good"

    def _set(self) -> Iterator[pd.DataFrame | None]:
        """The clock was set: hand out what was held back."""
        rows, self.held = join(self.held), []
        if self.held_t > self.latest:
            logger.warning(
                "%s: after t = %g s follows t = %g s: a gap, without windows of it", self.name, self.latest, self.held_t
            )
        else:
            logger.warning(
                "%s: the clock went back from t = %g s to t = %g s: another recording begins there",
                self.name, self.latest, self.held_t,
            )  # fmt: skip
            self._caught_up(self.latest)
            yield None
        self.latest = self.held_t
        yield rows

    def _drop(self) -> None:
        """Drop what was held back."""
        if not self.held:
            return
        rows, self.held = join(self.held), []
        text = f"t = {self.held_t:g} s, after {self.latest:g} s, stands alone"
        logger.warning("%s: %s: %d row(s) dropped", self.name, text, len(rows))
        self.problems.rows += len(rows)
        self.problems.add("time leap", self.name, rows["row"].to_numpy(), text, wrong=True)

    def _tell_late(self, t: float, count: int) -> None:
        if not self.restarts:  # a whole file: told at its end, with all else
            return
        if not self.late:
            logger.warning(
                "%s: the clock went back from t = %g s to t = %g s: rows are dropped until it is there again",
                self.name, self.latest, t,
            )  # fmt: skip
            self.told = 1000
        self.late += count
        if self.late >= self.told:
            logger.warning("%s: %d late rows dropped, now at t = %g s", self.name, self.late, t)
            self.told *= 4

    def _caught_up(self, t: float) -> None:
        if self.late:
            logger.warning("%s: %d late row(s) were dropped before t = %g s", self.name, self.late, t)
        self.late = 0
