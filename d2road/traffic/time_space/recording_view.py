"""Whole recordings as time-space diagrams: the path of every vehicle over all of the time, coloured by its speed."""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from d2road.traffic.table import Trajectories
from d2road.traffic.time_space.axes_view import draw_speed_scale, save_figure
from d2road.traffic.time_space.channel_colors import speed_colors
from d2road.traffic.time_space.render import TimeSpaceRenderer

SAMPLES = 200_000  # of a recording that are kept at most
FIRST_STEP_S = 0.5  # between samples of a vehicle; doubled where there are too many
GAP_STEPS = 4  # a path is interrupted where this many steps have no sample
COLUMNS = ["vehicle", "t", "s", "direction", "speed"]


class RecordingViews:
    """Keeps a thinned copy of what a stream of chunks holds, and draws each recording and direction as a whole.

    Memory is that of `SAMPLES` rows a recording, however long it is.
    """

    def __init__(self) -> None:
        self._kept: dict[str, pd.DataFrame] = {}
        self._steps: dict[str, float] = {}

    def watch(self, chunks: Iterable[Trajectories]) -> Iterator[Trajectories]:
        """Pass the chunks on."""
        for chunk in chunks:
            for name, rows in chunk.frame.groupby("recording", observed=True):
                self._keep(str(name), rows[COLUMNS].astype({"vehicle": str}))
            yield chunk

    def _keep(self, name: str, rows: pd.DataFrame) -> None:
        step = self._steps.setdefault(name, FIRST_STEP_S)
        kept = pd.concat([self._kept[name], _thinned(rows, step)]) if name in self._kept else _thinned(rows, step)
        while len(kept) > SAMPLES:
            step *= 2
            kept = _thinned(kept, step)
        self._kept[name], self._steps[name] = kept, step

    def save(self, folder: Path, renderer: TimeSpaceRenderer) -> list[Path]:
        """Write recording_NAME_along.png (and _against) for each recording; returns their paths.

        Args:
            folder: is there.
            renderer: says how speeds are coloured.
        """
        paths: list[Path] = []
        for name, rows in self._kept.items():
            for direction, word in ((1, "along"), (-1, "against")):
                mine = rows[rows["direction"] == direction]
                if len(mine):
                    letters = "".join(c if c.isalnum() or c in "-_." else "_" for c in name)
                    path = folder / f"recording_{letters}_{word}.png"
                    if path in paths:
                        path = folder / f"recording_{letters}_{word}_{len(paths)}.png"
                    figure = plot_recording(mine, renderer, GAP_STEPS * self._steps[name], f"{name}, {word} the axis")
                    save_figure(figure, path)
                    paths.append(path)
        return paths


def _thinned(rows: pd.DataFrame, step: float) -> pd.DataFrame:
    """The first sample of a vehicle in every `step` seconds."""
    order = rows.sort_values(["vehicle", "t"], kind="stable")
    place = np.floor(order["t"].to_numpy() / step + 1e-6)
    is_first = (order["vehicle"].to_numpy()[1:] != order["vehicle"].to_numpy()[:-1]) | (place[1:] != place[:-1])
    return order[np.concatenate([[True], is_first])] if len(order) else order


def plot_recording(
    rows: pd.DataFrame,
    renderer: TimeSpaceRenderer,
    max_gap: float,
    title: str = "",
    frames: Sequence[tuple[float, float, float, float]] = (),
) -> Figure:
    """Time-space diagram of a table.

    Args:
        rows: vehicle, t in s, s in m, speed in m/s along the nominal direction.
        renderer: says how speeds are coloured.
        max_gap: seconds without a sample after which a path is interrupted.
        frames: areas in a white frame, such as alarms: first and last s, lowest and highest m.
    """
    order = rows.sort_values(["vehicle", "t"], kind="stable")
    vehicle, points = order["vehicle"].to_numpy(), order[["t", "s"]].to_numpy(float)  # (N, 2)
    speed = order["speed"].to_numpy(float)
    joined = np.flatnonzero((vehicle[1:] == vehicle[:-1]) & (np.diff(points[:, 0]) <= max_gap))
    segments = np.stack([points[joined], points[joined + 1]], axis=1)  # (M, 2, 2)
    means = (speed[joined] + speed[joined + 1]) / 2
    limits = renderer.max_speed, renderer.stopped_speed, renderer.max_acceleration
    figure = Figure(figsize=(14, 7), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot(facecolor="black")
    axes.add_collection(LineCollection(list(segments), colors=speed_colors(means, means, *limits), linewidths=0.7))
    low, high = points.min(axis=0), points.max(axis=0)
    pad = np.maximum(0.01 * (high - low), 0.5)
    axes.set(xlim=(low[0] - pad[0], high[0] + pad[0]), ylim=(low[1] - pad[1], high[1] + pad[1]))
    axes.set(
        xlabel="time t in s", ylabel="position s along the road in m", title=f"{title}: {len(set(vehicle))} vehicles"
    )
    for t0, t1, s0, s1 in frames:
        axes.add_patch(Rectangle((t0, s0), t1 - t0, s1 - s0, fill=False, edgecolor="white", linewidth=2))
    draw_speed_scale(figure, axes, renderer)
    return figure
