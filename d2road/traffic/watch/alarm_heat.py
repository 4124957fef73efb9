"""Heat map of an alarm: which vehicles' traces in a time-space image are how unusual, and the image with it."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from d2road.traffic.baselines.explanation import Explanation
from d2road.traffic.events.window_stream import ScoredWindow
from d2road.traffic.time_space.axes_view import plot_time_space, save_figure
from d2road.traffic.time_space.render import TimeSpaceRenderer
from d2road.traffic.time_space.traffic_window import TrafficWindow
from d2road.utils.output_files import make_folder


def vehicle_heat(window: TrafficWindow, renderer: TimeSpaceRenderer, scores: Mapping[str, float]) -> np.ndarray:
    """(H, W) at the size of the window's image: along each vehicle's trace its score, 0 elsewhere.

    Args:
        scores: of vehicles by name; where traces cross, the highest counts.
    """
    heat = np.zeros(renderer.size)
    for vehicle, score in scores.items():
        if score > 0:
            trace = renderer.mask(window.table, window.t0, window.s0, [vehicle], direction=window.direction)
            heat = np.maximum(heat, np.where(trace > 0, score, 0.0))
    return heat


def write_alarm_image(
    path: Path,
    scored: ScoredWindow,
    renderer: TimeSpaceRenderer,
    threshold: float,
    scores: Mapping[str, float],
    why: Explanation | None,
    title: str,
) -> None:
    """The time-space image of an alarm's window with axes, its heat map over it and a ring at the vehicle.

    Raises:
        OutputError: it cannot be written.
    """
    window = scored.window
    image = renderer.render(window.table, window.t0, window.s0, window.direction)
    heat = vehicle_heat(window, renderer, scores)
    figure = plot_time_space(image, renderer, window.t0, window.s0, heat=heat, threshold=threshold, title=title)
    if why is not None:
        figure.axes[0].plot(why.t, why.s, "o", markersize=24, markerfacecolor="none", markeredgecolor="tab:red")
    make_folder(path.parent)
    save_figure(figure, path)
