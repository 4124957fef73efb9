"""Drawing figures of numbers: curves, confusion matrices, histograms, reliability diagrams. Data in, image out.

Colours are Okabe and Ito's, which people with any colour vision tell apart; curves differ by their dashes too. Drawn
with matplotlib's Agg canvas and without its global state: in any thread, and on a machine without a display.
"""

import io
import textwrap
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import matplotlib
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure as Canvas
from matplotlib.ticker import FuncFormatter, MaxNLocator

from d2road.visualization.figure_data import ITERATION, Figure, Histogram, Lines, Mark, Matrix, Panels, Reliability

WIDTH_PX, DPI = 800, 100
COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#000000", "#E69F00", "#56B4E9", "#7F7F7F")
DASHES: tuple[Any, ...] = ("-", (0, (6, 2)), (0, (1.5, 1.5)), (0, (6, 2, 1.5, 2)))
GREY, GRID = "#606060", "#DDDDDD"
STYLE: dict[Any, Any] = {
    "font.size": 11,
    "axes.titlesize": 12,
    "axes.labelsize": 11,
    "legend.fontsize": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.unicode_minus": True,
    "text.usetex": False,
    "text.parse_math": False,  # a class or a file may be called "a_$b$"
}
LEGEND_COLUMNS = 3
CELL_TEXTS = 20  # rows up to which the numbers of a matrix are written into it


def draw_figure(figure: Figure) -> np.ndarray:
    """A figure as (H, 800, 3) uint8 RGB.

    Raises:
        ValueError: matplotlib cannot draw it.
    """
    with _style():
        canvas = FigureCanvasAgg(_drawn(figure))
        canvas.draw()
        return np.asarray(canvas.buffer_rgba())[..., :3].copy()


def figure_png(figure: Figure) -> bytes:
    """A figure as a PNG file, without anything that changes from run to run."""
    with _style():
        file = io.BytesIO()
        FigureCanvasAgg(_drawn(figure)).print_png(file, metadata={"Software": None})
    return file.getvalue()


@contextmanager
def _style() -> Iterator[None]:
    with matplotlib.rc_context(STYLE), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from")  # drawn as a box
        yield


def _drawn(figure: Figure) -> Canvas:
    return _DRAW[type(figure)](figure)


def _canvas(height_px: int) -> Canvas:
    return Canvas(figsize=(WIDTH_PX / DPI, height_px / DPI), dpi=DPI, layout="constrained", facecolor="white")


