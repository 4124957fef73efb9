"""Detections on the ground plane: one row for each vehicle that a detector found in a frame.

| column | unit | dtype | |
|---|---|---|---|
| frame | | int64 | number of the frame in its video |
| t | s | float64 | presentation time of the frame, never made from its number |
| cls | | str | car, truck, ... as the detector says |
| score | | float64 | 0 to 1 |
| x, y | m | float64 | ground frame of the camera: the middle of the vehicle's box, on the road |
| var_x, cov_xy, var_y | m^2 | float64 | covariance of x, y |
| heading | rad | float64 | in the ground frame, from +x towards +y; NaN where unknown; it may be off by pi |
| length, width, height | m | float64 | NaN where unknown |
| x1, y1, x2, y2 | px | float64 | the box in the image; NaN where there is none |

The ground frame has its origin below the camera, x to the right, y forward (the levelled viewing direction), z up.
Rows are sorted by t, and rows of one frame keep their order.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd

from d2road.traffic.tracking.row_table import checked_rows, refuse, refuse_covariance

DTYPES = {
    "frame": "int64",
    "t": "float64",
    "cls": "str",
    **dict.fromkeys(("score", "x", "y", "var_x", "cov_xy", "var_y", "heading"), "float64"),
    **dict.fromkeys(("length", "width", "height", "x1", "y1", "x2", "y2"), "float64"),
}
COLUMNS = tuple(DTYPES)
SIZES = ("length", "width", "height")
BOX = ("x1", "y1", "x2", "y2")
MAY_BE_UNKNOWN = ("heading", *SIZES, *BOX)
WHAT = "ground detections"


@dataclass(frozen=True)
class GroundDetections:
    """A checked table; `rows` has exactly COLUMNS and a plain index. Made by `from_frame`."""

    rows: pd.DataFrame

    @classmethod
    def from_frame(cls, frame: pd.DataFrame) -> "GroundDetections":
        """Check a table, give its columns their types and sort its rows by t.

        Args:
            frame: with all of COLUMNS; others are dropped.
        Raises:
            DataError: columns are missing, values are no numbers or not finite, a score is not in 0..1, a covariance is
                not positive definite, a size is not positive, or one frame has two times; names the first such row.
        """
        rows = checked_rows(frame, DTYPES, MAY_BE_UNKNOWN, WHAT)
        score = rows["score"].to_numpy()
        refuse(rows, (score < 0) | (score > 1), "score", "0 to 1", WHAT)
        refuse_covariance(rows, WHAT)
        for name in SIZES:
            refuse(rows, rows[name].to_numpy() <= 0, name, "more than 0 m, or NaN for unknown", WHAT)
        t = rows["t"].to_numpy()
        first = rows.groupby("frame", sort=False)["t"].transform("first").to_numpy() if len(rows) else t
        refuse(rows, t != first, "t", "one time for all rows of a frame", WHAT)
        if (np.diff(t) < 0).any():
            rows = rows.sort_values("t", kind="stable", ignore_index=True)
        return cls(rows)

    @classmethod
    def empty(cls) -> "GroundDetections":
        """A table without rows: what is found in an empty frame."""
        return cls.from_frame(pd.DataFrame({name: [] for name in COLUMNS}))

    def __len__(self) -> int:
        return len(self.rows)

    def by_frame(self) -> Iterator[tuple[int, float, "GroundDetections"]]:
        """Frame number, time in s and rows of each frame that has rows, in order of time."""
        t = self.rows["t"].to_numpy()
        number = self.rows["frame"].to_numpy()
        ends = np.flatnonzero(np.append(np.diff(number) != 0, True)) + 1 if len(t) else np.zeros(0, dtype=int)
        for start, end in zip([0, *ends[:-1]], ends):
            part = self.rows.iloc[start:end].reset_index(drop=True)
            yield int(number[start]), float(t[start]), GroundDetections(part)
