"""Alarms of the test of tracks on simulated camera hours that stand still, and its delay where the camera is turned."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from benchmarks.traffic.drift_streams import SEED, DriftStream
from d2road.traffic.calibration.camera_turn import AXES, turned_ground
from d2road.traffic.calibration.lane_paths import LanePaths
from d2road.traffic.calibration.passages import check_tracks, near_rows
from d2road.traffic.calibration.turn_test import ASTRAY, ASTRAY_OF, LIMIT, WINDOWS, highest_statistics
from d2road.traffic.events.alarms import rate_interval

SIZES_DEG = (0.1, 0.2, 0.4)
LIMITS = (18.0, 20.0, 22.0, 24.0, 26.0, 30.0)
BEFORE_S, AFTER_S = 600.0, 900.0  # around a turn


@dataclass(frozen=True)
class Compared:
    """Passages of a stream: their times, T, and whether ASTRAY of the last ASTRAY_OF follow no path."""

    t: np.ndarray
    statistic: np.ndarray
    lost: np.ndarray

    def alarms(self, limit: float, after: float = -np.inf) -> np.ndarray:
        """Times of passages at which an alarm would be told."""
        return self.t[((self.statistic > limit) | self.lost) & (self.t >= after)]

    def separate_alarms(self, limit: float) -> int:
        """Alarms, each of which is followed by none until as many passages as the longest window are over."""
        hit, count, after = (self.statistic > limit) | self.lost, 0, -1
        for place in np.flatnonzero(hit):
            if place > after:
                count, after = count + 1, place + WINDOWS[-1]
        return count


def compare(paths: LanePaths, rows: pd.DataFrame) -> Compared:
    """All passages of rows against lane paths."""
    evidence = paths.evidence(paths.stations.passages(rows))
    astray = np.cumsum(np.append(np.zeros(ASTRAY_OF), evidence.astray))
    lost = astray[ASTRAY_OF:] - astray[:-ASTRAY_OF] >= ASTRAY
    return Compared(evidence.t, highest_statistics(evidence, paths), lost)


def judge_stream(stream: DriftStream, seed: int) -> dict[str, object]:
    """False alarms of a stream by limit, and the delay (s) of each turn by limit, None if not in AFTER_S."""
    paths = LanePaths.fit(stream.good, stream.camera)
    rows = near_rows(check_tracks(stream.watched))
    still = compare(paths, rows)
    row: dict[str, object] = {
        "name": stream.name, "hours": float(np.ptp(rows["t"])) / 3600, "passages": len(still.t),
        "highest": float(still.statistic.max()), "lost": bool(still.lost.any()),
        "false_alarms": {f"{limit:g}": still.separate_alarms(limit) for limit in LIMITS},
    }  # fmt: skip
    rng = np.random.default_rng([SEED, seed])
    begin = float(rng.uniform(BEFORE_S, 3600 - AFTER_S))
    near = rows[(rows["t"] >= begin - BEFORE_S) & (rows["t"] <= begin + AFTER_S)]
    after = len(near[near["t"] >= begin]["track"].unique()) / (AFTER_S / 60)
    delays: dict[str, dict[str, float | None]] = {}
    for axis, name in enumerate(AXES):
        for size in SIZES_DEG:
            turn = np.zeros(3)
            turn[axis] = size * rng.choice((-1, 1))
            turned = compare(paths, turned_rows(near, stream, begin, turn))
            found = {f"{limit:g}": turned.alarms(limit, begin)[:1] - begin for limit in LIMITS}
            delays[f"{name}_{size:g}"] = {limit: float(one[0]) if len(one) else None for limit, one in found.items()}
    return {**row, "turned_at": begin, "tracks_a_minute": after, "delays": delays}


def turned_rows(rows: pd.DataFrame, stream: DriftStream, begin: float, turn_deg: np.ndarray) -> pd.DataFrame:
    """Rows as the old calibration lifts them once the camera is turned."""
    xy = rows[["x", "y"]].to_numpy(float)
    moved = np.where((rows["t"] >= begin).to_numpy()[:, None], turned_ground(stream.camera, xy, turn_deg), xy)
    found = rows.assign(x=moved[:, 0], y=moved[:, 1])
    return near_rows(found[np.isfinite(moved).all(axis=1)])


def lowest_limit(rows: list[dict], hours: float, most: float = 0.5, within: float = 24.0) -> float:
    """The lowest of LIMITS with at most so many false alarms within so many hours: half of what is allowed."""
    for limit in LIMITS:
        if sum(row["false_alarms"][f"{limit:g}"] for row in rows) <= most * hours / within:
            return limit
    return LIMITS[-1]


def summary(rows: list[dict], limit: float = LIMIT) -> dict[str, object]:
    """False alarms a day with their interval, and delays."""
    key, hours = f"{limit:g}", sum(row["hours"] for row in rows)
    count = sum(row["false_alarms"][key] for row in rows)
    found = {}
    for turn in rows[0]["delays"]:
        delays = np.array([row["delays"][turn][key] for row in rows], dtype=float)
        delays[np.isnan(delays)] = np.inf  # not found
        found[turn] = {
            "within_60_s": float((delays <= 60).mean()), "found": float(np.isfinite(delays).mean()),
            "median_s": float(np.quantile(delays, 0.5, method="inverted_cdf")),
        }  # fmt: skip
        found[turn] = {name: value if np.isfinite(value) else None for name, value in found[turn].items()}
    return {
        "limit": limit, "hours": hours, "streams": len(rows), "false_alarms": count,
        "false_alarms_a_day": [24 * one for one in (count / hours, *rate_interval(count, hours))],
        "highest_statistic": max(row["highest"] for row in rows),
        "tracks_a_minute": float(np.median([row["tracks_a_minute"] for row in rows])), "turns": found,
    }  # fmt: skip
