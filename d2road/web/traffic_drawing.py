"""Drawings of the tab Traffic: the whole recording as a time-space diagram with its alarms, and scores over time."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from d2road.traffic.events.alarms import Alarm
from d2road.traffic.table import Trajectories
from d2road.traffic.time_space.axes_view import save_figure
from d2road.traffic.time_space.recording_view import FIRST_STEP_S, GAP_STEPS, plot_recording
from d2road.traffic.time_space.window_grid import WindowGrid

RECORDINGS = 4  # that are drawn


def draw_trajectories(table: Trajectories, grid: WindowGrid, alarms: Sequence[Alarm], folder: Path) -> list[Path]:
    """A diagram of each of the first recordings and of its directions, alarms in white frames; returns their paths."""
    paths: list[Path] = []
    for recording in table.recordings[:RECORDINGS]:
        own = table.select(recording=recording)
        for direction in own.directions:
            rows = own.select(direction=direction).frame.astype({"vehicle": str})
            title = f"{recording}, direction {direction:+d}"
            frames = [
                (alarm.start, alarm.end, alarm.s_low, alarm.s_high)
                for alarm in alarms
                if alarm.recording == recording and alarm.direction == direction
            ]
            max_gap = grid.renderer.max_gap or GAP_STEPS * FIRST_STEP_S
            figure = plot_recording(rows, grid.renderer, max_gap, title, frames)
            path = folder / f"time_space_{len(paths) + 1}.png"
            save_figure(figure, path)
            paths.append(path)
    return paths


def draw_scores(scores: pd.DataFrame, threshold: float, folder: Path) -> Path:
    """Scores of windows over the middle of their time, those above the threshold in red; returns the path."""
    figure = Figure(figsize=(8, 3), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    t, values = (scores["t0"] + scores["t1"]).to_numpy() / 2, scores["score"].to_numpy()
    above = values > threshold
    axes.plot(t[~above], values[~above], ".", color="tab:gray", label="windows")
    axes.plot(t[above], values[above], ".", color="tab:red", label="alarms")
    if np.isfinite(threshold):
        axes.axhline(threshold, color="black", linestyle="--", label=f"threshold {threshold:.4g}")
    axes.set(xlabel="time t in s", ylabel="score")
    axes.legend()
    path = folder / "scores.png"
    save_figure(figure, path)
    return path
