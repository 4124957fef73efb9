"""Labels, predictions and cameras of Rope3D from folders of text files."""

import logging
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from d2road.data.camera_files import read_calib, read_denorm
from d2road.data.datasets.rope3d_types import TYPES
from d2road.data.datasets.split_files import read_split
from d2road.evaluation.metrics.kitti_objects import ObjectTable, read_labels_folder, read_predictions_folder
from d2road.evaluation.rope_roi import RoiMasks, inside_roi
from d2road.structures.camera import Camera
from d2road.utils.errors import DataError
from d2road.utils.input_files import text_lines

logger = logging.getLogger(__name__)


def read_rope_folders(
    gt: str | os.PathLike,
    pred: str | os.PathLike,
    calib: str | os.PathLike,
    denorm: str | os.PathLike,
    roi: str | os.PathLike | None = None,
    split: str | os.PathLike | None = None,
    missing_as_empty: bool = False,
) -> tuple[ObjectTable, ObjectTable, list[Camera]]:
    """Everything that the scores need, with merged classes.

    Args:
        gt, pred, calib, denorm: folders of FRAME.txt; predictions have a score as 16th field.
        roi: folder of masks; objects outside of them are left out.
        split: file that names the frames; None takes all that have a label file.
        missing_as_empty: take a frame without prediction file as one without detections.
    Returns:
        labels, predictions and the camera of each frame.
    Raises:
        FileNotFoundError: a folder, or a file of a frame, is missing.
        ValueError: no frames, or a file with wrong content; names file and line.
    """
    frames = read_split(Path(split)) if split else _frames_of(Path(gt))
    truth = merge_types(read_labels_folder(Path(gt), frames), Path(gt), frames)
    predictions = read_predictions_folder(Path(pred), frames, missing_as_empty)
    predictions = merge_types(predictions, Path(pred), frames)
    if not split:
        _note_extra(Path(pred), frames)
    cameras = [
        Camera(read_calib(Path(calib) / f"{frame}.txt"), read_denorm(Path(denorm) / f"{frame}.txt")) for frame in frames
    ]
    if roi:
        masks = RoiMasks(roi)
        of_frame = [masks.of_calib(Path(calib) / f"{frame}.txt") for frame in frames]
        truth, predictions = (keep_inside(objects, of_frame) for objects in (truth, predictions))
    return truth, predictions, cameras


def _frames_of(folder: Path) -> list[str]:
    if not folder.is_dir():
        raise FileNotFoundError(f"label folder {folder} does not exist")
    frames = sorted(path.stem for path in folder.glob("*.txt"))
    if not frames:
        raise DataError(f"label folder {folder} holds no .txt files, expected one for each frame")
    return frames


def _note_extra(folder: Path, frames: Sequence[str]) -> None:
    extra = {path.stem for path in folder.glob("*.txt")} - set(frames)
    if extra:
        logger.warning("%d prediction files in %s have no label file and are not used", len(extra), folder)


def merge_types(objects: ObjectTable, folder: Path, frames: Sequence[str]) -> ObjectTable:
    """Objects of the four classes, with the class as type; cones, plates and unknown ones are dropped.

    Args:
        folder, frames: where they are from, for the message.
    Raises:
        ValueError: a type that Rope3D does not have; names file and line.
    """
    merged = {kind: name for name, kinds in TYPES.members.items() for kind in (name, *kinds)}
    for kind in sorted(set(objects.type.tolist()) - set(merged)):
        if not TYPES.knows(kind):
            frame = frames[objects.frame[np.flatnonzero(objects.type == kind)[0]]]
            known = ", ".join(dict.fromkeys((*merged, *TYPES.others)))
            raise DataError(f"{_where(folder / f'{frame}.txt', kind)} has type {kind!r}, expected one of {known}")
    objects = objects[np.isin(objects.type, list(merged))]
    types = np.array([merged[kind] for kind in objects.type.tolist()], dtype=np.str_)
    return replace(objects, type=types)


def _where(path: Path, kind: str) -> str:
    lines = text_lines(path)
    return f"{path} line {1 + next(i for i, line in enumerate(lines) if line.lower().split()[:1] == [kind])}"


def keep_inside(objects: ObjectTable, masks: Sequence[np.ndarray]) -> ObjectTable:
    """Objects inside the region of interest of their frames; `masks` holds one (H, W) bool for each frame."""
    keep = np.zeros(len(objects), dtype=bool)
    order = np.argsort(objects.frame, kind="stable")
    for rows in np.split(order, np.flatnonzero(np.diff(objects.frame[order])) + 1):
        if len(rows):
            keep[rows] = inside_roi(objects.boxes_xyxy[rows], masks[objects.frame[rows[0]]])
    return objects[keep]
