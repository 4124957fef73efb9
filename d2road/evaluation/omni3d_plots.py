"""Figures of Omni3D's protocol: precision and recall of 3D boxes, errors of boxes that were found over distance. Pure.

Errors are of the most confident box on each object by 2D IoU of 0.5 or more, so that an object that was placed wrongly
counts as found and its error is seen.
"""

from collections.abc import Sequence

import numpy as np

from d2road.evaluation.box_plots import MOST_CLASSES, mean_curve, named_curve
from d2road.evaluation.metrics.omni3d_protocol import Omni3DEval
from d2road.evaluation.plot_data import PlotData
from d2road.evaluation.range_plots import BoxErrors, range_figures
from d2road.structures.upright_boxes import box_axes, wrap_angle
from d2road.visualization.figure_data import Figure, Lines

UNIT = (-0.01, 1.02)
DISTANCE = "horizontal distance from the camera (m)"


def omni3d_plots(flat: Omni3DEval, solid: Omni3DEval, class_names: Sequence[str]) -> PlotData:
    """What an evaluation by `match_omni3d` has to show."""
    figures: dict[str, Figure] = {"precision_recall": precision_recall_figure(solid, class_names)}
    errors = matched_errors(flat)
    by_class = {class_names[k]: errors[k] for k in sorted(errors)}
    return PlotData(figures | range_figures(by_class, distance=DISTANCE), [])


def precision_recall_figure(solid: Omni3DEval, class_names: Sequence[str]) -> Lines:
    """Precision at 101 recalls of 3D overlap: the mean of the classes at three overlaps, near and far, and classes."""
    recalls = solid.params.recThrs
    tables = {f"all classes, IoU {iou:g}": solid.precision(iou)[0] for iou in (0.15, 0.25, 0.5)}
    whole = solid.precision()
    tables["all classes, IoU 0.05 to 0.5"] = _overlaps_beside(whole)
    for depth in ("near", "medium", "far"):
        tables[f"{depth}, IoU 0.05 to 0.5"] = _overlaps_beside(solid.precision(depth=depth))
    known = [k for k in range(whole.shape[2]) if (whole[:, :, k] > -1).any()]
    if 1 < len(known) <= MOST_CLASSES:
        tables |= {f"{class_names[k]}, IoU 0.25": solid.precision(0.25)[0][:, [k]] for k in known}
    curves = [(name, mean_curve(np.where(table < 0, np.nan, table))) for name, table in tables.items()]
    series = [named_curve(name, values, recalls) for name, values in curves if np.isfinite(values).any()]
    return Lines("Precision and recall of 3D boxes (Omni3D's protocol)", "recall", "precision", series, UNIT, UNIT)


def _overlaps_beside(table: np.ndarray) -> np.ndarray:
    """(T, R, K) -> (R, T K)."""
    return table.transpose(1, 0, 2).reshape(table.shape[1], -1)


def matched_errors(flat: Omni3DEval) -> dict[int, BoxErrors]:
    """Errors of matched boxes by category."""
    pairs = [(found, wanted) for found, wanted in flat.matched() if wanted["corners"] is not None]
    errors = {}
    for category in sorted({wanted["category_id"] for _, wanted in pairs}):
        chosen = [pair for pair in pairs if pair[1]["category_id"] == category]
        found, wanted = (np.array([pair[side]["corners"] for pair in chosen]) for side in (0, 1))  # (N, 8, 3)
        errors[category] = corner_errors(found, wanted)
    return errors


def corner_errors(found: np.ndarray, wanted: np.ndarray) -> BoxErrors:
    """Errors of boxes by their corners (N, 8, 3): depth of the middle, sides, heading seen from above the camera."""
    (sizes, ahead), (true_sizes, true_ahead) = (box_axes(corners) for corners in (found, wanted))
    middle, true_middle = found.mean(1), wanted.mean(1)
    yaw, true_yaw = (np.arctan2(-axis[:, 2], axis[:, 0]) for axis in (ahead, true_ahead))
    return BoxErrors(
        np.hypot(true_middle[:, 0], true_middle[:, 2]),
        middle[:, 2] - true_middle[:, 2],
        sizes / np.maximum(true_sizes, 1e-6) - 1,
        wrap_angle(yaw - true_yaw),
    )
