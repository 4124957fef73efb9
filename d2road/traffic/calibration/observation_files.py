"""Calibration observations, map points and known lengths from files.

    .csv, .parquet   a table with the columns of `observations.py`; track, t and score may be missing
    .txt             labels of KITTI tracking: frame id type truncated occluded alpha x1 y1 x2 y2 h w l x y z ry [score]

Of KITTI's labels image, class and track are taken, and never metres, which a calibration has yet to find.
"""

import os
from pathlib import Path

import numpy as np
import pandas as pd

from d2road.traffic.calibration.observations import NO_TRACK, CalibrationObservations
from d2road.utils.errors import DataError
from d2road.utils.input_files import text_lines

KITTI_COLUMNS = ("frame", "track", "cls", "truncated", "occluded", "alpha", "x1", "y1", "x2", "y2")
MOST_OCCLUDED = 1  # KITTI's levels: boxes of vehicles that are hidden further are guesses
POINT_COLUMNS = ("u", "v", "x", "y")


def read_observations(path: str | os.PathLike, width: int, height: int, fps: float = 10.0) -> CalibrationObservations:
    """Observations of images of a size from a file.

    Args:
        fps: frames a second, where the file has no times.
    Raises:
        FileNotFoundError, DataError: as the module says; names the file.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"observations {path} do not exist")
    if path.suffix == ".txt":
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
