"""What data sets of one label file per image share: lists, images, label rows and their checks."""

import glob
import logging
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from detectron2.structures import BoxMode

from d2road.data.datasets.label_types import LabelTypes
from d2road.data.input_checks import DroppedBoxes, one_entry
from d2road.utils.errors import DataError
from d2road.utils.image_io import image_size
from d2road.utils.input_files import text_lines

FIELDS = (
    "truncated", "occluded", "alpha", "x1", "y1", "x2", "y2", "height", "width", "length", "x", "y", "z", "rotation_y",
)  # fmt: skip
UNKNOWN_ANGLE = -10
IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg")
SHOWN = 3  # frames named in a message

logger = logging.getLogger(__name__)


def frame_record(
    frame: str,
    image: Path,
    rows: list[tuple[str, dict]] | None,
    types: LabelTypes,
    dropped: DroppedBoxes,
    is_crowd: Callable[[dict], bool] | None = None,
    extra: Mapping[str, Any] | None = None,
) -> dict:
    """Dataset dict of one frame, with boxes clipped to the image.

    Args:
        frame: becomes `image_id`.
        rows: (where it stands, for messages; row with `type` and `bbox` x1 y1 x2 y2), or None for test data, which
            gives no `annotations`.
        types: divides the rows into `annotations` and `ignored_annotations`.
        dropped: counts boxes without area or outside the image, which are left out.
        is_crowd: as for `LabelTypes.sort_rows`.
        extra: further keys of the dict.
    """
    width, height = image_size(image)
    record = {"file_name": str(image), "image_id": frame, "width": width, "height": height, **(extra or {})}
    if rows is None:
        return record
    kept = []
    for where, row in rows:
        if dropped.keep(row["bbox"], width, height, where):
            x1, y1, x2, y2 = row["bbox"]
            clipped = [max(x1, 0.0), max(y1, 0.0), min(x2, float(width)), min(y2, float(height))]
            kept.append({**row, "bbox": clipped, "bbox_mode": BoxMode.XYXY_ABS})
    record["annotations"], record["ignored_annotations"] = types.sort_rows(kept, is_crowd)
    return record


def read_labels(path: Path, types: LabelTypes) -> list[tuple[str, dict]]:
    """(file and line, row) of a label file in KITTI's form; an empty file is a frame without objects.

    Raises:
        ValueError: too few or too many fields, something that is no finite number, an unknown type, a box in 3D that
            cannot be; names file and line.
    """
    rows = []
    for number, line in enumerate(text_lines(path, "label file"), 1):
        if line.strip():
            where = f"{path} line {number}"
            with one_entry():
                rows.append((where, _parse_row(line.split(), types, where)))
    return rows


def _parse_row(words: list[str], types: LabelTypes, where: str) -> dict:
    if len(words) not in (len(FIELDS) + 1, len(FIELDS) + 2):  # a 16th is the score of a prediction
        raise DataError(f"{where} has {len(words)} fields, expected 15: type {' '.join(FIELDS)}")
    if not types.knows(words[0]):
        raise DataError(
            f"{where} has type {words[0]!r}, expected one of {', '.join(types.known)}; own types are listed in a "
            "classes.txt beside the folders (docs/custom_data.md)"
        )
    try:
        values = dict(zip(FIELDS, (float(w) for w in words[1:])))
    except ValueError as error:
        raise DataError(f"{where}: {error}") from error
    wrong = [name for name, value in values.items() if not math.isfinite(value)]
    if wrong:
        raise DataError(f"{where}: {', '.join(wrong)} not finite")
    if values["rotation_y"] == UNKNOWN_ANGLE and min(values[k] for k in ("height", "width", "length")) > 0:
        raise DataError(
            f"{where}: rotation_y is {UNKNOWN_ANGLE:g}, which stands for unknown, beside a 3D box: give its heading, "
            "or height width length 0 0 0 for an object with a 2D box only"
        )
    dimensions, location = [values[k] for k in ("height", "width", "length")], [values[k] for k in ("x", "y", "z")]
    return {
        "type": words[0],
        "bbox": [values[k] for k in ("x1", "y1", "x2", "y2")],
        "truncated": values["truncated"],
        "occluded": int(values["occluded"]),
        "alpha": values["alpha"],
        "dimensions_hwl": dimensions,
        "location": location,
        "rotation_y": values["rotation_y"],
        "has_3d": has_3d(dimensions, location, where),
    }


