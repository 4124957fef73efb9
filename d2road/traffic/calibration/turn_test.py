"""Sequential test of whether a camera has turned: generalised likelihood ratio over the passages of vehicles.

Each passage tells gradient and information of a turn against the lane paths. For the last n passages, n from the first
to the last of WINDOWS, the turn that explains them best has the statistic

    T(n) = g' (A + A B^-1 A + P)^-1 g / (1 + COMMON n)    g, A: their sums

about chi squared of three degrees without a turn. B is the information of the reference's own passages (how well the
paths are known), P a wide prior, and COMMON what vehicles have in common (light, weather, kinds of vehicles), which no
number of them averages away. The largest T(n) above LIMIT is an alarm (Lai, IEEE Trans. Information Theory 44, 1998:
window-limited GLR). A vehicle counts once however long it stands; an empty road says nothing.

A camera that was turned by degrees shows no vehicle on its path at all: ASTRAY_OF passages of which ASTRAY or more
follow none are an alarm too, whose turn is not known.
"""

from collections import deque
from dataclasses import dataclass

import numpy as np
import pandas as pd

from d2road.structures.roadside_camera import RoadsideCamera
from d2road.traffic.calibration.lane_paths import LEAST_PASSAGES, LanePaths, TurnEvidence
from d2road.traffic.calibration.passages import PassageCollector, Passages, Stations, check_tracks, near_rows
from d2road.utils.errors import DataError

WINDOWS = (15, 20, 28, 40, 56, 80, 112, 160, 224, 320)
LIMIT = 22.0
COMMON = 0.01
PRIOR_DEG = 1.0
ASTRAY, ASTRAY_OF = 15, 20
GROWN = 960  # passages at which a reference of the stream itself is not made anew any more
QUIET_S = 86400.0  # after a report, before the next one


def statistic(
    gradient: np.ndarray, information: np.ndarray, count: np.ndarray | int, paths: LanePaths
) -> tuple[np.ndarray, np.ndarray]:
    """T (...,) and the turn (..., 3) in degrees of sums over `count` passages.

    Args:
        gradient: (..., 3). information: (..., 3, 3).
    """
    prior = np.eye(3) / PRIOR_DEG**2
    known = information + prior + information @ np.linalg.solve(paths.information + prior, information)
    T = np.einsum("...k,...k->...", gradient, np.linalg.solve(known, gradient[..., None])[..., 0])
    turn = np.linalg.solve(information + prior, gradient[..., None])[..., 0]
    return T / (1 + COMMON * np.asarray(count)), turn


def highest_statistics(evidence: TurnEvidence, paths: LanePaths) -> np.ndarray:
    """(V,) the largest T(n) at each passage, over WINDOWS that fit: the whole of a recording at once."""
    best = np.zeros(len(evidence))
    for window in WINDOWS:
        if window > len(evidence):
            break
        g, A = (_window_sums(values, window) for values in (evidence.gradient, evidence.information))
        best[window - 1 :] = np.maximum(best[window - 1 :], statistic(g, A, window, paths)[0])
    return best


def _window_sums(values: np.ndarray, window: int) -> np.ndarray:
    total = np.cumsum(values, axis=0)
    return np.concatenate([total[window - 1 : window], total[window:] - total[:-window]])


@dataclass(frozen=True)
class TurnReport:
    """A camera that has turned.

    t: s, when it is told. since: s, of the first passage that speaks for it. turn_deg: (3,) yaw, pitch, roll, None
    where passages are only astray. sd_deg: (3,) deviations. passages: that it is told by. statistic: T.
    """

    t: float
    since: float
    turn_deg: tuple[float, ...] | None
    sd_deg: tuple[float, ...] | None
    passages: int
    statistic: float


