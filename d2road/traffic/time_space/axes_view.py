"""Time-space diagrams for people: axes in seconds and metres, the scale of colours, the anomaly map over it."""

import os
import textwrap
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LinearSegmentedColormap, ListedColormap, Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from d2road.traffic.time_space.channel_colors import speed_colors
from d2road.traffic.time_space.render import TimeSpaceRenderer
from d2road.utils.output_files import atomic_write

COLORS_OF_SCALE = 512
TITLE_WIDTH = 90  # characters
# Of anomaly maps: speeds are magenta, red, yellow, green and blue already.
HEAT = LinearSegmentedColormap.from_list("anomaly", ["#002b3a", "#00b8d4", "#ffffff"])
Extent = tuple[float, float, float, float]
"""Left, right, bottom and top: seconds and metres."""


def plot_time_space(
    image: np.ndarray,
    renderer: TimeSpaceRenderer,
    t0: float,
    s0: float,
    lanes: Sequence[str] | None = None,
    heat: np.ndarray | None = None,
    threshold: float | None = None,
    truth_mask: np.ndarray | None = None,
    title: str = "",
) -> Figure:
    """Time-space diagram: an image of the renderer with axes, its map over it.

    Args:
        image: (H, W, 3) uint8.
        t0, s0: seconds and metres where its window begins.
        lanes: of a stacked image, from the bottom.
        heat: (h, w) anomaly map, any range, drawn over it: the higher, the more opaque; None is none.
        threshold: of the map; a line is drawn around what lies above.
        truth_mask: (H, W), not 0 inside; outlined in white.
        title: lines; long ones are broken.
    Raises:
        ValueError: the image is not of the renderer's size, or the map is not two-dimensional.
    """
    height, width = renderer.size
    if image.shape != (height, width, 3):
        raise ValueError(f"an image of shape {image.shape} for a renderer of {height} x {width} pixels")
    if heat is not None and np.ndim(heat) != 2:
        raise ValueError(f"an anomaly map has two dimensions, got shape {np.shape(heat)}")
    figure = Figure(figsize=(8, 7), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    # Columns are instants, so an image reaches half a column to either side.
    extent = (t0 - renderer.dt / 2, t0 + (width - 0.5) * renderer.dt, s0, s0 + renderer.stretch)
    axes.imshow(image, extent=extent, aspect="auto", interpolation="nearest")
    title = "\n".join(textwrap.fill(line, TITLE_WIDTH) for line in title.split("\n"))
    axes.set(xlabel="time t in s", ylabel="position s along the road in m", title=title)
    if renderer.lane_layout == "stacked" and lanes:
        _name_panels(axes, renderer, s0, lanes)
    if heat is not None:
        _draw_heat(figure, axes, np.asarray(heat, dtype=float), extent, threshold)
    if truth_mask is not None and np.any(truth_mask):
        _outline(axes, np.asarray(truth_mask) != 0, extent, "white")
    if renderer.channels == "speed":
        draw_speed_scale(figure, axes, renderer)
    return figure


def save_figure(figure: Figure, path: str | os.PathLike, dpi: int = 110) -> None:
    """Write a figure in the format of the file's suffix, atomically."""
    with atomic_write(path) as file:
        figure.savefig(file, format=os.path.splitext(path)[1].lstrip(".") or "png", dpi=dpi)


def _name_panels(axes: Axes, renderer: TimeSpaceRenderer, s0: float, lanes: Sequence[str]) -> None:
    """Rows of a stacked image are metres of their panel; the axis counts rows of ds metres."""
    geometry = renderer.geometry(len(lanes))
    ticks, texts = [], {}
    for panel, lane in enumerate(lanes):
        base = s0 + (renderer.size[0] - geometry.bottom(panel)) * renderer.ds
        for share in (0.0, 0.5):
            tick = base + share * geometry.panel_height * renderer.ds
            ticks.append(tick)
            texts[round(float(tick), 6)] = f"{s0 + share * renderer.stretch:g}" + (f"\nlane {lane}" if share else "")
        axes.axhline(base, color="0.4", linewidth=0.8)
    axes.set_yticks(ticks)
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: texts.get(round(float(value), 6), "")))


def _draw_heat(figure: Figure, axes: Axes, heat: np.ndarray, extent: Extent, threshold: float | None) -> None:
    known = np.where(np.isfinite(heat), heat, np.nanmin(heat) if np.isfinite(heat).any() else 0.0)
    scale = Normalize(float(known.min()), max(float(known.max()), float(known.min()) + 1e-9))
    image = axes.imshow(known, extent=extent, aspect="auto", cmap=HEAT, norm=scale, alpha=0.75 * scale(known), zorder=2)
    if threshold is not None:
        _outline(axes, known > threshold, extent, "tab:red")
    bar = figure.colorbar(
        image, ax=axes, location="right", label="anomaly map (cyan to white)", fraction=0.04, pad=0.01
    )
    if bar.solids is not None:
        bar.solids.set_alpha(1)


def _outline(axes: Axes, inside: np.ndarray, extent: Extent, color: str) -> None:
    if inside.any() and not inside.all():
        axes.contour(inside[::-1], levels=[0.5], extent=extent, colors=[color], linewidths=1.2, zorder=3)


def draw_speed_scale(figure: Figure, axes: Axes, renderer: TimeSpaceRenderer) -> None:
    """Add the scale of a renderer's colours of speed below a diagram."""
    low = -0.15 * renderer.max_speed
    speeds = np.linspace(low, renderer.max_speed, COLORS_OF_SCALE)
    colors = speed_colors(speeds, speeds, renderer.max_speed, renderer.stopped_speed, renderer.max_acceleration)
    scale = figure.colorbar(
        ScalarMappable(Normalize(low, renderer.max_speed), ListedColormap(colors)),
        ax=axes,
        location="bottom",
        fraction=0.04,
    )
    scale.set_label("speed in m/s (magenta: stopped, blue: backwards)")
