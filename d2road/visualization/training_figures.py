"""Training curves: figures of the rows that a training logs (metrics.json). Pure."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from d2road.visualization.figure_data import ITERATION, Figure, Lines, Panels, Series

SPAN = 0.05  # of the training over which losses are averaged
MOST_PANELS = 12  # of results, the first that were asked for
MOST_LOSSES = 24
# How a step is worked off: shown below the losses, not among the results.
SCHEDULE = {"lr": "learning rate", "grad_norm": "gradient norm", "time": "seconds a step"}
NO_RESULTS = {*SCHEDULE, "iteration", "eta_seconds", "data_time", "rank_data_time", "total_loss", "seed"}


def training_figures(rows: Sequence[Mapping[str, Any]], results: Sequence[str] = ()) -> dict[str, Figure]:
    """Losses, schedule and results of evaluations over the iterations; only what there is.

    Args:
        rows: of metrics.json, each with "iteration".
        results: names "task/metric" that are wanted first, as results.json has them.
    """
    columns = _columns(rows)
    figures: dict[str, Figure] = {}
    losses = [name for name in columns if name.startswith("loss") or "/loss" in name]
    if "total_loss" in columns:
        figures["losses"] = _losses(columns, sorted(losses))
    schedule = [
        Lines("", ITERATION, label, [Series(label, *columns[name])])
        for name, label in SCHEDULE.items()
        if name in columns and len(columns[name][0]) > 1
    ]
    if schedule:
        figures["schedule"] = Panels("Learning rate, gradient and speed", schedule)
    measured = [name for name in columns if "/" in name and name not in losses and name not in NO_RESULTS]
    ordered = [*(n for n in results if n in measured), *(n for n in measured if n not in results)]
    if ordered and max(len(columns[name][0]) for name in ordered) > 1:
        panels = [
            Lines(name, ITERATION, "", [Series(name, *columns[name])], points=True) for name in ordered[:MOST_PANELS]
        ]
        left_out = f" ({len(ordered) - len(panels)} more are in metrics.json)" if len(ordered) > len(panels) else ""
        figures["results"] = Panels(f"Results of the evaluations{left_out}", panels, columns=min(3, len(panels)))
    return figures


def _columns(rows: Sequence[Mapping[str, Any]]) -> dict[str, tuple[list[float], list[float]]]:
    """Iterations and values of each name that has numbers."""
    columns: dict[str, tuple[list[float], list[float]]] = {}
    for row in rows:
        for name, value in row.items():
            if isinstance(value, (int, float)) and not isinstance(value, bool) and name != ITERATION:
                x, y = columns.setdefault(name, ([], []))
                x.append(float(row[ITERATION]))
                y.append(float(value))
    return columns


def _losses(columns: Mapping[str, tuple[list[float], list[float]]], parts: Sequence[str]) -> Panels:
    """The total and its parts, as logged and averaged."""
    panels = []
    names = ["total_loss", *(p for p in parts if p != "total_loss")]
    for name in names[:MOST_LOSSES]:
        x, y = columns[name]
        series = [Series("logged", x, y)] if len(x) < 8 else [Series("average", x, _averaged(y), *_spread(y))]
        panels.append(Lines(name, ITERATION, "", series, points=len(x) < 8))
    about = "" if len(columns["total_loss"][0]) < 8 else ", averaged, with the range of the logged values around it"
    left_out = f" ({len(names) - len(panels)} more are in metrics.json)" if len(names) > len(panels) else ""
    return Panels(f"Losses of the training{about}{left_out}", panels, columns=min(3, len(panels)))


def _window(count: int) -> int:
    return max(3, round(SPAN * count)) | 1  # odd


def _averaged(values: Sequence[float]) -> np.ndarray:
    """Running mean over a twentieth of the training, of what there is at the ends."""
    window = np.ones(_window(len(values)))
    known = np.isfinite(values)
    total = np.convolve(np.where(known, values, 0.0), window, mode="same")
    return total / np.maximum(np.convolve(known.astype(float), window, mode="same"), 1e-9)


def _spread(values: Sequence[float]) -> tuple[np.ndarray, np.ndarray]:
    """The lowest and highest value in the window of each point."""
    half = _window(len(values)) // 2
    padded = np.pad(np.asarray(values, dtype=float), half, mode="edge")
    windows = np.lib.stride_tricks.sliding_window_view(padded, 2 * half + 1)
    return np.nanmin(windows, axis=1), np.nanmax(windows, axis=1)
