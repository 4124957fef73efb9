"""Calibration observations: vehicles tracked in the image, before any ground plane is known.

| column | unit | dtype | |
|---|---|---|---|
| frame | | int64 | number of the frame in its video |
| t | s | float64 | presentation time |
| track | | int64 | the same for one vehicle; -1 where a detection belongs to none |
| cls | | str | car, truck, ... as the detector says |
| score | | float64 | 0 to 1 |
| x1, y1, x2, y2 | px | float64 | box around the whole vehicle in the image |
| bottom_u, bottom_v | px | float64 | centre of the bottom face of the 3D box; NaN without a pose head |
| top_u, top_v | px | float64 | centre of its top face; NaN |
| alpha | rad | float64 | heading against the ray, about the vertical; NaN |
| h, w, l | m | float64 | what the detector says of the size; NaN |
| h_std, w_std, l_std | m | float64 | its standard deviations; NaN |
| depth, depth_std | m | float64 | depth along the optical axis as one image tells it; NaN |

Pixels are those of the image as it is, with its distortion.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from d2road.traffic.tracking.row_table import checked_rows, refuse
from d2road.utils.errors import DataError

BOX = ("x1", "y1", "x2", "y2")
SIZE = ("h", "w", "l")
OPTIONAL = (
    "bottom_u", "bottom_v", "top_u", "top_v", "alpha", *SIZE, "h_std", "w_std", "l_std", "depth", "depth_std",
)  # fmt: skip
DTYPES = {
    "frame": "int64",
    "t": "float64",
    "track": "int64",
    "cls": "str",
    "score": "float64",
    **dict.fromkeys((*BOX, *OPTIONAL), "float64"),
}
COLUMNS = tuple(DTYPES)
NO_TRACK = -1
WHAT = "calibration observations"


@dataclass(frozen=True)
class CalibrationObservations:
    """A checked table; `rows` has exactly COLUMNS, sorted by t, and a plain index. Made by `from_frame`.

    width, height: of the images, pixels.
    """

    rows: pd.DataFrame
    width: int
    height: int

    @classmethod
    def from_frame(cls, frame: pd.DataFrame, width: int, height: int) -> "CalibrationObservations":
        """Check a table; columns of OPTIONAL that are missing are unknown.

        Raises:
            DataError: other columns are missing, values are no numbers or not finite, boxes without area or outside of
                the image, sizes that are not positive; names the first such row.
        """
        absent = {name: np.nan for name in OPTIONAL if name not in frame.columns}
        rows = checked_rows(frame.assign(**absent), DTYPES, OPTIONAL, WHAT)
        x1, y1, x2, y2 = (rows[name].to_numpy() for name in BOX)
        refuse(rows, ~((x2 > x1) & (y2 > y1)), "x2", "a box with x1 < x2 and y1 < y2", WHAT)
        slack = 0.02 * max(width, height)
        outside = (x1 > width) | (y1 > height) | (x2 > width + slack) | (y2 > height + slack) | (x1 < -slack)
        refuse(
            rows, outside | (y1 < -slack), "x2", f"a box in an image of {width}x{height} (another resolution?)", WHAT
        )
        for name in SIZE:
            refuse(rows, rows[name].to_numpy() <= 0, name, "more than 0 m, or NaN for unknown", WHAT)
        if (np.diff(rows["t"].to_numpy()) < 0).any():
            rows = rows.sort_values("t", kind="stable", ignore_index=True)
        return cls(rows, int(width), int(height))

    def __len__(self) -> int:
        return len(self.rows)

    def with_tracks(self, track: np.ndarray) -> "CalibrationObservations":
        """The same with other tracks (N,)."""
        if len(track) != len(self.rows):
            raise DataError(f"{len(track)} tracks for {len(self.rows)} {WHAT}")
        return CalibrationObservations(
            self.rows.assign(track=np.asarray(track, dtype=np.int64)), self.width, self.height
        )
