"""Made-up traffic on a straight road: steady vehicles in three lanes, and single ones that misbehave."""

import numpy as np
import pandas as pd

from d2road.traffic.table import Trajectories
from d2road.traffic.time_space.traffic_window import TrafficWindow

LANES, ROAD_M, DURATION_S, SPAN_S, STRETCH_M = 3, 600.0, 60.0, 25.6, 512.0


def traffic(seed: int = 0, duration: float = DURATION_S, recording: str = "a", headway: float = 3.0) -> pd.DataFrame:
    """A table's frame: a vehicle a lane every `headway` s or so, at its lane's speed, with noise, 10 Hz."""
    rng = np.random.default_rng(seed)
    parts: dict[str, list] = {"t": [], "s": [], "speed": [], "lane": [], "vehicle": []}
    for lane in range(LANES):
        start, number = -ROAD_M / 20, 0
        while start < duration:
            speed = 24 + 3 * lane + rng.normal(0, 0.3)
            t = np.arange(np.ceil(max(start, 0) * 10), np.floor(min(start + ROAD_M / speed, duration) * 10)) / 10
            parts["t"].append(t)
            parts["s"].append(speed * (t - start) + rng.normal(0, 0.1, len(t)))
            parts["speed"].append(speed + rng.normal(0, 0.2, len(t)))
            parts["lane"].append(np.full(len(t), lane))
            parts["vehicle"].append(np.full(len(t), f"{lane}_{number}", dtype=object))
            start, number = start + headway * rng.uniform(0.8, 1.2), number + 1
    frame = pd.DataFrame({name: np.concatenate(values) for name, values in parts.items()})
    return complete(frame).assign(recording=recording)


def vehicle(name: str, t: np.ndarray, s: np.ndarray, speed: np.ndarray | float, lane: int | np.ndarray) -> pd.DataFrame:
    """Samples of one vehicle."""
    return complete(pd.DataFrame({"t": np.round(t, 3), "s": s, "speed": speed, "lane": lane}).assign(vehicle=name))


def complete(frame: pd.DataFrame) -> pd.DataFrame:
    """The columns of a table that are the same for all."""
    constant = {"cls": "car", "direction": 1, "acceleration": np.nan, "length": 4.5, "width": 1.8, "recording": "a"}
    return frame.assign(lane=frame["lane"].astype(str), **constant)


def good_windows(count: int, seed: int = 0) -> list[TrafficWindow]:
    """Windows of good traffic, every 13 s of one recording."""
    table = Trajectories.from_frame(traffic(seed, 13.0 * count + SPAN_S))
    starts = 13.0 * np.arange(count)
    return [TrafficWindow("a", t, t + SPAN_S, 0.0, STRETCH_M, table.between(t - 1, t + SPAN_S + 1)) for t in starts]


def window_of(frame: pd.DataFrame, t0: float = 10.0, s0: float = 0.0, image=None) -> TrafficWindow:
    """The standard window of a frame that begins at (t0, s0)."""
    table = Trajectories.from_frame(frame)
    return TrafficWindow("a", t0, t0 + SPAN_S, s0, s0 + STRETCH_M, table, image)


def drive(times, speeds, start: float = 50.0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """t, s and speed at 10 Hz of a vehicle whose speed is linear between the given instants."""
    t = np.arange(round(times[0] * 10), round(times[-1] * 10)) / 10
    speed = np.interp(t, times, speeds)
    return t, start + np.cumsum(speed) / 10, speed


def with_crawler(frame: pd.DataFrame) -> pd.DataFrame:
    """Traffic of whose lane 1 nothing is left but somebody who crawls there from 12 to 42 s, on a free road."""
    t, s, speed = drive([12, 42], [9, 9], start=150)
    return pd.concat([frame[frame["lane"] != "1"], vehicle("x", t, s, speed, 1)], ignore_index=True)
