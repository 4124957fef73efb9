"""Mean and deviation of the 2D boxes of data sets, in units of their images."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from detectron2.data import DatasetCatalog

from d2road.data.scene_objects import xyxy_of
from d2road.utils.errors import DataError


def box_moments(datasets: Sequence[str], key: str, is_of_use: Callable[[Mapping[str, Any]], bool]) -> tuple[float, ...]:
    """Moments of cx, cy, w and h over annotations, each in units of its image's width or height.

    Boxes are taken as annotated, before flips, crops and resizing.

    Args:
        datasets: names.
        key: config key that the result is for, named in messages.
        is_of_use: which annotations count.
    Returns:
        four means, then four deviations (of the population).
    Raises:
        DataError: fewer than two boxes, or all alike in one of the four.
    """
    rows = []
    for dataset in datasets:
        for record in DatasetCatalog.get(dataset):
            size = np.array([record["width"], record["height"]], dtype=np.float64)
            boxes = xyxy_of([a for a in record.get("annotations", ()) if is_of_use(a)])
            low, high = boxes[:, :2] / size, boxes[:, 2:] / size
            rows.append(np.concatenate([(low + high) / 2, high - low], axis=1))
    boxes = np.concatenate(rows) if rows else np.zeros((0, 4))
    where, cure = ", ".join(datasets), f"set {key} (means, then deviations of cx, cy, w, h in units of the image)"
    if len(boxes) < 2:
        raise DataError(f"{where} has {len(boxes)} boxes to train on, too few for their moments: {cure}")
    deviation = boxes.std(axis=0)
    alike = [name for name, value in zip(("cx", "cy", "w", "h"), deviation) if value < 1e-6]
    if alike:
        raise DataError(f"all boxes of {where} have the same {', '.join(alike)}, which has no deviation: {cure}")
    return tuple(round(float(value), 6) for value in (*boxes.mean(axis=0), *deviation))