class TurnWatch:
    """Watches the tracks of a camera, in order of time.

    Args:
        camera: that the tracks were lifted with.
        paths: of a good time; None makes them of the first passages of the stream itself, anew each time these have
            doubled, until GROWN.
        limit: of T.
    """

    def __init__(self, camera: RoadsideCamera, paths: LanePaths | None = None, limit: float = LIMIT):
        self.camera, self.paths, self.limit = camera, paths, limit
        self.grows = paths is None
        self.reports: list[TurnReport] = []
        self.passages = 0  # that were compared
        self.highest = 0.0
        self._collector = None if paths is None else PassageCollector(paths.stations)
        self._early: list[pd.DataFrame] = []
        self._own: list[Passages] = []
        self._due = LEAST_PASSAGES  # own passages, for the next reference
        self._forget()

    def _forget(self) -> None:
        """Begin with no passage: times and whether astray, and sums of gradient and information up to each."""
        self._times: deque[float] = deque(maxlen=WINDOWS[-1])
        self._astray: deque[bool] = deque(maxlen=ASTRAY_OF)
        self._sums: deque[np.ndarray] = deque([np.zeros((3, 4))], maxlen=WINDOWS[-1] + 1)

    def add(self, rows: pd.DataFrame, now: float) -> TurnReport | None:
        """Take rows in, up to `now` (s); returns a report where the camera has turned.

        Raises:
            DataError: rows are no tracks.
        """
        if not len(rows) and self._collector is None:
            return None
        rows = near_rows(check_tracks(rows)) if len(rows) else rows
        if self._collector is None:
            rows = self._stations_of(rows)
        if self._collector is None:
            return None
        found = self._collector.add(rows, now)
        if self.paths is None or self.grows:
            self._grow(found)
        if self.paths is None or not len(found):
            return None
        return self._compare(self.paths.evidence(found), self.paths)

    def _stations_of(self, rows: pd.DataFrame) -> pd.DataFrame:
        """Hold the first rows until they are enough to tell where the road is; then all of them."""
        self._early.append(rows)
        held = pd.concat(self._early, ignore_index=True)
        if held["track"].nunique() >= LEAST_PASSAGES // 2:
            self._collector, self._early = PassageCollector(Stations.of(held, self.camera)), []
            return held
        self._early = [held]
        return rows

    def _grow(self, found: Passages) -> None:
        """Make the reference of the stream's own passages, and again when they have doubled."""
        assert self._collector is not None, "passages come from it"
        self._own.append(found)
        count = sum(map(len, self._own))
        if count < self._due or self.reports:
            return
        self._due = 2 * count
        own = Passages(*(np.concatenate([getattr(one, name) for one in self._own]) for name in ("t", "offsets")))
        self._own = [own]
        try:
            self.paths = LanePaths.of_passages(own, self._collector.stations, self.camera)
        except DataError:  # no common paths among them: more may show some
            return
        self._forget()  # they are in the reference
        if count >= GROWN:
            self.grows, self._own = False, []

    def _compare(self, evidence: TurnEvidence, paths: LanePaths) -> TurnReport | None:
        report = None
        for t, g, A, astray in zip(evidence.t, evidence.gradient, evidence.information, evidence.astray):
            self._times.append(float(t))
            self._astray.append(bool(astray))
            self._sums.append(self._sums[-1] + np.column_stack([g, A]))
            self.passages += 1
            report = report or self._test(paths)
        return report

    def _test(self, paths: LanePaths) -> TurnReport | None:
        """Test what ends with the last passage."""
        windows = np.array([window for window in WINDOWS if window < len(self._sums)], dtype=int)
        if not len(windows):
            return None
        sums = np.stack([self._sums[-1] - self._sums[-1 - window] for window in windows])
        g, A = sums[:, :, 0], sums[:, :, 1:]
        T, turn = statistic(g, A, windows, paths)
        place, now = int(np.argmax(T)), self._times[-1]
        self.highest = max(self.highest, float(T[place]))
        lost = sum(self._astray) >= ASTRAY
        quiet = self.reports and now - self.reports[-1].t < QUIET_S
        if quiet or (T[place] <= self.limit and not lost):
            return None
        count = len(self._astray) if lost else int(windows[place])
        told: tuple[tuple[float, ...] | None, tuple[float, ...] | None] = (None, None)
        if not lost:
            spread = np.linalg.inv(A[place] + np.eye(3) / PRIOR_DEG**2) * (1 + COMMON * count)
            told = tuple(turn[place].tolist()), tuple(np.sqrt(np.diag(spread)).tolist())
        self.reports.append(TurnReport(now, self._times[-count], *told, count, float(T[place])))
        self._forget()
        return self.reports[-1]
