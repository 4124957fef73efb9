"""A data set in the form of traffic_incidents, of made-up traffic: tables, recordings.csv, meta.csv, images."""

from pathlib import Path

import cv2
import numpy as np
import pandas as pd

from d2road.traffic.table import Trajectories
from d2road.traffic.time_space.render import TimeSpaceRenderer
from tests.factories.traffic_windows import drive, traffic, vehicle

# Recordings by group: how many, seconds.
GROUPS = {"train": (1, 330.0), "good": (1, 60.0), "incidents": (2, 60.0), "hours": (8, 60.0)}
ROAD = (0.0, 600.0)


def write_data(root: Path, side: int = 256) -> Path:
    """Write it; returns the folder of its category.

    Args:
        side: of the images, pixels; the same stretch and time whatever it is.
    """
    rows, meta = [], []
    (root / "recordings").mkdir(parents=True)
    for group, (count, seconds) in GROUPS.items():
        for number in range(count):
            name = f"stopped_{number:03d}" if group == "incidents" else f"{group}_{number:03d}"
            frame, event = traffic(len(rows), seconds), {"kind": "good"}
            if group == "incidents":
                frame, event = with_stopped(frame)
            Trajectories.from_frame(frame.assign(recording=name)).to_parquet(root / "recordings" / f"{name}.parquet")
            row = {"recording": name, "group": group, "scenario": "free", "start": 0.0, "stop": seconds}
            rows.append({**row, "low": ROAD[0], "high": ROAD[1], **event})
            meta += write_windows(root / "motorway", Trajectories.from_frame(frame), rows[-1], number, side)
    pd.DataFrame(rows).to_csv(root / "recordings.csv", index=False)
    pd.DataFrame(meta).to_csv(root / "meta.csv", index=False)
    return root / "motorway"


def with_stopped(frame: pd.DataFrame) -> tuple[pd.DataFrame, dict]:
    """A vehicle that comes to a halt on the middle lane, and the event's columns."""
    t, s, speed = drive([10, 18, 22, 50], [27, 27, 0, 0])
    event = {"kind": "stopped", "severity": "severe", "onset": 22.0, "end": 50.0, "vehicle": "x"}
    event |= {"s_low": float(s[t >= 22].min()), "s_high": float(s.max())}
    return pd.concat([frame, vehicle("x", t, s, speed, 1)], ignore_index=True), event


def write_windows(category: Path, table: Trajectories, row: dict, number: int, side: int) -> list[dict]:
    """Draw the windows of a recording; returns their rows of meta.csv."""
    renderer = TimeSpaceRenderer(size=(side, side), dt=25.6 / side, ds=512 / side)
    incident = row["kind"] != "good"
    folder = {"train": "train/good", "good": "test/good", "incidents": f"test/{row['kind']}"}.get(row["group"])
    starts = {"train": np.arange(0, 300, 30.0), "good": [5.0, 30.0], "incidents": [20.0]}.get(row["group"], [])
    rows = []
    for i, t0 in enumerate(starts):
        name = f"{folder}/{number * 10 + i:03d}"
        write_png(category / f"{name}.png", renderer.render(table, t0, 0.0)[:, :, ::-1])
        if incident:
            mask = renderer.mask(table, t0, 0.0, ["x"], (row["onset"], row["end"]), dilate=2)
            write_png(category / "ground_truth" / row["kind"] / f"{number * 10 + i:03d}_mask.png", mask * np.uint8(255))
        empty = dict.fromkeys(("severity", "onset", "end", "vehicle"), "")
        window = {"window": name, "t0": t0, "t1": t0 + 25.6, "s0": 0.0, "s1": 512.0, "density": 7.0}
        rows.append({**empty, **{k: row[k] for k in ("recording", "kind")}, **window} | _event(row))
    return rows


def _event(row: dict) -> dict:
    return {name: row[name] for name in ("severity", "onset", "end", "vehicle") if name in row}


def write_png(path: Path, image: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), image)
