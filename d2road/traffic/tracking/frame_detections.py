"""The detections of one frame as arrays, for a tracker's inner loop."""

from dataclasses import dataclass

import numpy as np

from d2road.traffic.tracking.ground_detections import BOX, SIZES, GroundDetections

# Columns of `numbers`.
HEADING, SIZE, IMAGE_BOX, SCORE = 0, slice(1, 4), slice(4, 8), 8
UNSEEN = np.full(9, np.nan)


@dataclass(frozen=True)
class FrameDetections:
    """D detections."""

    position: np.ndarray  # (D, 2)
    noise: np.ndarray  # (D, 2, 2)
    cls: np.ndarray  # (D,)
    numbers: np.ndarray  # (D, 9): heading, length, width, height, box, score

    @property
    def score(self) -> np.ndarray:
        """(D,)."""
        return self.numbers[:, SCORE]

    @classmethod
    def of(cls, detections: GroundDetections) -> "FrameDetections":
        """Those of a table."""
        rows = detections.rows

        def columns(*names: str) -> np.ndarray:  # many times faster than rows[[...]]
            return np.column_stack([rows[name].to_numpy() for name in names])

        noise = columns("var_x", "cov_xy", "cov_xy", "var_y").reshape(-1, 2, 2)
        return cls(columns("x", "y"), noise, rows["cls"].to_numpy(), columns("heading", *SIZES, *BOX, "score"))
