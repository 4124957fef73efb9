"""Sources of points on a plane that have no road: along an axis that the user names."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from d2road.traffic.readers.axis import Road
from d2road.traffic.readers.source import Source

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from d2road.traffic.readers.source import SourceOptions


class AxisSource(Source):
    """Vehicles seen from above, along an axis of the road.

    s is where the vehicle ends in the direction of the axis; speeds are along the axis.

    Args:
        axis: as RoadAxis.of takes it, in the data's metres.
        half_width: metres to either side of the axis; what is further off is on another road and left out.
        lane_edges, two_way: as axis.Road has them.
        classes: "car, truck": those to take; "" takes all but pedestrians.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        axis: str = "",
        half_width: float = 20.0,
        lane_edges: str = "",
        two_way: str = "",
        classes: str = "",
        **common: Unpack[SourceOptions],
    ):
        super().__init__(path, **common)
        self.road = Road.of(axis, lane_edges, half_width, two_way)
        self.classes = {name.strip().lower() for name in classes.split(",") if name.strip()}

    def taken(self, classes: pd.Series) -> pd.Series:
        """Which of these classes, in lower case, are asked for."""
        return classes.isin(self.classes) if self.classes else classes != "pedestrian"
