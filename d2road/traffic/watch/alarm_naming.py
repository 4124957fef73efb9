"""Naming of alarms: a window that goes on with an alarm and speaks more strongly for another vehicle names that one.

An alarm is told with its first window, which may be about somebody else: a car that is a little too fast just before
one that stands. Its later windows say so.
"""

from dataclasses import dataclass

from d2road.traffic.events.alarms import TOUCHING, Alarm, touch, window_alarm
from d2road.traffic.events.window_stream import ScoredWindow


@dataclass
class NamedAlarm:
    """An alarm that may go on.

    identity: id that it was told with; windows: those that one to come may touch; peak: highest score so far; vehicle:
    named last.
    """

    identity: str
    windows: list[Alarm]
    peak: float
    vehicle: str


class AlarmNaming:
    """The alarms that are open, and whom they have named."""

    def __init__(self) -> None:
        self._open: list[NamedAlarm] = []

    def begin(self, scored: ScoredWindow, identity: str, vehicle: str) -> None:
        """Take in an alarm that begins with a window."""
        window = _alarm_of(scored)
        self._forget(window)
        self._open.append(NamedAlarm(identity, [window], scored.score, vehicle))

    def known(self, scored: ScoredWindow) -> NamedAlarm | None:
        """The alarm that a further window belongs to, which now holds it; of several that it joins the first."""
        window = _alarm_of(scored)
        self._forget(window)
        joined = [one for one in self._open if any(touch(part, window) for part in one.windows)]
        if not joined:
            return None
        first, *others = joined
        highest = max(joined, key=lambda one: one.peak)
        first.windows = [*(part for one in joined for part in one.windows), window]
        first.peak, first.vehicle = highest.peak, highest.vehicle
        self._open = [one for one in self._open if one not in others]
        return first

    def _forget(self, window: Alarm) -> None:
        """Let go of windows that none from this one on can touch."""
        for one in self._open:
            one.windows = [
                part for part in one.windows
                if part.recording == window.recording and part.end >= window.start - TOUCHING
            ]  # fmt: skip
        self._open = [one for one in self._open if one.windows]


def _alarm_of(scored: ScoredWindow) -> Alarm:
    window = scored.window
    return window_alarm(window.recording, window.t0, window.t1, window.s0, window.s1, scored.score, window.direction)
