"""Figures of tracks: speeds, flow, scores of windows, the time-space diagram, and all paths from above."""

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from d2road.engine.track_run import RANGE_M
from d2road.structures.roadside_camera import RoadsideCamera
from d2road.traffic.table import Trajectories
from d2road.traffic.time_space.recording_view import FIRST_STEP_S, GAP_STEPS, plot_recording
from d2road.traffic.time_space.render import TimeSpaceRenderer
from d2road.traffic.tracking.ground_tracks import GroundTracks
from d2road.traffic.tracking.vehicle_summary import flow_by_minute
from d2road.visualization import fit_view
from d2road.visualization.bev_drawing import draw_background
from d2road.visualization.figure_data import Histogram, Lines, Series
from d2road.visualization.tracks_drawing import draw_paths_from_above

BIN_KMH = 5.0
LEAST_MINUTES = 3  # of a curve of flow
HEIGHT_PX = 720
DPI = 75


def speed_histogram(vehicles: pd.DataFrame) -> Histogram | None:
    """How many vehicles of each class drove how fast; None where no speed is known.

    Args:
        vehicles: of `summarize_vehicles`.
    """
    known = vehicles[np.isfinite(vehicles["speed_kmh"])]
    if not len(known):
        return None
    edges = np.arange(0.0, known["speed_kmh"].max() + 2 * BIN_KMH, BIN_KMH)
    counts = {
        str(cls): np.histogram(one["speed_kmh"], edges)[0].astype(float)
        for cls, one in known.groupby("cls", sort=False)
    }
    return Histogram("Median speed of each vehicle", "speed in km/h", "vehicles", edges, counts)


def flow_curves(passed: pd.DataFrame, seconds: float) -> Lines | None:
    """Vehicles a minute in each lane over the video; None where it is too short for a curve."""
    counts = flow_by_minute(passed, 0.0, seconds)
    whole = counts[counts.index < seconds // 60]  # the last minute may be cut off
    if len(whole) < LEAST_MINUTES or not len(whole.columns):
        return None
    series = [Series(lane_name(*column), whole.index + 0.5, whole[column].astype(float)) for column in whole.columns]
    return Lines("Flow", "time in min", "vehicles a minute", series, points=True)


def lane_name(direction: int, lane: str) -> str:
    """A lane in words."""
    return f"lane {lane}, {'along' if direction > 0 else 'against'} the axis" if lane else "beside the road"


def score_curve(path: Path, threshold: Any) -> Lines | None:
    """Scores of a watch's windows over time with its threshold; None where the file has no window.

    Raises:
        OSError, ValueError: it cannot be read.
    """
    scores = pd.read_csv(path)
    if not len(scores):
        return None
    t = (scores["t0"] + scores["t1"]) / 2
    series = [Series("window", t, scores["score"])]
    if isinstance(threshold, (int, float)):
        series.append(Series(f"threshold {threshold:.4g}", [t.min(), t.max()], [threshold] * 2))
    return Lines("How unusual each window is", "middle of the window, s of the video", "score", series, points=True)


def time_space_png(table: Trajectories, direction: int, alarms: Sequence[Mapping[str, Any]]) -> bytes:
    """Time-space diagram of a direction as PNG, windows of its alarms in white frames."""
    rows = table.select(direction=direction).frame.astype({"vehicle": str})
    frames = [
        (float(one["start"]), float(one["end"]), float(one["s_low"]), float(one["s_high"]))
        for one in alarms
        if one.get("direction") == direction
    ]
    title = f"{'Along' if direction > 0 else 'Against'} the axis of the road"
    figure = plot_recording(rows, TimeSpaceRenderer(), GAP_STEPS * FIRST_STEP_S, title, frames)
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=DPI, metadata={"Software": None})
    return file.getvalue()


def paths_from_above(tracks: GroundTracks, camera: RoadsideCamera) -> np.ndarray:
    """(H, W, 3) RGB: all tracks from above, with lanes and what the camera sees."""
    size = (camera.width, camera.height)
    view = fit_view(HEIGHT_PX, camera.pinhole, size, range_m=RANGE_M)
    background = draw_background(view, camera.pinhole, size)
    paths = {int(track): rows[["x", "y"]].to_numpy() for track, rows in tracks.rows.groupby("track")}
    return draw_paths_from_above(view, background, list(paths.values()), list(paths), camera.road)
