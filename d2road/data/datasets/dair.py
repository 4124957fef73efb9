"""DAIR-V2X-I, roadside data in its own JSON layout.

    ROOT/single-infrastructure-split-data.json            {"train": ["000000", ...], "val": [...], "test": [...]}
    ROOT/data_info.json                                   which files belong to which frame; this and what it names
    ROOT/image/000000.jpg                                 may also lie in ROOT/single-infrastructure-side
    ROOT/label/camera/000000.json                         [{type, 2d_box, 3d_dimensions, 3d_location, rotation, ...}]
    ROOT/calib/camera_intrinsic/000000.json               {cam_K: 9 numbers, cam_D}
    ROOT/calib/virtuallidar_to_camera/000000.json         {rotation: 3x3, translation: 3x1}

What is done to the labels, and why:

- Numbers may be strings. Their angles are not wrapped.
- `3d_location` is the centre of the box in the frame of the virtual LiDAR (x forward, y left, z up), also in
  label/camera, and `rotation` turns about that frame's z. Boxes become bottom centres in the camera frame; headings
  become `rotation_y` about the normal of the ground plane, as in Rope3D. `box_rotation` (3x3; columns: along the
  length, down, along the width) is the labelled orientation without that change of axis.
- label/camera is used: it fits the time of the image, label/virtuallidar that of the scan.
- The rotation to the camera is not quite one: the nearest rotation is taken.
- There is no file of the ground, and z = 0 of the LiDAR is not the road: see `ground_planes` of `dair_ground.py`.
- Truck, Van, Bus are Car and Tricyclist, Motorcyclist, Barrowlist are Cyclist, as in its benchmark. `type` keeps what
  the label says. TrafficCone is of no class.
- Images are taken as free of distortion (`cam_D` is not used), as by the benchmark.

Source: Yu et al., DAIR-V2X, CVPR 2022, and its development kit's description of the files.
"""

import logging
from dataclasses import dataclass
from typing import Any

import numpy as np

from d2road.data.camera_files import read_camera
from d2road.data.catalog import register_objects
from d2road.data.dataset_formats import DATASET_FORMATS, DatasetFormat
from d2road.data.datasets.dair_files import (
    DairFrame,
    frames_of_split,
    note_unlisted,
    read_boxes,
    read_frame_camera,
    read_frames,
)
from d2road.data.datasets.dair_ground import CameraGround, ground_planes
from d2road.data.datasets.frame_files import frame_record
from d2road.data.datasets.label_types import LabelTypes
from d2road.data.input_checks import DroppedBoxes, one_entry
from d2road.data.label_conventions import LabelConventions
from d2road.structures.upright_boxes import heading_to_ry, ry_to_alpha

logger = logging.getLogger(__name__)

TYPES = LabelTypes(
    members={
        "Car": ("Car", "Truck", "Van", "Bus"),
        "Pedestrian": ("Pedestrian",),
        "Cyclist": ("Cyclist", "Tricyclist", "Motorcyclist", "Barrowlist"),
    },
    others=("TrafficCone",),
)
CLASSES = tuple(TYPES.classes)


def register_dair(name: str, root: str, split: str = "", hint: str = "") -> None:
    """Register DAIR-V2X-I data below `root`. Idempotent.

    Args:
        split: "train", "val" or "test" of the split file, or a text file with a frame a line; "" for all frames.
        hint: how to get the data, for the message when it is missing.
    """
    load = lambda: load_dair(root, split, hint)  # noqa: E731
    register_objects(name, load, CLASSES, ry_frame="ground", evaluator_type="dair")


DATASET_FORMATS.register(DatasetFormat("dair:ROOT[:train|val|test|SPLIT.txt]", register_dair, (1, 2)), name="dair")


def load_dair(root: str, split: str = "", hint: str = "") -> list[dict]:
    """Dataset dicts, in the order of the split, else of data_info.json.

    Each has `camera` {"P": intrinsics, "ground": plane a b c d in the camera frame, "group": number of the camera in
    this split}: frames of one group have the same calibration and share one plane. Annotations are as
    `catalog.register_objects` says, with `box_rotation`. Frames of the test split, which has no labels, have no
    `annotations`.

    Raises:
        FileNotFoundError: a folder, list or file is missing.
        ValueError: broken JSON, a label or calibration that cannot be right, a split of unknown frames; names file
            and entry.
    """
    frames = read_frames(root, hint)
    note_unlisted(frames)
    chosen = frames_of_split(root, split, frames)
    # Planes belong to cameras. They are fitted to the training frames where those show the camera.
    training = frames_of_split(root, "train", frames) if split in ("val", "test") else []
    training = [frame for frame in training if frame.label.is_file()]
    labelled = _read_frames(chosen, split)
    planes = ground_planes(labelled, _read_frames(training, "train"))
    dropped, conventions = DroppedBoxes(str(frames[0].label.parent)), LabelConventions(root)
    records = []
    for frame in labelled:
        with one_entry():
            records.append(_record(frame, planes[frame.key], dropped))
            conventions.add(records[-1], read_camera(records[-1]), ry_frame="ground")
    dropped.finish()
    conventions.finish()
    logger.info("%s %s: %d frames, %d cameras", root, split, len(records), len(planes))
    return records


@dataclass(frozen=True)
class LabelledFrame:
    """Calibration and boxes of a frame; (N, ...) over `boxes`, all in the camera frame."""

    files: DairFrame
    K: np.ndarray  # (3, 3)
    up: np.ndarray  # (3,) z axis of the virtual LiDAR
    key: tuple[float, ...]  # equal for frames of equal calibration
    boxes: list[tuple[str, dict]] | None  # (where it stands, row)

    @property
    def standing_points(self) -> np.ndarray:
        """(M, 3) bottom centres of the road users."""
        rows = [row for _, row in self.boxes or () if row["has_3d"] and row["type"] not in TYPES.others]
        return np.array([row["location"] for row in rows]).reshape(-1, 3)


def _read_frames(frames: list[DairFrame], split: str) -> list[LabelledFrame]:
    labelled = []
    for frame in frames:
        with one_entry():
            labelled.append(_read_frame(frame, split))
    return labelled


def _read_frame(frame: DairFrame, split: str) -> LabelledFrame:
    K, rotation, translation = read_frame_camera(frame)
    boxes = None
    if frame.label.is_file() or split != "test":
        boxes = read_boxes(frame, TYPES, rotation, translation)
    key = tuple(np.round(np.concatenate([K[:2].ravel(), rotation.ravel() * 1e3, translation * 1e2]), 2) + 0.0)
    return LabelledFrame(frame, K, rotation[:, 2], key, boxes)


def _record(frame: LabelledFrame, ground: CameraGround, dropped: DroppedBoxes) -> dict:
    camera = {"P": frame.K.tolist(), "ground": ground.fit.plane.tolist(), "group": ground.number}
    frame_rotation = ground.rotation()
    rows = None if frame.boxes is None else [(where, _turned(row, frame_rotation)) for where, row in frame.boxes]
    return frame_record(frame.files.id, frame.files.image, rows, TYPES, dropped, extra={"camera": camera})


def _turned(row: dict, ground_rotation: np.ndarray) -> dict[str, Any]:
    """The row with its heading about the normal of the ground."""
    ry = float(heading_to_ry(np.array(row["box_rotation"])[:, 0], ground_rotation))
    return {**row, "rotation_y": ry, "alpha": float(ry_to_alpha(ry, np.array(row["location"])))}
