"""What the drift watch of `d2road score-stream` says of simulated hours: false reports, and minutes to a true one."""

import math
from collections.abc import Iterable, Sequence

import numpy as np
import pandas as pd

from benchmarks.traffic.rules_versions import second_version
from benchmarks.traffic.rules_windows import Piece
from benchmarks.traffic.traffic_streams import STRIDE_S
from d2road.traffic.events.drift import BLOCK_S, DriftReference
from d2road.traffic.events.drift_watch import FALSE_REPORT, FALSE_REPORT_S, DriftWatch
from d2road.utils.errors import DataError

COLUMNS = ["v2_density", "score", "mean_speed"]


def with_speeds(pieces: Iterable[Piece]) -> pd.DataFrame:
    """Windows of recordings whose tables were kept, in order, with the mean speed of their vehicles in m/s.

    Raises:
        DataError: a table is not there.
    """
    frames = []
    for piece in pieces:
        if not piece.table_path.is_file():
            raise DataError(f"{piece.table_path} is not there: simulate with --keep-tables")
        windows = pd.read_csv(piece.path).sort_values(["t0", "s0"], kind="stable")
        name = f"{piece.path.parent.name}/{piece.job.name}"  # recordings of two seeds may have one name
        frames.append(
            windows.assign(recording=name, mean_speed=mean_speeds(pd.read_parquet(piece.table_path), windows))
        )
    return pd.concat(frames, ignore_index=True)


def mean_speeds(table: pd.DataFrame, windows: pd.DataFrame) -> np.ndarray:
    """Mean speed in m/s of the vehicles in each window, 0 where there is none (N,)."""
    table = table.sort_values("t", kind="stable")
    t, s, speed = (table[name].to_numpy(float) for name in ("t", "s", "speed"))
    found = []
    for row in windows.itertuples():
        low, high = np.searchsorted(t, [row.t0, row.t1])
        inside = (s[low:high] >= row.s0) & (s[low:high] < row.s1)
        found.append(float(np.abs(speed[low:high][inside]).mean()) if inside.any() else 0.0)
    return np.array(found)


def watch(reference: DriftReference, windows: pd.DataFrame, most: float = math.inf) -> list[dict[str, object]]:
    """Reports over windows as one stream, at most so many, with the minutes of traffic until each."""
    one, reports = DriftWatch(reference), []
    for row in windows[["recording", "t0", *COLUMNS]].itertuples(index=False):
        blocks = len(one.state.blocks)
        report = one.add(row.recording, row.t0, row.v2_density, (row.score, row.mean_speed))
        if report is not None:
            reports.append({
                "minutes": (blocks + 1) * BLOCK_S / 60, "quantity": report.quantity, "higher": report.higher,
                "rank": report.rank,
            })  # fmt: skip
            if len(reports) >= most:
                break
    return reports


def evaluate_drift(
    fit: pd.DataFrame, calibration: Sequence[Piece], good: Sequence[Sequence[Piece]], other: Sequence[Sequence[Piece]]
) -> dict[str, object]:
    """Reports on hours like those of the calibration, and on hours of another road.

    Args:
        fit: windows that the rules are fitted on. calibration: good recordings that the watch compares with. good,
            other: hours of the calibration's kind and of another one; of the latter a stream begins with each hour.
    """
    calibrating = with_speeds(calibration)
    calibrating = calibrating.assign(score=second_version(fit, calibrating))
    starts = list(zip(calibrating["recording"], calibrating["t0"]))
    reference = DriftReference.fit(starts, calibrating[COLUMNS].to_numpy(), STRIDE_S)
    if reference is None:
        raise DataError(f"{len(calibration)} recordings are too few blocks to compare with")
    streams = [with_speeds(piece for hour in hours for piece in hour) for hours in (good, other)]
    like, unlike = (stream.assign(score=second_version(fit, stream)) for stream in streams)
    by_scenario = {str(name): len(watch(reference, part)) for name, part in like.groupby("scenario", sort=True)}
    firsts = [f"{hour[0].path.parent.name}/{hour[0].job.name}" for hour in other]
    begins = [int(np.flatnonzero(unlike["recording"] == name)[0]) for name in firsts]
    found = [watch(reference, unlike[begin:], most=1) for begin in begins]
    return {
        "blocks": len(reference.blocks),
        "false_reports": len(watch(reference, like)),
        "hours_watched": len(good),
        "bound": FALSE_REPORT * len(good) * 3600 / FALSE_REPORT_S,
        "false_reports_by_scenario_alone": by_scenario,
        "first_reports": [one[0] if one else None for one in found],
    }
