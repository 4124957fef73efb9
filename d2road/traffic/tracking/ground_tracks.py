"""Tracks on the ground plane: one row for each tracked vehicle and frame.

The columns of `ground_detections`, where x and y are the estimate, their covariance that of the estimate, cls the vote
of the track and sizes its robust means, and

| column | unit | dtype | |
|---|---|---|---|
| track | | int64 | from 1; never used again, never below 1 |
| speed | m/s | float64 | of the middle of the vehicle over the ground, 0 or more |
| speed_sd | m/s | float64 | its standard deviation |
| acceleration | m/s^2 | float64 | along the motion, of smoothed tracks; NaN where unknown |
| course | rad | float64 | direction of the motion, from +x towards +y; NaN unless it moves |
| course_sd | rad | float64 | NaN with course |
| motion | | str | "moving", "standing", "reversing", or "unknown" |
| seen | | bool | whether a detection of this frame is in it; else the row is predicted or interpolated |

`heading` is where the vehicle's front points: that of the motion, its opposite while reversing; NaN until it is known.
Boxes x1 to y2 are the detection's, NaN in rows that are not seen. Rows are sorted by t and track.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from d2road.traffic.tracking import ground_detections
from d2road.traffic.tracking.row_table import checked_rows, refuse, refuse_covariance
from d2road.utils.output_files import atomic_write

MOTIONS = ("moving", "standing", "reversing", "unknown")
DTYPES = {
    "frame": "int64",
    "t": "float64",
    "track": "int64",
    **{name: dtype for name, dtype in ground_detections.DTYPES.items() if name not in ("frame", "t")},
    **dict.fromkeys(("speed", "speed_sd", "acceleration", "course", "course_sd"), "float64"),
    "motion": "str",
    "seen": "bool",
}
COLUMNS = tuple(DTYPES)
MAY_BE_UNKNOWN = (*ground_detections.MAY_BE_UNKNOWN, "acceleration", "course", "course_sd")
WHAT = "ground tracks"


@dataclass(frozen=True)
class GroundTracks:
    """A checked table; `rows` has exactly COLUMNS and a plain index. Made by `from_frame`."""

    rows: pd.DataFrame

    @classmethod
    def from_frame(cls, frame: pd.DataFrame) -> "GroundTracks":
        """Check a table, give its columns their types and sort its rows by t and track.

        Raises:
            DataError: columns are missing, values are no numbers or not finite, an id below 1, a covariance that is not
                positive definite, an unknown motion, or a track with two rows at one instant; names the first such row.
        """
        rows = checked_rows(frame, DTYPES, MAY_BE_UNKNOWN, WHAT)
        refuse(rows, rows["track"].to_numpy() < 1, "track", "an id from 1 on", WHAT)
        refuse(rows, rows["speed"].to_numpy() < 0, "speed", "0 m/s or more", WHAT)
        refuse(rows, ~(rows["speed_sd"].to_numpy() >= 0), "speed_sd", "0 m/s or more", WHAT)
        refuse(rows, ~rows["motion"].isin(MOTIONS).to_numpy(), "motion", " or ".join(MOTIONS), WHAT)
        refuse_covariance(rows, WHAT)
        rows = rows.sort_values(["t", "track"], kind="stable", ignore_index=True)
        twice = rows.duplicated(["t", "track"]).to_numpy()
        refuse(rows, twice, "track", "one row for each track and instant", WHAT)
        return cls(rows)

    @classmethod
    def empty(cls) -> "GroundTracks":
        """A table without rows."""
        return cls.from_frame(pd.DataFrame({name: [] for name in COLUMNS}))

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def ids(self) -> list[int]:
        """The ids that have rows, rising."""
        return [int(track) for track in np.unique(self.rows["track"].to_numpy())]

    def to_parquet(self, path: str | os.PathLike) -> None:
        """Write the table, atomically; `from_parquet` reads it."""
        with atomic_write(path) as file:
            self.rows.to_parquet(file, engine="pyarrow", index=False)

    @classmethod
    def from_parquet(cls, path: str | os.PathLike) -> "GroundTracks":
        """Read a table that `to_parquet` wrote.

        Raises:
            FileNotFoundError, DataError: no such file; not such a table.
        """
        return cls.from_frame(pd.read_parquet(path, engine="pyarrow"))


def concat(tables: Sequence[GroundTracks]) -> GroundTracks:
    """One table of several, sorted.

    Raises:
        DataError: two of them have a row for the same track and instant.
    """
    frames = [table.rows for table in tables if len(table)]
    return GroundTracks.from_frame(pd.concat(frames, ignore_index=True)) if frames else GroundTracks.empty()
