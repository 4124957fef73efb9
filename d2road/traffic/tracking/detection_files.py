"""Files of detections that grow with a video, so that tracking can be repeated without the model.

    detections.csv   the columns of `ground_detections`
    frames.csv       frame, t: each frame that was looked at, also where nothing was found

A frame is done once its line is in frames.csv; rows of others, as a killed run leaves them, are not read.
"""

import io
import logging
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from d2road.traffic.tracking.ground_detections import COLUMNS, GroundDetections
from d2road.utils.errors import DataError
from d2road.utils.output_files import append_text, atomic_write

logger = logging.getLogger(__name__)

DETECTIONS, FRAMES = "detections.csv", "frames.csv"
DECIMALS = {"t": 6, "score": 6, "var_x": 8, "cov_xy": 8, "var_y": 8}
USUAL_DECIMALS = 4
LEAST_VARIANCE = 1e-8  # what the decimals of a variance can say
SAME_TIME_S = 0.01  # decoders tell times to the millisecond


class DetectionWriter:
    """Writer of both files.

    Args:
        folder: that is there.
        stored: what an earlier run left, which is kept; None begins anew.
        flush_frames: frames that are held before they go to the disk.
    Raises:
        OutputError: they cannot be written.
    """

    def __init__(self, folder: Path, stored: "StoredDetections | None" = None, flush_frames: int = 20):
        self.folder, self.flush_frames = folder, flush_frames
        self.done = set(stored.times) if stored else set()
        self._rows: list[str] = []
        self._frames: list[str] = []
        for name, text in ((DETECTIONS, ",".join(COLUMNS) + "\n"), (FRAMES, "frame,t\n")):
            with atomic_write(folder / name, "w") as file:
                file.write(text)
        if stored:
            append_text(folder / DETECTIONS, _lines(stored.rows))
            append_text(folder / FRAMES, "".join(f"{frame},{t:.6f}\n" for frame, t in stored.times.items()))

    def add(self, frame: int, t: float, detections: GroundDetections) -> None:
        """Add what was found in a frame, unless an earlier run did."""
        if frame in self.done:
            return
        self._rows.append(_lines(detections.rows))
        self._frames.append(f"{frame},{t:.6f}\n")
        if len(self._frames) >= self.flush_frames:
            self.flush()

    def flush(self) -> None:
        """Bring all to the disk: rows first, then the frames that make them count."""
        append_text(self.folder / DETECTIONS, "".join(self._rows))
        append_text(self.folder / FRAMES, "".join(self._frames))
        self._rows, self._frames = [], []


@dataclass(frozen=True)
class StoredDetections:
    """Detections of a video, by frame.

    Args:
        rows: all of them, with the columns of `ground_detections`, sorted by frame.
        times: frame -> presentation time in s, of each frame that was looked at.
    """

    rows: pd.DataFrame
    times: dict[int, float]

    def at(self, frame: int, t: float) -> GroundDetections:
        """What was found in a frame, at the time that the video says now.

        Raises:
            DataError: the frame was not looked at, or at another time: another video.
        """
        stored = self.times.get(frame)
        if stored is None or abs(stored - t) > SAME_TIME_S:
            told = "were not made for it" if stored is None else f"have it at {stored:.3f} s"
            raise DataError(f"frame {frame} of the video is at {t:.3f} s, the stored detections {told}: another video?")
        first, last = np.searchsorted(self.rows["frame"].to_numpy(), [frame, frame + 1])
        return GroundDetections.from_frame(self.rows.iloc[first:last].assign(t=t))


def read_detections(path: str | os.PathLike) -> StoredDetections:
    """Detections of a CSV or Parquet file, with the frames.csv beside it or, without one, the frames that have rows.

    Raises:
        FileNotFoundError, DataError: no such file; not such a table; half a line at its end is left out.
    """
    path = Path(path)
    path = path / DETECTIONS if path.is_dir() else path
    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist: detections are read from there")
    table = pd.read_parquet(path) if path.suffix == ".parquet" else _read_csv(path)
    rows = GroundDetections.from_frame(table).rows.sort_values("frame", kind="stable", ignore_index=True)
    frames = path.with_name(FRAMES)
    if not frames.is_file():
        return StoredDetections(rows, dict(zip(rows["frame"].tolist(), rows["t"].tolist())))
    listed = _read_csv(frames)
    if list(listed.columns[:2]) != ["frame", "t"]:
        raise DataError(f"{frames} has the columns {', '.join(map(str, listed.columns))}, expected frame,t")
    times = dict(zip(listed["frame"].astype(int).tolist(), listed["t"].astype(float).tolist()))
    undone = ~rows["frame"].isin(list(times)).to_numpy()
    if undone.any():
        logger.info("%s: %d rows of frames that were not finished are left out", path, undone.sum())
    return StoredDetections(rows[~undone].reset_index(drop=True), times)


def _read_csv(path: Path) -> pd.DataFrame:
    """A table, without half a line at its end that a killed run left."""
    content = path.read_bytes()
    whole = content[: content.rfind(b"\n") + 1]
    try:
        return pd.read_csv(io.BytesIO(whole), dtype={"cls": str})
    except (pd.errors.ParserError, pd.errors.EmptyDataError) as error:
        raise DataError(f"{path} is no table: {error}") from error


def _lines(rows: pd.DataFrame) -> str:
    columns = {}
    for name in COLUMNS:
        values = rows[name]
        if name not in ("frame", "cls"):
            least = LEAST_VARIANCE if name.startswith("var_") else -np.inf
            values = values.clip(lower=least).round(DECIMALS.get(name, USUAL_DECIMALS))
        columns[name] = values
    return pd.DataFrame(columns).to_csv(index=False, header=False, lineterminator="\n")
