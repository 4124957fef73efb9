"""Which way vehicles face whose speeds have no sign: by the change of s, and by memory while they stand."""

import numpy as np
import pandas as pd

FORGET_S = 300.0  # a name that comes back after so long is another vehicle


class Facing:
    """Gives speeds their signs, and bodies their side; frames come in order of time.

    A vehicle at standstill, or alone in its lane for one sample, faces as it did: also where it is counted to the other
    direction now, as one that overtakes in the lane of oncoming traffic.
    """

    def __init__(self) -> None:
        # 1 is along the road axis, -1 against it.
        self.last: dict[str, tuple[float, int]] = {}

    def turned(self, frame: pd.DataFrame) -> pd.DataFrame:
        """The frame with speed and acceleration along the nominal direction.

        Args:
            frame: rows sorted by t, with "facing" as kinematics.add_kinematics gives it; without it, the frame is
                returned as it is. Where there are "turned_s" and "turned_direction", they are the s and the direction
                of a row whose vehicle turns out to face against its direction.
        """
        if "facing" not in frame or not len(frame):
            return frame
        against = self._resolved(frame) < 0
        sign = np.where(against, -1.0, 1.0)
        if "turned_s" in frame:
            frame = frame.assign(s=np.where(against, frame["turned_s"], frame["s"]))
        if "turned_direction" in frame:
            # Not a driver on the wrong side, but one of the other carriageway.
            direction = np.where(against, frame["turned_direction"], frame["direction"])
            frame = frame.assign(direction=direction, rate=sign * frame["rate"])
            sign = np.ones(len(frame))
        if not (sign < 0).any():
            return frame
        return frame.assign(speed=sign * frame["speed"], acceleration=sign * frame["acceleration"])

    def _resolved(self, frame: pd.DataFrame) -> np.ndarray:
        """(len,) 1 or -1: along or against the direction."""
        direction = frame["direction"].to_numpy(dtype=float)
        vehicle = frame["vehicle"].astype("category")
        codes, names = vehicle.cat.codes.to_numpy(), vehicle.cat.categories
        order = np.argsort(codes, kind="stable")
        codes, t = codes[order], frame["t"].to_numpy()[order]
        way = (frame["facing"].to_numpy(dtype=float) * direction)[order]
        first = np.flatnonzero(np.append(True, codes[1:] != codes[:-1]))
        for i in first[way[first] == 0]:
            way[i] = self.last.get(names[codes[i]], (direction[order[i]], 0))[0]
        index = np.where(way != 0, np.arange(len(way)), 0)
        way = way[np.maximum.accumulate(index)]
        now = float(t.max())
        self.last = {name: (to, at) for name, (to, at) in self.last.items() if at > now - FORGET_S}
        ends = np.append(first[1:], len(t)) - 1
        self.last.update({names[codes[e]]: (way[e], t[e]) for e in ends})
        result = np.empty(len(way))
        result[order] = way
        return result * direction
