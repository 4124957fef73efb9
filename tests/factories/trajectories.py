"""Small trajectory tables for tests."""

import numpy as np
import pandas as pd

from d2road.traffic.table import Trajectories


def track(vehicle="a", t=(0.0,), s=(0.0,), speed=None, **columns) -> pd.DataFrame:
    """Rows of one vehicle; speed is that of s over t if not given."""
    t, s = np.asarray(t, float), np.broadcast_to(np.asarray(s, float), np.shape(t))
    if speed is None:
        speed = np.gradient(s, t) if len(t) > 1 else 0.0
    defaults = {
        "recording": "r",
        "cls": "car",
        "lane": "1",
        "direction": 1,
        "acceleration": 0.0,
        "length": 4.0,
        "width": 1.8,
    }
    return pd.DataFrame({"vehicle": vehicle, "t": t, "s": s, "speed": speed, **defaults, **columns})


def table(*tracks: pd.DataFrame) -> Trajectories:
    """A table of tracks."""
    return Trajectories.from_frame(pd.concat(tracks))


def steps(count: int, dt: float = 0.1, start: float = 0.0) -> np.ndarray:
    """Instants start, start + dt, ..."""
    return start + dt * np.arange(count)
