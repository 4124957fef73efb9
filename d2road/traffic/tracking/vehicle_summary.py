"""Vehicles of a tracked video in a table each: class, lane, time in view, speed; and who passed where.

Speeds are medians over the rows in which a vehicle was seen; what was predicted or interpolated does not count.
"""

import numpy as np
import pandas as pd

from d2road.traffic.table import Trajectories
from d2road.traffic.tracking.ground_tracks import GroundTracks

KMH = 3.6
VEHICLE_COLUMNS = (
    "track", "cls", "lane", "direction", "start_s", "end_s", "seen_s", "standing_s", "speed_kmh", "speed_sd_kmh",
    "slowest_kmh", "fastest_kmh", "length_m", "near_m", "far_m",
)  # fmt: skip
PASSING_COLUMNS = ("direction", "lane", "t", "vehicle", "speed_kmh")
OFF_ROAD = ""


def summarize_vehicles(tracks: GroundTracks, trajectories: Trajectories | None = None) -> pd.DataFrame:
    """VEHICLE_COLUMNS, a row each, by the time at which they appear.

    start_s, end_s: s of the video, of the first and last row; seen_s: s in rows with a detection; near_m, far_m: from
    the camera's foot point; speeds are NaN for one that no row has seen.

    Args:
        trajectories: of the same tracks, for lane (the most frequent one) and direction; "" and 0 without.
    """
    rows = tracks.rows
    if not len(rows):
        return pd.DataFrame({name: [] for name in VEHICLE_COLUMNS})
    step = frame_step(rows["t"].to_numpy())
    rows = rows.assign(distance=np.hypot(rows["x"], rows["y"]), stands=rows["motion"] == "standing")
    groups = rows.groupby("track", sort=True)
    seen = rows[rows["seen"]].groupby("track")
    speeds = seen["speed"].agg(["median", "min", "max"])
    found = pd.DataFrame(
        {
            "cls": groups["cls"].first(),
            "start_s": groups["t"].min(),
            "end_s": groups["t"].max(),
            "seen_s": groups["seen"].sum() * step,
            "standing_s": groups["stands"].sum() * step,
            "speed_kmh": KMH * speeds["median"],
            "speed_sd_kmh": KMH * seen["speed_sd"].median(),
            "slowest_kmh": KMH * speeds["min"],
            "fastest_kmh": KMH * speeds["max"],
            "length_m": groups["length"].median(),
            "near_m": groups["distance"].min(),
            "far_m": groups["distance"].max(),
        }
    )
    places = _lanes(trajectories)
    found["lane"] = places["lane"].reindex(found.index).fillna(OFF_ROAD)
    found["direction"] = places["direction"].reindex(found.index).fillna(0).astype(int)
    found = found.rename_axis("track").reset_index()
    return found.sort_values(["start_s", "track"], ignore_index=True)[list(VEHICLE_COLUMNS)]


def frame_step(t: np.ndarray) -> float:
    """Seconds from a frame to the next: the median; 0 for a single instant."""
    instants = np.unique(t)
    return float(np.median(np.diff(instants))) if len(instants) > 1 else 0.0


def _lanes(trajectories: Trajectories | None) -> pd.DataFrame:
    """lane and direction by track."""
    if trajectories is None or not len(trajectories):
        return pd.DataFrame({"lane": pd.Series(dtype=object), "direction": pd.Series(dtype=int)})
    frame = trajectories.frame[["vehicle", "lane", "direction"]].astype({"vehicle": str, "lane": str})
    counts = frame.groupby(["vehicle", "lane", "direction"]).size().reset_index(name="rows")
    first = counts.sort_values("rows", ascending=False, kind="stable").drop_duplicates("vehicle")
    return first.assign(track=first["vehicle"].astype(int)).set_index("track")[["lane", "direction"]]


def passings(trajectories: Trajectories) -> pd.DataFrame:
    """Who passes the cross-section of each direction: PASSING_COLUMNS, a row a vehicle, in order of time.

    The cross-section is at the median of all positions of a direction, where most are seen; t is interpolated, the
    lane is that before it. Who never passes it is not there.
    """
    rows = []
    for direction in trajectories.directions:
        own = trajectories.select(direction=direction).frame
        place = float(own["s"].median())
        for vehicle, one in own.astype({"vehicle": str, "lane": str}).groupby("vehicle", sort=False):
            one = one.sort_values("t", kind="stable")
            s, t = one["s"].to_numpy(), one["t"].to_numpy()
            crossed = np.flatnonzero((s[:-1] < place) & (s[1:] >= place))
            if len(crossed):
                i = crossed[0]
                when = t[i] + (place - s[i]) / (s[i + 1] - s[i]) * (t[i + 1] - t[i])
                rows.append((direction, one["lane"].iloc[i], when, vehicle, KMH * float(one["speed"].iloc[i])))
    found = pd.DataFrame(rows, columns=list(PASSING_COLUMNS))
    return found.sort_values("t", kind="stable", ignore_index=True)


def flow_by_minute(passed: pd.DataFrame, start_s: float, end_s: float) -> pd.DataFrame:
    """Vehicles a minute: a row a minute of the video, a column a (direction, lane), counts of `passings`.

    The last minute may be cut off: its row counts what it has.
    """
    minutes = np.arange(int(start_s // 60), int(end_s // 60) + 1)
    columns = sorted({(int(d), str(lane)) for d, lane in zip(passed["direction"], passed["lane"])})
    counts = {
        key: [
            int(((passed["direction"] == key[0]) & (passed["lane"] == key[1]) & (passed["t"] // 60 == minute)).sum())
            for minute in minutes
        ]
        for key in columns
    }
    return pd.DataFrame(counts, index=pd.Index(minutes, name="minute"))
