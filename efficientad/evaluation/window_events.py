"""Event metrics of a test set of single windows, by the table that says which window shows which event.

A window's row of meta.csv: `window` (path of its image below the category's folder, without suffix), `recording`,
`t0` (s), `s0` (m), `kind` ("good" or the type), `severity`, `onset` and `end` (s), `vehicle`, `density`. Windows of one
event share recording, vehicle, kind and onset; it counts as found when one of them scores above the threshold. There is
no delay: the windows are no stream.
"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from d2road.traffic.events.event_metrics import check_events, false_alarms, summary
from d2road.utils.errors import DataError
from efficientad.evaluation.image_scores import GOOD

META_COLUMNS = ("window", "recording", "t0", "s0", "kind", "severity", "onset", "end", "vehicle", "density")
EVENT_KEY = ["recording", "vehicle", "kind", "onset"]
# Of a window, where the table does not tell `t1` and `s1`: 256 columns of 0.1 s, 256 rows of 2 m.
DURATION_S, STRETCH_M = 25.6, 512.0


def read_meta(path: str | Path) -> pd.DataFrame:
    """The table, a row a window.

    Raises:
        FileNotFoundError: no such file.
        ValueError: columns are missing, or a window has two rows.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist: expected the table of the windows")
    meta = pd.read_csv(path, dtype={"window": str, "recording": str, "kind": str, "severity": str, "vehicle": str})
    missing = [name for name in META_COLUMNS if name not in meta]
    if missing:
        raise DataError(f"{path} lacks the columns {', '.join(missing)}; it has {', '.join(map(str, meta.columns))}")
    twice = meta["window"].duplicated()
    if twice.any():
        raise DataError(f"{path}: window {meta['window'][twice].iloc[0]} has two rows")
    ends = {"t1": meta["t0"] + DURATION_S, "s1": meta["s0"] + STRETCH_M}
    ends = {name: values for name, values in ends.items() if name not in meta}
    return meta.assign(window=meta["window"].str.removesuffix(".png"), **ends)


def evaluate_windows(
    meta: pd.DataFrame, scores: Mapping[str, float], threshold: float, draws: int = 1000, seed: int = 0
) -> dict:
    """Recall of events by type, severity and density, and alarms of good windows over the hours that they cover.

    Args:
        meta: as `read_meta` gives it; rows of windows that have no score are left out.
        scores: by name of the window.
        threshold: from good traffic.
        draws, seed: see `event_metrics.evaluate_events`.
    Returns:
        as `event_metrics.summary`; delays are NaN.
    Raises:
        ValueError: a scored window has no row.
    """
    unknown = set(scores) - set(meta["window"])
    if unknown:
        raise DataError(
            f"{len(unknown)} of {len(scores)} scored windows are not in the table, {min(unknown)} first; it has "
            f"{', '.join(meta['window'].iloc[:3])}, ..."
        )
    meta = meta[meta["window"].isin(scores.keys())]
    meta = meta.assign(score=[float(scores[name]) for name in meta["window"]])
    rows = [
        {**part.iloc[0].to_dict(), "windows": len(part), "score": part["score"].max()}
        for _, part in meta[meta["kind"] != GOOD].groupby(EVENT_KEY, sort=False)
    ]
    events = pd.DataFrame(rows, columns=[*meta.columns, "windows"])
    found = check_events(events).assign(found=events["score"].to_numpy(float) > threshold, delay=np.nan)
    good = meta[meta["kind"] == GOOD]
    quiet = false_alarms(good, events.iloc[:0], threshold)
    return summary(found, quiet, threshold, draws, seed)
