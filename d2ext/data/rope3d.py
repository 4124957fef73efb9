"""Rope3D's roadside data, and any in its layout. Three arrangements of the same files are read:

    generated or sorted        release                          a few frames
    ROOT/training/image_2      ROOT/training-image_2a ... 2d    ROOT/image_2
    ROOT/training/label_2      ROOT/training/label_2            ROOT/label_2
                  calib                      calib                   calib
                  denorm                     denorm                  denorm
                  train.txt                  train.txt          (no list: all frames)
    ROOT/validation/...val.txt ROOT/validation-image_2, ROOT/validation/...val.txt

Types merge to four classes as the benchmark does. Cones, plates and unknown objects are of no class: they are kept in
`ignored_annotations`. Some rows have a 2D box only; their dimensions and location are all 0.
Source: Ye et al., Rope3D, CVPR 2022, and its released files.
"""

import logging
from collections.abc import Callable
from functools import partial
from pathlib import Path

from d2ext.data.catalog import register_objects
from d2ext.data.checks import DroppedBoxes
from d2ext.data.formats import DATASET_FORMATS, DatasetFormat
from d2ext.data.kitti import existing, frame_record, index_images, read_split

logger = logging.getLogger(__name__)

MERGED = {
    "car": ("car", "van"),
    "big_vehicle": ("truck", "bus"),
    "cyclist": ("cyclist", "motorcyclist", "tricyclist"),
    "pedestrian": ("pedestrian", "barrow"),
}
CLASSES = tuple(MERGED)
CATEGORY_OF = {kind: CLASSES.index(name) for name, kinds in MERGED.items() for kind in kinds}
OTHERS = ("trafficcone", "traffic_cone", "triangle_plate", "unknown*")
FOLDERS = {"train": "training", "val": "validation"}


def register_rope3d(
    name: str, root: str, split: str, hint: str = "", is_crowd: Callable[[dict], bool] | None = None
) -> None:
    """Register one split ("train" or "val") of Rope3D data below `root`. Idempotent.

    Args:
        hint: how to get the data, for the message when it is missing.
        is_crowd: tells which label rows are neither trained on nor counted (`iscrowd`); none if None.
    Raises:
        ValueError: another split.
    """
    if split not in FOLDERS:
        raise ValueError(f"{name}: split is {split!r}, expected train or val (rope3d:ROOT:train|val)")
    register_objects(name, lambda: load_rope3d(root, split, hint, is_crowd), CLASSES, ry_frame="ground")


DATASET_FORMATS.register(DatasetFormat("rope3d:ROOT:train|val", register_rope3d, (2, 2)), name="rope3d")


def load_rope3d(root: str, split: str, hint: str = "", is_crowd: Callable[[dict], bool] | None = None) -> list[dict]:
    """Dataset dicts of a split, in the order of its list.

    As `load_kitti`, with `denorm_file` (ground plane a b c d, ax + by + cz + d = 0 in the camera frame, m) beside
    `calib_file`, and classes car, big_vehicle, cyclist, pedestrian.

    Raises:
        FileNotFoundError: a folder, the list, or a frame's image, label, calibration or ground plane is missing.
        ValueError: an empty list or a label row that cannot be right; names file and line.
    """
    top = Path(root).expanduser()
    folder = FOLDERS[split]
    base = top / folder
    if base.is_dir():
        images = index_images([base / "image_2", *sorted(top.glob(f"{folder}-image_2*"))], hint)
        frames = read_split(base / f"{split}.txt", hint)
    else:
        base = top
        images = index_images([top / "image_2"], hint)
        frames = sorted(images)
        logger.info("%s has no folder %s and no lists: all of its %d frames are used", top, folder, len(frames))
    dropped = DroppedBoxes(str(base / "label_2"))
    sort_rows = partial(_sort_rows, is_crowd=is_crowd or (lambda row: False))
    records = []
    for frame in frames:
        files = {f"{kind}_file": str(existing(base / kind / f"{frame}.txt")) for kind in ("calib", "denorm")}
        label = existing(base / "label_2" / f"{frame}.txt")
        records.append(frame_record(frame, images, label, sort_rows, (*CATEGORY_OF, *OTHERS), dropped, **files))
    dropped.finish()
    logger.info("%s %s: %d frames", top, split, len(records))
    return records


def _sort_rows(rows: list[dict], is_crowd: Callable[[dict], bool]) -> tuple[list[dict], list[dict]]:
    """Rows of the four classes as annotations, and the others."""
    annotations = [
        {**row, "category_id": CATEGORY_OF[row["type"]], "iscrowd": int(is_crowd(row))}
        for row in rows
        if row["type"] in CATEGORY_OF
    ]
    return annotations, [row for row in rows if row["type"] not in CATEGORY_OF]
