"""KITTI's object data: one text file of labels per image.

    ROOT/image_2/000000.png   label_2/000000.txt   calib/000000.txt       (or ROOT/training/image_2, ...)

In 2D the classes are Car, Pedestrian, Cyclist. As KITTI's protocol ignores neighbours of a class, Van rows enter as
crowds (`iscrowd` 1) of Car, Person_sitting rows of Pedestrian, and DontCare regions of every class: detections on them
count neither way, and mappers train on no crowds. Other types (Truck, Tram, Misc) are kept in `ignored_annotations`.
"""

import logging
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from detectron2.structures import BoxMode
from PIL import Image, UnidentifiedImageError

from d2ext.data.catalog import register_objects
from d2ext.data.checks import DroppedBoxes
from d2ext.data.formats import DATASET_FORMATS, DatasetFormat

logger = logging.getLogger(__name__)

CLASSES = ("Car", "Pedestrian", "Cyclist")
# type -> classes whose detections it excuses
CROWDS = {"Van": ("Car",), "Person_sitting": ("Pedestrian",), "DontCare": CLASSES}
OTHERS = ("Truck", "Tram", "Misc")
FIELDS = (
    "truncated", "occluded", "alpha", "x1", "y1", "x2", "y2", "height", "width", "length", "x", "y", "z", "rotation_y",
)  # fmt: skip

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg")
Rows = Callable[[list[dict]], tuple[list[dict], list[dict]]]


def register_kitti(name: str, root: str, split_file: str = "", hint: str = "") -> None:
    """Register KITTI data below `root`, limited to the frames of `split_file` if given. Idempotent.

    Args:
        hint: how to get the data, for the message when it is missing.
    """
    register_objects(name, lambda: load_kitti(root, split_file, hint), CLASSES, ry_frame="camera")


DATASET_FORMATS.register(DatasetFormat("kitti:ROOT[:SPLIT.txt]", register_kitti, (1, 2)), name="kitti")


def load_kitti(root: str, split_file: str = "", hint: str = "") -> list[dict]:
    """Dataset dicts of KITTI frames, in the order of the split file, else by name.

    Each has `calib_file`, and `image_id` is the name of its files. Annotations are boxes (XYXY, clipped to the image)
    with the raw row: type, truncated, occluded, alpha (rad), dimensions_hwl (m), location (bottom centre, camera
    frame, m), rotation_y (rad). No `annotations` where there is no label_2 folder (KITTI's test split).

    Raises:
        FileNotFoundError: folder, split file, image, label or calibration is missing.
        ValueError: a split without frames or a label row that cannot be right; names file and line.
    """
    base = Path(root).expanduser()
    base = base / "training" if (base / "training" / "image_2").is_dir() else base
    images = index_images([base / "image_2"], hint)
    frames = read_split(Path(split_file).expanduser(), hint) if split_file else sorted(images)
    labels = base / "label_2"
    dropped = DroppedBoxes(str(labels))
    records = []
    for frame in frames:
        label = existing(labels / f"{frame}.txt") if labels.is_dir() else None
        calib = existing(base / "calib" / f"{frame}.txt")
        records.append(frame_record(frame, images, label, _sort_rows, known_types(), dropped, calib_file=str(calib)))
    dropped.finish()
    logger.info("%s: %d frames", base, len(records))
    return records


def known_types() -> tuple[str, ...]:
    """Every type of KITTI's label files."""
    return CLASSES + tuple(CROWDS) + OTHERS


def _sort_rows(rows: list[dict]) -> tuple[list[dict], list[dict]]:
    """Rows as annotations, and those that are of no class."""
    annotations, ignored = [], []
    for row in rows:
        if row["type"] in CLASSES:
            annotations.append({**row, "category_id": CLASSES.index(row["type"]), "iscrowd": 0})
        elif row["type"] in CROWDS:
            annotations += [{**row, "category_id": CLASSES.index(c), "iscrowd": 1} for c in CROWDS[row["type"]]]
        else:
            ignored.append(row)
    return annotations, ignored


def frame_record(
    frame: str,
    images: Mapping[str, Path],
    label_file: Path | None,
    sort_rows: Rows,
    types: tuple[str, ...],
    dropped: DroppedBoxes,
    **extra: Any,
) -> dict:
    """The dataset dict of one frame; shared with other data in KITTI's layout.

    Args:
        images: frame -> image file.
        label_file: None for test data, which gives no `annotations`.
        sort_rows: divides label rows into annotations and ignored ones.
        types: that may occur in the label file.
        dropped: counts boxes without area or outside the image.
    """
    if frame not in images:
        raise FileNotFoundError(f"no image of frame '{frame}', which the split or the labels name")
    width, height = _image_size(images[frame])
    record = {"file_name": str(images[frame]), "image_id": frame, "width": width, "height": height, **extra}
    if label_file is None:
        return record
    rows = []
    for number, row in read_labels(label_file, types):
        if not dropped.keep(row["bbox"], width, height, f"{label_file} line {number}"):
            continue
        x1, y1, x2, y2 = row["bbox"]
        row["bbox"] = [max(x1, 0.0), max(y1, 0.0), min(x2, float(width)), min(y2, float(height))]
        rows.append(row)
    record["annotations"], record["ignored_annotations"] = sort_rows(rows)
    return record


