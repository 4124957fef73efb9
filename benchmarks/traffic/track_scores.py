"""Rows of what learns from trajectories: scores of windows, kept in a file a recording, and how they become rows.

Letters: N windows.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from benchmarks.traffic.rules_versions import second_version
from benchmarks.traffic.rules_windows import Piece
from d2road.traffic.baselines.road_tracks import ABSENT
from d2road.traffic.baselines.track_surprise import FUSED, IDM, LEARNED, RULES

# Sums over a vehicle's kinds of evidence, by column.
SUMS = {"rules": RULES, "idm": IDM, "forecast": LEARNED, "rules_idm": (*RULES, *IDM), "fused": FUSED}
COLUMNS = (ABSENT, *(f"sum_{name}" for name in SUMS), "forest", "neighbours", "bank")
KEYS = ("recording", "t0", "s0")
# Rows of the table. The first mends a rule and learns nothing; so does the second, which adds what one vehicle does.
WHOLE, ADDED, ADDED_IDM, FUSED_ROW = (
    "rules_v2, whole tracks",
    "rules added",
    "rules and IDM added",
    "rules and forecast added",
)
ROWS = {
    ADDED: "sum_rules",
    "IsolationForest of vehicles": "forest",
    "nearest vehicles": "neighbours",
    "bank of tracks": "bank",
    "IDM residual": "sum_idm",
    "learned forecast": "sum_forecast",
    ADDED_IDM: "sum_rules_idm",
    FUSED_ROW: "sum_fused",
}


def tracks_path(piece: Piece, fit_hours: int) -> Path:
    """Of the scores of a recording by what was fitted on so many hours."""
    return piece.path.with_suffix(f".tracks_{fit_hours}h.csv")


def with_track_scores(pieces: Sequence[Piece], fit_hours: int) -> list[Piece]:
    """The recordings that have scores by now."""
    return [piece for piece in pieces if piece.path.is_file() and tracks_path(piece, fit_hours).is_file()]


def read_track_scores(pieces: Sequence[Piece], fit_hours: int) -> pd.DataFrame:
    """COLUMNS of recordings, in the order of `rules_windows.read_windows`."""
    frames = [pd.read_csv(tracks_path(piece, fit_hours)) for piece in pieces]
    return pd.concat(frames, ignore_index=True)[list(COLUMNS)]


def track_scores(fit: pd.DataFrame, windows: pd.DataFrame) -> dict[str, np.ndarray]:
    """Scores (N,) of windows by row; fitted on good windows where the kept columns are no scores yet."""
    mended, frame = (one.assign(v2_missing=one[ABSENT]) for one in (fit, windows))
    return {WHOLE: second_version(mended, frame), **{name: windows[column].to_numpy() for name, column in ROWS.items()}}
