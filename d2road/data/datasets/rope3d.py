"""Rope3D's roadside data, and any in its layout. Three arrangements of the same files are read:

    generated or sorted        release                          a few frames
    ROOT/training/image_2      ROOT/training-image_2a ... 2d    ROOT/image_2
    ROOT/training/label_2      ROOT/training/label_2            ROOT/label_2
                  calib                      calib                   calib
                  denorm                     denorm                  denorm
                  train.txt                  train.txt          (no list: all frames)
    ROOT/validation/...val.txt ROOT/validation-image_2, ROOT/validation/...val.txt

ROOT/classes.txt, optional for data by path, names the classes of own data (see `label_types.read_classes`).

Types merge to four classes as the benchmark does. Cones, plates and unknown objects are of no class: they are kept in
`ignored_annotations`. Some rows have a 2D box only; their dimensions and location are all 0. `rotation_y` turns about
the normal of the ground plane (see `Camera.ground_rotation`); it and `alpha` are as in the files, not wrapped.
Source: Ye et al., Rope3D, CVPR 2022, and its released files.
"""

import logging
from collections.abc import Callable
from pathlib import Path

from d2road.data.camera_files import read_camera
from d2road.data.catalog import register_objects
from d2road.data.dataset_formats import DATASET_FORMATS, DatasetFormat
from d2road.data.datasets.frame_files import (
    compare_files,
    existing,
    frame_record,
    image_of,
    index_images,
    read_labels,
)
from d2road.data.datasets.kitti import types_of
from d2road.data.datasets.label_types import LabelTypes
from d2road.data.datasets.rope3d_types import TYPES
from d2road.data.datasets.split_files import read_split
from d2road.data.input_checks import DroppedBoxes, one_entry
from d2road.data.label_conventions import LabelConventions
from d2road.utils.errors import ConfigError

logger = logging.getLogger(__name__)

CLASSES = tuple(TYPES.classes)
FOLDERS = {"train": "training", "val": "validation"}


def register_rope3d(
    name: str,
    root: str,
    split: str,
    hint: str = "",
    is_crowd: Callable[[dict], bool] | None = None,
    types: LabelTypes = TYPES,
) -> None:
    """Register one split ("train" or "val") of Rope3D data below `root`. Idempotent.

    Args:
        hint: how to get the data, for the message when it is missing.
        is_crowd: tells which label rows are neither trained on nor counted (`iscrowd`); none if None.
        types: what its label files hold.
    Raises:
        ValueError: another split.
    """
    if split not in FOLDERS:
        raise ConfigError(f"{name}: split is {split!r}, expected train or val (rope3d:ROOT:train|val)")
    load = lambda: load_rope3d(root, split, hint, is_crowd, types)  # noqa: E731
    register_objects(name, load, types.classes, ry_frame="ground", evaluator_type="rope3d")


def register_by_path(name: str, root: str, split: str) -> None:
    """Register data by its path, with the classes of ROOT/classes.txt if that is there."""
    register_rope3d(name, root, split, types=types_of(root, TYPES))


DATASET_FORMATS.register(DatasetFormat("rope3d:ROOT:train|val", register_by_path, (2, 2)), name="rope3d")


def load_rope3d(
    root: str,
    split: str,
    hint: str = "",
    is_crowd: Callable[[dict], bool] | None = None,
    types: LabelTypes = TYPES,
) -> list[dict]:
    """Dataset dicts of a split, in the order of its list.

    As `load_kitti`, always with `denorm_file` (ground plane a b c d, ax + by + cz + d = 0 in the camera frame, m)
    beside `calib_file`, and classes car, big_vehicle, cyclist, pedestrian.

    Raises:
        FileNotFoundError: a folder, the list, or a frame's image, label, calibration or ground plane is missing.
        ValueError: no frames, two images of one, a label row, calibration or ground plane that cannot be right (names
            file and line), labels or cameras of another convention; without a list, label files without an image.
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
        compare_files(images, top / "label_2", [top / "calib", top / "denorm", top / "extrinsics"])
        logger.info("%s has no folder %s and no lists: all of its %d frames are used", top, folder, len(frames))
    dropped, conventions = DroppedBoxes(str(base / "label_2")), LabelConventions(str(base))
    records = []
    for frame in frames:
        with one_entry():
            image = image_of(frame, images)
            files = {f"{kind}_file": str(existing(base / kind / f"{frame}.txt")) for kind in ("calib", "denorm")}
            rows = read_labels(existing(base / "label_2" / f"{frame}.txt"), types)
            camera = read_camera(files)  # a wrong file shall not stop a training halfway
            records.append(frame_record(frame, image, rows, types, dropped, is_crowd, files))
            conventions.add(records[-1], camera, ry_frame="ground")
    dropped.finish()
    conventions.finish()
    logger.info("%s %s: %d frames", top, split, len(records))
    return records