def has_3d(dimensions_hwl: Sequence[float], location: Sequence[float], where: str) -> bool:
    """Whether these are a box that can be trained on; rows with a 2D box only have dimensions 0 or -1.

    Args:
        location: bottom centre, camera frame, m.
        where: file and line, for messages.
    Raises:
        ValueError: some dimension <= 0, or an object wholly behind the camera.
    """
    if list(dimensions_hwl) in ([0.0] * 3, [-1.0] * 3):
        return False
    if min(dimensions_hwl) <= 0:
        raise DataError(
            f"{where}: height width length are {list(dimensions_hwl)}, expected all above 0 (or all 0 for a row "
            "without 3D box)"
        )
    z = location[2]
    if z + math.hypot(*dimensions_hwl) <= 0:  # no corner is farther than this from the bottom centre
        raise DataError(f"{where}: the object lies behind the camera (z {z:g} m), where no image shows it")
    # The centre of a long vehicle beside the camera may lie behind it; there is no depth to learn from that.
    return z > 0


def index_images(folders: list[Path], hint: str = "") -> dict[str, Path]:
    """frame -> image file, over all folders that exist.

    Raises:
        FileNotFoundError: no folder exists, or none holds an image.
        ValueError: two images of one frame.
    """
    found: dict[str, Path] = {}
    for folder in folders:
        for path in sorted(folder.iterdir()) if folder.is_dir() else ():
            if path.suffix.lower() not in IMAGE_SUFFIXES:
                continue
            with one_entry():
                if path.stem in found:
                    raise DataError(f"two images of frame '{path.stem}', {found[path.stem]} and {path}: remove one")
                found[path.stem] = path
    if not found:
        looked = " or ".join(str(f) for f in folders)
        raise FileNotFoundError(f"no images in {looked}" + (f". To get them: {hint}" if hint else ""))
    return found


def compare_files(images: Mapping[str, Path], labels: Path, others: Sequence[Path]) -> None:
    """Compare the images of a folder that is used as a whole with the files beside them, one a frame.

    Warns of files in `others` (calibrations, ground planes, ...) that belong to neither an image nor a label. Folders
    that do not exist are left out.

    Raises:
        ValueError: label files without an image: an image that was lost, or of a kind that is not read.
    """
    lost = sorted(path.stem for path in labels.glob("*.txt") if path.stem not in images)
    if lost:
        folder = next(iter(images.values())).parent
        unread = next((path for stem in lost for path in sorted(folder.glob(f"{glob.escape(stem)}.*"))), None)
        cure = (
            f"{unread} is of a kind that is not read: convert it to {IMAGE_SUFFIXES[0]}"
            if unread is not None
            else "bring the images back, remove the labels, or name the frames to use by a list (kitti:ROOT:LIST.txt)"
        )
        with one_entry():
            raise DataError(
                f"{len(lost)} label files in {labels} have no image in {folder}, e.g. {', '.join(lost[:SHOWN])}; {cure}"
            )
    for other in others:
        spare = sorted(p.stem for p in other.glob("*.*") if p.stem not in images and p.stem not in lost)
        if spare:
            logger.warning(
                "%d files in %s have neither image nor label, e.g. %s: were images lost?",
                len(spare), other, ", ".join(spare[:SHOWN]),
            )  # fmt: skip


def image_of(frame: str, images: dict[str, Path]) -> Path:
    """The image file of a frame.

    Raises:
        FileNotFoundError: there is none.
    """
    if frame not in images:
        place = f" in {next(iter(images.values())).parent}" if images else ""
        raise FileNotFoundError(f"no image of frame '{frame}'{place}, which the split or the labels name")
    return images[frame]


def existing(path: Path) -> Path:
    """The path itself.

    Raises:
        FileNotFoundError: it is no file.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist, but the frame '{path.stem}' needs it")
    return path