def read_labels(path: Path, types: tuple[str, ...]) -> list[tuple[int, dict]]:
    """(line number, row) of a label file; an empty file is a frame without objects.

    Raises:
        ValueError: too few or too many fields, something that is no finite number, an unknown type.
    """
    return [
        (number, _parse_row(line.split(), types, f"{path} line {number}"))
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if line.strip()
    ]


def _parse_row(words: list[str], types: tuple[str, ...], where: str) -> dict:
    if len(words) not in (len(FIELDS) + 1, len(FIELDS) + 2):  # a 16th is the score of a prediction
        raise ValueError(f"{where} has {len(words)} fields, expected 15: type {' '.join(FIELDS)}")
    if words[0] not in types and not any(t.endswith("*") and words[0].startswith(t[:-1]) for t in types):
        raise ValueError(f"{where} has type {words[0]!r}, expected one of {', '.join(types)}")
    try:
        values = dict(zip(FIELDS, (float(w) for w in words[1:])))
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from error
    wrong = [name for name, value in values.items() if not math.isfinite(value)]
    if wrong:
        raise ValueError(f"{where}: {', '.join(wrong)} not finite")
    return {
        "type": words[0],
        "bbox": [values[k] for k in ("x1", "y1", "x2", "y2")],
        "bbox_mode": BoxMode.XYXY_ABS,
        "truncated": values["truncated"],
        "occluded": int(values["occluded"]),
        "alpha": values["alpha"],
        "dimensions_hwl": [values[k] for k in ("height", "width", "length")],
        "location": [values[k] for k in ("x", "y", "z")],
        "rotation_y": values["rotation_y"],
        "has_3d": _has_3d([values[k] for k in ("height", "width", "length", "x", "y", "z")], where),
    }


def _has_3d(values: list[float], where: str) -> bool:
    """Whether h w l x y z are a box that can be trained on; rows with a 2D box only have dimensions 0 or -1."""
    *dimensions, _, _, z = values
    if dimensions in ([0.0] * 3, [-1.0] * 3):
        return False
    if min(dimensions) <= 0:
        raise ValueError(
            f"{where}: height width length are {dimensions}, expected all above 0 (or all 0 for a row without 3D box)"
        )
    reach = math.hypot(*dimensions)  # no corner is farther than this from the bottom centre
    if z + reach <= 0:
        raise ValueError(f"{where}: the object lies behind the camera (z {z:g} m), where no image shows it")
    # The centre of a long vehicle beside the camera may lie behind it; there is no depth to learn from that.
    return z > 0


def index_images(folders: list[Path], hint: str = "") -> dict[str, Path]:
    """frame -> image file, over all folders that exist.

    Raises:
        FileNotFoundError: no folder exists, or none holds an image.
    """
    found = {
        path.stem: path
        for folder in folders
        if folder.is_dir()
        for path in sorted(folder.iterdir())
        if path.suffix.lower() in IMAGE_SUFFIXES
    }
    if not found:
        looked = " or ".join(str(f) for f in folders)
        raise FileNotFoundError(f"no images in {looked}" + (f". To get them: {hint}" if hint else ""))
    return found


def read_split(path: Path, hint: str = "") -> list[str]:
    """The frames that a split file names, one a line.

    Raises:
        FileNotFoundError: it is not there.
        ValueError: it names none, or one twice.
    """
    if not path.is_file():
        raise FileNotFoundError(f"split file {path} does not exist" + (f". To get it: {hint}" if hint else ""))
    frames = path.read_text(encoding="utf-8").split()
    if not frames:
        raise ValueError(f"split file {path} is empty: it names no frame")
    if len(set(frames)) < len(frames):
        twice = next(f for f in frames if frames.count(f) > 1)
        raise ValueError(f"split file {path} names {twice} more than once")
    return frames


def existing(path: Path) -> Path:
    """The path itself.

    Raises:
        FileNotFoundError: it is no file.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist, but the frame '{path.stem}' needs it")
    return path


def _image_size(path: Path) -> tuple[int, int]:
    """(width, height) from the header."""
    try:
        with Image.open(path) as image:
            return image.size
    except UnidentifiedImageError as error:
        raise ValueError(f"{path} is no image: {error}") from error