def _draw_lines(figure: Lines) -> Canvas:
    rows = -(-(len(figure.series) + bool(figure.diagonal)) // LEGEND_COLUMNS)
    canvas = _canvas(500 + 22 * rows)
    axes = canvas.subplots()
    _plot(axes, figure)
    axes.set_title(_wrapped(figure.title))
    if len(figure.series) > 1 or figure.diagonal:
        _legend(canvas, axes)
    return canvas


def _draw_panels(figure: Panels) -> Canvas:
    columns = max(1, min(figure.columns, len(figure.panels)))
    rows = max(1, -(-len(figure.panels) // columns))
    canvas = _canvas(60 + rows * (230 if columns == 1 and rows < 5 else 190))
    grid = canvas.subplots(rows, columns, squeeze=False, sharex=True)
    for axes, panel in zip(grid.flat, figure.panels):
        _plot(axes, panel)
        axes.set_xlabel("")
        if panel.title:
            axes.set_title(_wrapped(panel.title, 26 if columns > 1 else 80), fontsize=10 if columns > 1 else 11)
        if len(panel.series) > 1:
            axes.legend(loc="best", ncols=len(panel.series), fontsize=9)
    for axes in list(grid.flat)[len(figure.panels) :]:
        axes.set_visible(False)
    for column in range(columns):  # below the last panel of each column
        axes = grid[(len(figure.panels) - 1 - column) // columns][column]
        axes.set_xlabel(figure.panels[-1].x_label)
        axes.tick_params(labelbottom=True)
    canvas.suptitle(_wrapped(figure.title), fontsize=12)
    return canvas


def _plot(axes: Any, figure: Lines) -> None:
    """Curves, bands, marks and axes of one panel."""
    for i, series in enumerate(figure.series):
        color, dash = COLORS[i % len(COLORS)], DASHES[i % len(DASHES)]
        lonely = np.count_nonzero(np.isfinite(series.y)) < 2
        marker = "o" if figure.points or lonely else None
        axes.plot(series.x, series.y, color=color, linestyle=dash, linewidth=1.8, marker=marker, label=series.name)
        if series.low is not None and series.high is not None:
            axes.fill_between(series.x, series.low, series.high, color=color, alpha=0.18, linewidth=0)
    if figure.diagonal:
        axes.plot([0, 1], [0, 1], color=GREY, linewidth=1, linestyle=":", label=figure.diagonal, zorder=1.5)
    _marks(axes, figure.marks)
    if figure.x_label == ITERATION:
        axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    axes.set_xlabel(figure.x_label)
    axes.set_ylabel(figure.y_label)
    if figure.x_range is not None:
        axes.set_xlim(*figure.x_range)
    if figure.y_range is not None:
        axes.set_ylim(*figure.y_range)
    axes.grid(color=GRID, linewidth=0.8)
    axes.set_axisbelow(True)


def _marks(axes: Any, marks: Sequence[Mark]) -> None:
    for mark in marks:
        axes.axvline(mark.x, color="black", linewidth=1.2, linestyle="--")
        axes.annotate(
            mark.name,
            (mark.x, 1),
            xycoords=("data", "axes fraction"),
            xytext=(4, -2),
            textcoords="offset points",
            va="top",
            fontsize=10,
            bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.8, "pad": 1},
        )


def _legend(canvas: Canvas, axes: Any) -> None:
    handles, names = axes.get_legend_handles_labels()
    columns = min(LEGEND_COLUMNS, max(1, len(names))) if max(map(len, names), default=0) <= 30 else 2
    canvas.legend(handles, names, loc="outside lower center", ncols=columns, frameon=False)


def _draw_matrix(figure: Matrix) -> Canvas:
    counts = np.array(figure.counts, dtype=float).reshape(len(figure.rows), len(figure.columns))
    share = counts / np.maximum(counts.sum(axis=0, keepdims=True), 1)
    side = int(np.clip(150 + 62 * len(figure.rows), 420, 800))
    canvas = _canvas(side)
    axes = canvas.subplots()
    shown = axes.imshow(share, cmap="Blues", vmin=0, vmax=1, aspect="auto")
    long_names = max(map(len, figure.columns)) * len(figure.columns) > 60
    turn: dict[str, Any] = {"rotation": 45, "ha": "right", "rotation_mode": "anchor"} if long_names else {}
    axes.set_xticks(range(len(figure.columns)), figure.columns, **turn)
    axes.set_yticks(range(len(figure.rows)), figure.rows)
    axes.tick_params(length=0)
    axes.set_xlabel(figure.x_label)
    axes.set_ylabel(figure.y_label)
    axes.set_title(_wrapped(figure.title))
    if len(figure.rows) <= CELL_TEXTS:
        small = len(figure.rows) > 10
        for (row, column), count in np.ndenumerate(counts):
            if count:
                text = f"{count:.0f}" if small else f"{count:.0f}\n{100 * share[row, column]:.0f} %"
                ink = "white" if share[row, column] > 0.6 else "black"
                axes.text(column, row, text, ha="center", va="center", color=ink, fontsize=7 if small else 9)
    canvas.colorbar(shown, ax=axes, label="share of the column")
    return canvas


def _draw_histogram(figure: Histogram) -> Canvas:
    canvas = _canvas(480)
    axes = canvas.subplots()
    edges = np.array(figure.edges)
    for i, (name, counts) in enumerate(figure.counts.items()):
        color, hatch = COLORS[i % len(COLORS)], ("", "//", "..", "xx")[i % 4]
        axes.stairs(counts, edges, fill=True, facecolor=color, alpha=0.35, hatch=hatch, edgecolor=color, label=name)
        axes.stairs(counts, edges, color=color, linewidth=1.6)
    _marks(axes, figure.marks)
    axes.set_ylim(bottom=0)
    axes.margins(x=0.02)
    axes.yaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_xlabel(figure.x_label)
    axes.set_ylabel(figure.y_label)
    axes.set_title(_wrapped(figure.title))
    axes.grid(color=GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    _legend(canvas, axes)
    return canvas


def _draw_reliability(figure: Reliability) -> Canvas:
    canvas = _canvas(640)
    upper, lower = canvas.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    edges = np.array(figure.edges)
    shares, known = np.array(figure.shares), np.isfinite(figure.shares)
    upper.stairs(np.nan_to_num(shares), edges, fill=True, color=COLORS[6], alpha=0.45)
    upper.plot([0, 1], [0, 1], color=GREY, linestyle=":", label="the share is the score")
    points = np.array(figure.scores)[known]
    upper.plot(points, shares[known], color=COLORS[0], marker="o", label="share in a bin, at its mean score")
    upper.set_ylim(0, 1)
    upper.set_ylabel(figure.y_label)
    upper.set_title(_wrapped(figure.title))
    lower.stairs(figure.counts, edges, fill=True, color=COLORS[0])
    if max(figure.counts, default=0) > 0:
        lower.set_yscale("log")
        lower.set_ylim(bottom=0.8)
        lower.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.0f}"))  # not 10^3, which is mathtext
    lower.set_ylabel("count")
    lower.set_xlabel(figure.x_label)
    lower.set_xlim(0, 1)
    for axes in (upper, lower):
        axes.grid(color=GRID, linewidth=0.8)
        axes.set_axisbelow(True)
    _legend(canvas, upper)
    return canvas


def _wrapped(text: str, width: int = 80) -> str:
    return "\n".join(textwrap.wrap(text, width)) or text


_DRAW: dict[type, Callable[[Any], Canvas]] = {
    Lines: _draw_lines,
    Panels: _draw_panels,
    Matrix: _draw_matrix,
    Histogram: _draw_histogram,
    Reliability: _draw_reliability,
}
