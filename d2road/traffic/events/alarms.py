"""From scored windows of a stream to alarms, and the threshold that keeps false ones rare.

A window covers `t0` to `t1` (s) and `s0` to `s1` (m along the road) of a recording. Those that score above the
threshold and overlap or touch in time and place, directly or through others, are one alarm.

Letters: N windows.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from scipy.stats import chi2

from d2road.utils.errors import ConfigError, DataError

WINDOW_COLUMNS = ("recording", "t0", "t1", "s0", "s1", "score")
# Optional: carriageways of one recording are streams of their own.
STREAM_COLUMNS = ("recording", "direction")
LEAST_HOURS = 10.0
TOUCHING = 1e-6  # s and m: windows that meet count as overlapping
SECONDS_PER_HOUR = 3600.0


@dataclass(frozen=True)
class Alarm:
    """Alarming windows that belong together.

    start, end: s, of all its windows; s_low, s_high: m; raised: end of the first window, when it can be known; windows:
    how many; peak: highest score, of the window at peak_t0 and peak_s0.
    """

    recording: str
    start: float
    end: float
    s_low: float
    s_high: float
    raised: float
    windows: int
    peak: float
    peak_t0: float
    peak_s0: float
    direction: int = 1

    def merged(self, other: "Alarm") -> "Alarm":
        """Both as one."""
        high = min(self, other, key=lambda alarm: (-alarm.peak, alarm.peak_t0, alarm.peak_s0))
        return replace(
            high,
            start=min(self.start, other.start),
            end=max(self.end, other.end),
            s_low=min(self.s_low, other.s_low),
            s_high=max(self.s_high, other.s_high),
            raised=min(self.raised, other.raised),
            windows=self.windows + other.windows,
        )


class AlarmTracker:
    """Alarms of a stream while it runs; the same that `merge_alarms` finds afterwards.

    Args:
        threshold: of the scores; only what is above alarms.
    """

    def __init__(self, threshold: float):
        self.threshold = threshold
        # Each alarm with those of its windows that one to come may touch.
        self.open: list[tuple[Alarm, list[Alarm]]] = []

    def add(self, window: Alarm) -> bool:
        """Take in a window (see `window_alarm`), those of earlier beginning first.

        Returns:
            whether it begins an alarm; else it belongs to one that was known, or does not alarm.
        """
        if not window.peak > self.threshold:
            return False
        known = [entry for entry in self.open if any(touch(part, window) for part in entry[1])]
        alarm, parts = window, [window]
        for other, others in known:
            alarm, parts = alarm.merged(other), parts + others
        self.open = [entry for entry in self.open if not any(entry is one for one in known)]
        self.open.append((alarm, parts))
        return not known

    def pop_closed(self, before: float = math.inf) -> list[Alarm]:
        """Hand out and forget the alarms that ended before a time (s), the beginning of the windows to come."""
        done = [alarm for alarm, _ in self.open if alarm.end < before - TOUCHING]
        self.open = [
            (alarm, [part for part in parts if part.end >= before - TOUCHING])
            for alarm, parts in self.open
            if alarm.end >= before - TOUCHING
        ]
        return done


def window_alarm(recording: str, t0: float, t1: float, s0: float, s1: float, score: float, direction: int = 1) -> Alarm:
    """One window in the form of an alarm of its own."""
    return Alarm(str(recording), t0, t1, s0, s1, t1, 1, score, t0, s0, int(direction))


def check_windows(windows: pd.DataFrame) -> pd.DataFrame:
    """Windows sorted by stream, time and place.

    Raises:
        ValueError: columns are missing, a window has no extent, or a score is not finite.
    """
    missing = [name for name in WINDOW_COLUMNS if name not in windows]
    if missing:
        raise DataError(
            f"scored windows lack the column(s) {', '.join(missing)}; expected {', '.join(WINDOW_COLUMNS)} and "
            "optionally direction, density"
        )
    bad = ~np.isfinite(windows["score"].to_numpy(float))
    if bad.any():
        row = windows[bad].iloc[0]
        raise DataError(
            f"{int(bad.sum())} of {len(windows)} windows have a score that is not finite, first that of recording "
            f"{row['recording']} at {row['t0']} s: score the windows again"
        )
    empty = (windows["t1"] <= windows["t0"]) | (windows["s1"] <= windows["s0"])
    if empty.any():
        row = windows[empty].iloc[0]
        raise DataError(
            f"a window of recording {row['recording']} covers {row['t0']} to {row['t1']} s and {row['s0']} to "
            f"{row['s1']} m: its end must lie behind its beginning"
        )
    windows = windows.assign(recording=windows["recording"].astype(str))
    return windows.sort_values([*stream_columns(windows), "t0", "s0"], kind="stable").reset_index(drop=True)


def stream_columns(windows: pd.DataFrame) -> list[str]:
    """The columns that tell streams apart."""
    return [name for name in STREAM_COLUMNS if name in windows]


def merge_alarms(windows: pd.DataFrame, threshold: float) -> tuple[list[Alarm], np.ndarray]:
    """Alarms of scored windows.

    Args:
        windows: as `check_windows` returns them.
    Returns:
        the alarms in the order of their beginning; per window the place of its alarm in that list, -1 for none (N,).
    """
    alarming = windows.index[windows["score"] > threshold].to_numpy()
    groups = Groups(len(windows))
    chosen = windows.loc[alarming].reset_index(drop=True)
    for a, b in touching_pairs(chosen):
        groups.join(alarming[a], alarming[b])
    of_root: dict[int, Alarm] = {}
    for i, window in zip(alarming, as_alarms(chosen)):
        root = groups.root(i)
        of_root[root] = of_root[root].merged(window) if root in of_root else window
    roots = sorted(of_root, key=lambda root: (of_root[root].recording, of_root[root].direction, of_root[root].start))
    place = {root: number for number, root in enumerate(roots)}
    member = np.full(len(windows), -1)
    member[alarming] = [place[groups.root(i)] for i in alarming]
    return [of_root[root] for root in roots], member


def alarm_threshold(
    windows: pd.DataFrame, hours: float, rate: float = 1.0, least_hours: float = LEAST_HOURS
) -> tuple[float, int]:
    """The lowest score above which good traffic raises at most `rate` alarms an hour, and so does any higher one.

    Args:
        windows: of good traffic, see `check_windows`; the time that they cover is `hours`, of one carriageway.
        hours: observed; how many windows overlap does not matter.
        rate: false alarms an hour that are put up with.
        least_hours: refuse less than that: a rate of 1 an hour is not known from a few minutes.
    Returns:
        threshold, number of false alarms at it.
    Raises:
        ValueError: too few hours, no window, a rate that is not positive, or as `check_windows`.
    """
    if not hours >= least_hours:
        raise DataError(
            f"the threshold for {rate:g} false alarm(s) an hour is asked from {hours:.2f} h of good traffic; expected "
            f"at least {least_hours:g} h: score more of it"
        )
    if not rate > 0:
        raise ConfigError(f"rate of false alarms is {rate}, expected above 0")
    windows = check_windows(windows)
    if not len(windows):
        raise DataError("the threshold is asked from no window at all")
    limit = math.floor(rate * hours + 1e-9)
    groups, count, reached = Groups(len(windows)), 0, 0
    touching: dict[int, list[int]] = {}
    for a, b in touching_pairs(windows):
        touching.setdefault(a, []).append(b)
        touching.setdefault(b, []).append(a)
    scores = windows["score"].to_numpy(float)
    added = np.zeros(len(scores), dtype=bool)
    # Downwards through the scores, equal ones together: each begins an alarm or joins those around it.
    for members in _ties(scores):
        for i in members:
            added[i] = True
            count += 1
            count -= sum(groups.join(i, j) for j in touching.get(i, ()) if added[j])
        if count > limit:
            return float(scores[members[0]]), reached
        reached = count
    return float(scores.min()), len(merge_alarms(windows, float(scores.min()))[0])


def _ties(scores: np.ndarray) -> Iterator[np.ndarray]:
    order = np.argsort(-scores, kind="stable")
    yield from np.split(order, np.flatnonzero(np.diff(scores[order])) + 1)


def covered_hours(windows: pd.DataFrame) -> float:
    """Hours of road time that windows cover: the union of their times in each stream, whatever their places."""
    total = 0.0
    for _, part in windows.groupby(stream_columns(windows), observed=True, sort=False):
        part = part.sort_values("t0")
        start, end = part["t0"].to_numpy(float), np.maximum.accumulate(part["t1"].to_numpy(float))
        total += float(end[0] - start[0] + np.clip(end[1:] - np.maximum(start[1:], end[:-1]), 0, None).sum())
    return total / SECONDS_PER_HOUR


def rate_interval(count: int, hours: float, level: float = 0.95) -> list[float]:
    """[low, high] of a rate an hour from a count: the exact interval of a Poisson mean (Garwood 1936)."""
    if hours <= 0:
        return [float("nan")] * 2
    tail = (1 - level) / 2
    low = chi2.ppf(tail, 2 * count) / 2 if count else 0.0
    return [float(low) / hours, float(chi2.ppf(1 - tail, 2 * count + 2) / 2) / hours]


def as_alarms(windows: pd.DataFrame) -> Iterator[Alarm]:
    """Each row as `window_alarm`."""
    directions = windows["direction"] if "direction" in windows else np.ones(len(windows), dtype=int)
    yield from map(window_alarm, *(windows[name] for name in WINDOW_COLUMNS), directions)


def touching_pairs(windows: pd.DataFrame) -> Iterator[tuple[int, int]]:
    """Places of the pairs of windows that overlap or touch, each once; sorted as `check_windows` sorts."""
    streams = windows.groupby(stream_columns(windows), observed=True, sort=False).indices if len(windows) else {}
    for members in streams.values():
        t0, t1, s0, s1 = (windows[name].to_numpy(float)[members] for name in ("t0", "t1", "s0", "s1"))
        last = np.searchsorted(t0, t1 + TOUCHING, side="right")
        for i in range(len(members)):
            near = slice(i + 1, last[i])
            hits = (s0[near] <= s1[i] + TOUCHING) & (s1[near] >= s0[i] - TOUCHING)
            yield from ((members[i], members[i + 1 + j]) for j in np.flatnonzero(hits))


def touch(a: Alarm, b: Alarm) -> bool:
    """Whether two windows, or alarms of one, overlap or meet in time and place."""
    same = (a.recording, a.direction) == (b.recording, b.direction)
    in_time = a.start <= b.end + TOUCHING and b.start <= a.end + TOUCHING
    return same and in_time and a.s_low <= b.s_high + TOUCHING and b.s_low <= a.s_high + TOUCHING


class Groups:
    """Disjoint sets of numbers below `count`."""

    def __init__(self, count: int):
        self.parent = list(range(count))

    def root(self, i: int) -> int:
        """The number that stands for the set of `i`."""
        while self.parent[i] != i:
            self.parent[i] = self.parent[self.parent[i]]
            i = self.parent[i]
        return i

    def join(self, i: int, j: int) -> bool:
        """Unite two sets; whether they were two."""
        i, j = self.root(i), self.root(j)
        self.parent[j] = i
        return bool(i != j)  # numbers of NumPy would make every count of them one
