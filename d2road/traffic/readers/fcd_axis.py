"""Floating-car data along an axis: place, direction and sign of speed from x, y and the heading."""

from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from d2road.traffic.readers.axis import ACROSS, Road
from d2road.utils.errors import DataError

# Metres that vehicles must have driven before positions are judged, and how much less than that x and y may change.
JUDGED_M, DEGREES_FACTOR = 100.0, 1000.0


@dataclass
class FcdAxis:
    """Places vehicles on a road by x, y and angle (degrees clockwise from +y, as SUMO writes it).

    Args:
        road: one-way for `by_heading`.
        by_heading: the direction of a vehicle is that in which it faces; else that of its side of the road.
    """

    road: Road
    by_heading: bool
    driven_m: float = field(default=0.0, init=False)
    moved: float = field(default=0.0, init=False)

    def columns(self, block: pd.DataFrame, length: np.ndarray) -> tuple[dict[str, np.ndarray], np.ndarray]:
        """Columns of the table, and which rows are off the road.

        Args:
            block: x, y, speed, and where there are, angle and acceleration.
            length: (len,) m, for the bodies of vehicles that drive the wrong way.
        """
        place = self.road.place(block[["x", "y"]].to_numpy(dtype=float))
        mirrored = self.road.axis.stations[0] + self.road.axis.stations[-1] - place.s
        if "angle" not in block or not block["angle"].notna().all():
            # By the change of s, see facing.Facing.
            columns = {"s": place.s, "direction": place.direction, "unsigned_speed": block["speed"].to_numpy()}
            columns["turned_s"] = mirrored if self.by_heading else place.s + length
            if self.by_heading:
                columns["turned_direction"] = -place.direction
            return columns, place.off
        angle = np.radians(block["angle"].to_numpy(dtype=float))
        cosine = np.sin(angle) * place.along[:, 0] + np.cos(angle) * place.along[:, 1]
        against = cosine < 0
        if self.by_heading:
            sign, direction = np.ones(len(block)), np.where(against, -1, 1)
            s = np.where(against, mirrored, place.s)
        else:
            sign, direction = np.where(against, -1.0, 1.0), place.direction
            s = np.where(against, place.s + length, place.s)
        columns = {"s": s, "direction": direction, "speed": sign * block["speed"].to_numpy()}
        if "acceleration" in block:
            columns["acceleration"] = sign * block["acceleration"].to_numpy()
        return columns, place.off | (np.abs(cosine) < ACROSS)

    def check_units(self, block: pd.DataFrame, file: str) -> None:
        """Judge positions by all that vehicles have driven, as their speeds tell it.

        Args:
            block: id, time, x, y, speed; in order of time.
        Raises:
            ValueError: x and y are degrees.
        """
        if self.driven_m > JUDGED_M or self.road.in_degrees or not len(block):
            return
        known = block[np.isfinite(block[["x", "y", "speed"]].to_numpy(dtype=float)).all(1)]
        vehicles = known.groupby("id", observed=True)
        low, high, speed = (getattr(vehicles[["x", "y", "time", "speed"]], name)() for name in ("min", "max", "mean"))
        self.driven_m += float((speed["speed"] * (high["time"] - low["time"])).sum())
        self.moved += float(np.hypot(high["x"] - low["x"], high["y"] - low["y"]).sum())
        x, y = known["x"].to_numpy(), known["y"].to_numpy()
        small = len(known) and np.abs(x).max() <= 180 and np.abs(y).max() <= 90
        if self.driven_m > JUDGED_M and small and self.moved * DEGREES_FACTOR < self.driven_m:
            raise DataError(
                f"{file}: x and y are degrees of longitude and latitude (x {x.min():.7g} to {x.max():.7g}, y "
                f"{y.min():.7g} to {y.max():.7g}, while speeds say that vehicles drove {self.driven_m:.0f} m), but "
                "places along an axis are in metres: let SUMO write it without --fcd-output.geo (metres of the "
                'network), or give the axis in degrees with the metres at each point, axis="lon lat s, lon lat s"'
            )
