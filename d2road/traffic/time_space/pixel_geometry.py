"""Which pixel of a time-space image is where on the road, and when.

    row 0      +-------------------------+  s = s0 + H ds      column i is the instant t0 + i dt;
               |            ,/           |                     row H-1-j is the stretch [s0 + j ds, s0 + (j+1) ds)
               |          ,/    __,-----'|
               |        ,/   ,-'         |                     pixel (x, y): column and row, whole numbers at centres
    row H-1    +-------------------------+  s = s0
             t = t0            t = t0 + (W-1) dt

With several panels, one a lane, the first is at the bottom and each shows the whole stretch of H * ds metres: a row is
then longer than ds. The top row of each panel stays black, as do the rows above all panels that are left over.
"""

from dataclasses import dataclass
from typing import overload

import numpy as np

from d2road.utils.errors import ConfigError


@dataclass(frozen=True)
class ImageGeometry:
    """Pixels of an image of height and width `size`, with columns of dt seconds and rows of ds metres.

    Raises:
        ConfigError: the panels do not fit.
    """

    size: tuple[int, int]
    dt: float
    ds: float
    panels: int = 1

    def __post_init__(self) -> None:
        if self.panel_height < 1:
            raise ConfigError(
                f"{self.panels} panels do not fit into {self.size[0]} rows: choose fewer lanes or a greater height"
            )

    @property
    def panel_height(self) -> int:
        """Rows of a panel that are drawn on."""
        return self.size[0] if self.panels == 1 else self.size[0] // self.panels - 1

    @property
    def row_m(self) -> float:
        """Metres of a row."""
        return self.size[0] * self.ds / self.panel_height

    def rows(self, panel: int) -> slice:
        """The rows of a panel, from its top."""
        bottom = self.bottom(panel)
        return slice(bottom - self.panel_height, bottom)

    @overload
    def bottom(self, panel: int) -> int: ...

    @overload
    def bottom(self, panel: np.ndarray) -> np.ndarray: ...

    def bottom(self, panel: int | np.ndarray) -> int | np.ndarray:
        """The row below a panel's last one."""
        return self.size[0] - panel * (self.size[0] // self.panels)

    def to_pixel(
        self, t: np.ndarray, s: np.ndarray, t0: float, s0: float, panel: int = 0
    ) -> tuple[np.ndarray, np.ndarray]:
        """Where (t seconds, s metres) lies in the window that begins at (t0, s0): x and y in pixels."""
        return (np.asarray(t) - t0) / self.dt, self.bottom(panel) - 0.5 - (np.asarray(s) - s0) / self.row_m

    def to_time_position(
        self, x: np.ndarray, y: np.ndarray, t0: float, s0: float, panel: int = 0
    ) -> tuple[np.ndarray, np.ndarray]:
        """The inverse of `to_pixel`: t in seconds and s in metres."""
        return t0 + np.asarray(x) * self.dt, s0 + (self.bottom(panel) - 0.5 - np.asarray(y)) * self.row_m

    def pixel_coverage(
        self, column: np.ndarray, low: np.ndarray, high: np.ndarray, panel: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Coverage of pixels by vertical segments.

        Args:
            column: (N,) int. low, high: (N,) metres above the window's lower end. panel: (N,) int.
        Returns:
            For each pixel of each segment, arrays of one length: index into the flattened image, share of it that is
            covered (0 to 1), index of the segment.
        """
        low = np.clip(low / self.row_m, 0, self.panel_height)
        high = np.clip(high / self.row_m, 0, self.panel_height)
        first = low.astype(int)
        counts = np.where(high > low, np.ceil(high).astype(int) - first, 0)
        segment = np.repeat(np.arange(len(column)), counts)
        row = np.arange(len(segment)) - np.repeat(np.cumsum(counts) - counts - first, counts)  # upwards from the bottom
        share = np.minimum(high[segment], row + 1) - np.maximum(low[segment], row)
        pixel = (self.bottom(panel)[segment] - 1 - row) * self.size[1] + column[segment]
        return pixel, share, segment
