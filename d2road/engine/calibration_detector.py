"""Calibration observations from a detector that runs over a video: boxes, and what a pose head says of them."""

from collections.abc import Iterable
from typing import Any

import numpy as np
import pandas as pd

from d2road.engine.ground_detector import class_names_of, instances_of
from d2road.engine.predictor import Predictor
from d2road.structures.camera import Camera
from d2road.traffic.calibration.observations import CalibrationObservations
from d2road.utils.errors import DataError
from d2road.video.frame import Frame

SIZE_SPREAD = 0.06  # relative deviation of a size that a detector says, at least


def observe(
    predict: Predictor, frames: Iterable[Frame], K: np.ndarray, size: tuple[int, int], least_score: float
) -> CalibrationObservations:
    """What a detector finds in frames, not linked yet.

    A pose head is given K without a ground plane; of what it says of depth nothing is used.

    Args:
        K: (3, 3) as far as it is known. size: width and height of all frames.
    Raises:
        ConfigError: a model that finds no objects with names. DataError: a frame of another size.
    """
    names = class_names_of(predict, "calibration")
    camera, parts = Camera(K), []
    for frame in frames:
        if frame.size_wh != size:
            width, height = frame.size_wh
            raise DataError(f"frame {frame.index} has {width}x{height} pixels, the first had {size[0]}x{size[1]}")
        found = instances_of(predict(frame.image_bgr, camera), "calibration")
        parts.append(rows_of(found, frame, names, camera, least_score))
    columns = ["frame", "t", "track", "cls", "score", "x1", "y1", "x2", "y2"]
    table = pd.concat(parts, ignore_index=True) if parts else pd.DataFrame({name: [] for name in columns})
    return CalibrationObservations.from_frame(table, *size)


def rows_of(found: Any, frame: Frame, names: list[str], camera: Camera, least_score: float) -> pd.DataFrame:
    """The table of one frame's Instances."""
    found = found[found.scores >= least_score]
    boxes = found.pred_boxes.tensor.numpy().astype(np.float64)
    table = pd.DataFrame(boxes, columns=["x1", "y1", "x2", "y2"]).assign(frame=frame.index, t=frame.t, track=-1)
    table["cls"] = [names[i] for i in found.pred_classes.tolist()]
    table["score"] = np.clip(found.scores.numpy().astype(np.float64), 0, 1)
    if found.has("pred_boxes3d"):
        rows = found.pred_boxes3d.to_kitti(camera.ground_rotation()).numpy().astype(np.float64)
        pixels, _ = camera.project(rows[:, :3])
        table[["bottom_u", "bottom_v"]] = pixels
        table[["h", "w", "l"]] = rows[:, 3:6]
        table[["h_std", "w_std", "l_std"]] = SIZE_SPREAD * rows[:, 3:6]
        table["depth"] = rows[:, 2]
        if found.has("pred_depth_std_m"):
            table["depth_std"] = found.pred_depth_std_m.numpy().astype(np.float64)
    return table
