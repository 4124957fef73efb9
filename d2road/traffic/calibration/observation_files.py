"""Calibration observations, map points and known lengths from files.

    .csv, .parquet   a table with the columns of `observations.py`; track, t and score may be missing
    .txt             labels of KITTI tracking: frame id type truncated occluded alpha x1 y1 x2 y2 h w l x y z ry [score]
    a folder         that `d2road track` wrote: its tracks.csv, else its detections.csv; or one of its tables

Of labels and tracks image, class and track are taken, and never metres, which a calibration has yet to find.
"""

import os
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq

from d2road.traffic.calibration.observations import BOX, NO_TRACK, CalibrationObservations
from d2road.traffic.tracking.detection_files import DETECTIONS
from d2road.traffic.tracking.track_files import CSV
from d2road.utils.errors import DataError
from d2road.utils.input_files import text_lines

KITTI_COLUMNS = ("frame", "track", "cls", "truncated", "occluded", "alpha", "x1", "y1", "x2", "y2")
MOST_OCCLUDED = 1  # KITTI's levels: boxes of vehicles that are hidden further are guesses
POINT_COLUMNS = ("u", "v", "x", "y")
GROUND = ("x", "y", "var_x", "cov_xy", "var_y")  # columns that tell tracks and detections from a table of boxes
SEEN = ("frame", "t", "cls", "score", *BOX)


def is_tracked(path: str | os.PathLike) -> bool:
    """Whether observations are those of `d2road track`: boxes that a detector found."""
    path = Path(path)
    return path.is_dir() or set(GROUND) <= set(_columns(path))


def read_observations(
    path: str | os.PathLike, width: int, height: int, fps: float = 10.0, least_score: float = 0.0
) -> CalibrationObservations:
    """Observations of images of a size from a file, or from a folder of `d2road track`.

    Args:
        fps: frames a second, where the file has no times. least_score: of boxes of `d2road track` that are taken.
    Raises:
        FileNotFoundError, DataError: as the module says; names the file.
    """
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"observations {path} do not exist")
    if is_tracked(path):
        path = tracked_file(path)
        frame = _tracked_rows(path, least_score)
    elif path.suffix == ".txt":
        frame = _kitti_rows(path)
    else:
        frame = _table(path)
    frame = frame if "track" in frame else frame.assign(track=NO_TRACK)
    frame = frame if "score" in frame else frame.assign(score=1.0)
    if "t" not in frame and "frame" in frame:
        frame = frame.assign(t=pd.to_numeric(frame["frame"], errors="coerce") / fps)
    try:
        return CalibrationObservations.from_frame(frame, width, height)
    except DataError as error:
        raise DataError(f"{path}: {error}") from error


def tracked_file(path: Path) -> Path:
    """The file of boxes of a folder that `d2road track` wrote, tracks first; a file is itself.

    Raises:
        FileNotFoundError: the folder holds neither.
    """
    if not path.is_dir():
        return path
    for name in (CSV, DETECTIONS):
        if (path / name).is_file():
            return path / name
    raise FileNotFoundError(
        f"observations {path}: the folder has neither {CSV} nor {DETECTIONS}; give a folder that `d2road track` wrote, "
        "or a table of boxes"
    )


def read_points(path: str | os.PathLike) -> tuple[np.ndarray, np.ndarray]:
    """(N, 2) pixels and (N, 2 or 3) metres of a table with the columns u, v, x, y and perhaps z.

    Raises:
        FileNotFoundError, DataError: no such file, other columns, or values that are no numbers.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"map points {path} do not exist")
    frame = _table(path)
    missing = [name for name in POINT_COLUMNS if name not in frame]
    if missing:
        raise DataError(f"map points {path} lack the columns {', '.join(missing)}; expected u,v,x,y and perhaps z")
    names = [*POINT_COLUMNS, *(["z"] if "z" in frame else [])]
    values = frame[names].apply(pd.to_numeric, errors="coerce").to_numpy(dtype=np.float64)
    if not np.isfinite(values).all():
        row = int(np.flatnonzero(~np.isfinite(values).all(axis=1))[0])
        raise DataError(f"map points {path}: row {row + 1} holds no finite number in {', '.join(names)}")
    return values[:, :2], values[:, 2:]


def parse_length(text: str) -> tuple[float, float, float, float, float, float]:
    """u1, v1, u2, v2, metres and its deviation of a text "u1,v1,u2,v2,metres[,deviation]"; 1 % without.

    Raises:
        DataError: other counts, no numbers, no length.
    """
    try:
        values = [float(part) for part in text.split(",")]
    except ValueError as error:
        raise DataError(f"--length {text!r}: {error}; expected u1,v1,u2,v2,metres[,deviation]") from error
    if len(values) not in (5, 6) or not np.isfinite(values).all() or values[4] <= 0 or (values + [1])[5] <= 0:
        raise DataError(f"--length {text!r}: expected u1,v1,u2,v2,metres[,deviation], both metres above 0")
    u1, v1, u2, v2, length, std = [*values, 0.01 * values[4]][:6]
    return u1, v1, u2, v2, length, std


def _table(path: Path) -> pd.DataFrame:
    try:
        return pd.read_parquet(path) if path.suffix == ".parquet" else pd.read_csv(path)
    except (ValueError, OSError) as error:  # pandas' and pyarrow's errors of reading are ValueErrors
        raise DataError(f"{path} is no table of {path.suffix or 'CSV'}: {error}") from error


def _columns(path: Path) -> list[str]:
    """Names of the columns of a table; none of what is no such file."""
    try:
        if path.suffix == ".parquet":
            return list(pq.read_schema(path).names)
        return list(pd.read_csv(path, nrows=0)) if path.suffix == ".csv" else []
    except (ValueError, OSError):
        return []


def _tracked_rows(path: Path, least_score: float) -> pd.DataFrame:
    """Image boxes of tracks or detections; rows of tracks that no detection of their frame is in have none."""
    frame = _table(path)
    missing = [name for name in SEEN if name not in frame]
    if missing:
        raise DataError(f"{path} lacks the columns {', '.join(missing)}: it is no file of `d2road track`")
    found = frame[frame["seen"].astype(bool)] if "seen" in frame else frame
    names = [*SEEN, *(["track"] if "track" in frame else [])]
    return found.loc[found["score"] >= least_score, names].reset_index(drop=True)


def _kitti_rows(path: Path) -> pd.DataFrame:
    """Rows of KITTI's tracking labels, without those that are mostly hidden and "DontCare"."""
    rows = []
    for number, line in enumerate(text_lines(path, "labels"), 1):
        words = line.split()
        if not words:
            continue
        if len(words) not in (17, 18):
            raise DataError(f"{path} line {number} has {len(words)} fields, expected 17 or 18 of KITTI tracking")
        rows.append(words[: len(KITTI_COLUMNS)] + [words[17] if len(words) == 18 else "1"])
    frame = pd.DataFrame(rows, columns=[*KITTI_COLUMNS, "score"])
    hidden = pd.to_numeric(frame["occluded"], errors="coerce") > MOST_OCCLUDED
    return frame[~hidden & (frame["cls"] != "DontCare")].reset_index(drop=True)
