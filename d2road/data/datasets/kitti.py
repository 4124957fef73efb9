"""KITTI's object data, and own data in its layout: one text file of labels per image.

    ROOT/image_2/000000.png   label_2/000000.txt   calib/000000.txt       (or ROOT/training/image_2, ...)
         denorm/000000.txt    optional: the ground plane of each frame, as in Rope3D
    ROOT/classes.txt          optional, for data by path: the classes of own data (see `label_types.read_classes`)
    ROOT/ImageSets/val.txt    optional: lists of frames, one a line

KITTI's classes are Car, Pedestrian, Cyclist. As its protocol ignores neighbours of a class, Van rows enter as crowds
(`iscrowd` 1) of Car, Person_sitting rows of Pedestrian, and DontCare regions of every class: detections on them count
neither way, and mappers train on no crowds. Other types (Truck, Tram, Misc) are kept in `ignored_annotations`.

`rotation_y` turns about the camera's y axis, also where there is a ground plane.
"""

import logging
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
from d2road.data.datasets.label_types import DONT_CARE, LabelTypes, read_classes
from d2road.data.datasets.split_files import read_split
from d2road.data.input_checks import DroppedBoxes, one_entry
from d2road.data.label_conventions import LabelConventions

logger = logging.getLogger(__name__)

CLASSES = ("Car", "Pedestrian", "Cyclist")
TYPES = LabelTypes(
    members={name: (name,) for name in CLASSES},
    crowds={"Van": ("Car",), "Person_sitting": ("Pedestrian",), DONT_CARE: CLASSES},
    others=("Truck", "Tram", "Misc"),
)


def register_kitti(name: str, root: str, split_file: str = "", hint: str = "", types: LabelTypes = TYPES) -> None:
    """Register KITTI data below `root`, limited to the frames of `split_file` if given. Idempotent.

    Args:
        hint: how to get the data, for the message when it is missing.
        types: what its label files hold.
    """
    load = lambda: load_kitti(root, split_file, hint, types)  # noqa: E731
    register_objects(name, load, types.classes, ry_frame="camera", evaluator_type="kitti")


def register_by_path(name: str, root: str, split: str = "") -> None:
    """Register data by its path, with the classes of ROOT/classes.txt if that is there."""
    register_kitti(name, root, str(split_file(root, split)) if split else "", types=types_of(root, TYPES))


DATASET_FORMATS.register(DatasetFormat("kitti:ROOT[:SPLIT.txt]", register_by_path, (1, 2)), name="kitti")


def types_of(root: str, default: LabelTypes) -> LabelTypes:
    """The types that ROOT/classes.txt names, else the format's own."""
    path = Path(root).expanduser() / "classes.txt"
    return read_classes(path) if path.is_file() else default


def split_file(root: str, split: str) -> Path:
    """A list of frames by its path, or by its name in ROOT/ImageSets ("val")."""
    path, named = Path(split).expanduser(), Path(root).expanduser() / "ImageSets" / f"{split}.txt"
    return named if not path.is_file() and named.is_file() else path


def load_kitti(root: str, split_file: str = "", hint: str = "", types: LabelTypes = TYPES) -> list[dict]:
    """Dataset dicts of KITTI frames, in the order of the split file, else by name.

    Each has `calib_file` (and `denorm_file` where there is a folder denorm), and `image_id` is the name of its files.
    Annotations are boxes (XYXY, clipped to the image) with the raw row; see `catalog.register_objects`. No
    `annotations` where there is no label_2 folder (KITTI's test split).

    Raises:
        FileNotFoundError: folder, split file, image, label, calibration or ground plane is missing.
        ValueError: no frames, two images of one, a label row, calibration or ground plane that cannot be right (names
            file and line), labels or cameras of another convention; without a split, label files without an image.
    """
    base = Path(root).expanduser()
    base = base / "training" if (base / "training" / "image_2").is_dir() else base
    images = index_images([base / "image_2"], hint)
    frames = read_split(Path(split_file).expanduser(), hint) if split_file else sorted(images)
    labels, has_labels, has_planes = base / "label_2", (base / "label_2").is_dir(), (base / "denorm").is_dir()
    if not split_file:
        compare_files(images, labels, [base / "calib", base / "denorm"])
    dropped, conventions = DroppedBoxes(str(labels)), LabelConventions(str(base))
    records = []
    for frame in frames:
        with one_entry():
            image = image_of(frame, images)
            rows = read_labels(existing(labels / f"{frame}.txt"), types) if has_labels else None
            files = {"calib_file": str(existing(base / "calib" / f"{frame}.txt"))}
            if has_planes:
                files["denorm_file"] = str(existing(base / "denorm" / f"{frame}.txt"))
            camera = read_camera(files)  # a wrong file shall not stop a training halfway
            records.append(frame_record(frame, image, rows, types, dropped, extra=files))
            conventions.add(records[-1], camera)
    dropped.finish()
    conventions.finish()
    logger.info("%s: %d frames", base, len(records))
    return records
