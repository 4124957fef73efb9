"""What can be wrong with images and boxes, found before it reaches a model."""

import logging
import math
from array import array
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar

import numpy as np
from detectron2.data import detection_utils

from d2road.data.box_conventions import LAYOUTS, convention_defect
from d2road.utils.errors import DataError, raise_errors
from d2road.utils.image_io import open_image, to_eight_bits

logger = logging.getLogger(__name__)

# Useless boxes (no area, wholly outside the image) are dropped and counted. A few slips are usual in real labels; at
# least MIN_FATAL of them, and more than this share of all boxes, is a mistake in how the file was made.
MAX_DROPPED_SHARE = 0.10
MIN_FATAL = 20
SHOWN = 5  # examples listed in a message
_collected: ContextVar[list[str] | None] = ContextVar("_collected", default=None)


@contextmanager
def collected_defects() -> Iterator[list[str]]:
    """Within it, loaders leave out frames and rows that they would stop at, and list what is wrong with them here.

    For tools that shall report all defects of a data set at once; training stops at the first.
    """
    defects: list[str] = []
    token = _collected.set(defects)
    try:
        yield defects
    finally:
        _collected.reset(token)


@contextmanager
def one_entry() -> Iterator[None]:
    """Around the reading of one frame or row: an error in it raises, or is listed (see `collected_defects`)."""
    try:
        yield
    except (FileNotFoundError, ValueError) as error:
        defects = _collected.get()
        if defects is None:
            raise
        defects.append(str(error))


def raise_or_collect(defects: list[str], source: str) -> None:
    """Raise one DataError that lists the errors of a file, or list them (see `collected_defects`) and go on without."""
    found = _collected.get()
    if found is None:
        raise_errors(defects, source)
    else:
        found += [f"{source}: {defect}" for defect in defects]


def read_image_checked(dataset_dict: dict, image_format: str) -> np.ndarray:
    """Read the image of a dataset dict, or say what is wrong with it.

    Turned as its EXIF orientation says; grey and palette images become colour ones, 16 bits become 8. `width` and
    `height` are added to the dict where they are missing.

    Args:
        dataset_dict: with `file_name` and optionally `width`, `height`, which must be those of the (turned) image.
        image_format: "RGB", "BGR", "L", ...: order of the channels.
    Returns:
        (H, W, C) uint8, 0..255.
    Raises:
        FileNotFoundError: no such file.
        ValueError: the file is no image or is cut off, or its size is not that of the annotation.
    """
    path = dataset_dict["file_name"]
    entry = f"image_id {dataset_dict['image_id']!r}" if "image_id" in dataset_dict else "a data set entry"
    image = detection_utils.convert_PIL_to_numpy(to_eight_bits(open_image(path, entry), path), image_format)
    try:
        detection_utils.check_image_size(dataset_dict, image)
    except detection_utils.SizeMismatchError as error:
        raise DataError(
            f"image {path} ({entry}) is {image.shape[1]}x{image.shape[0]}, its annotation says "
            f"{dataset_dict['width']}x{dataset_dict['height']} (width x height): annotations of another version?"
        ) from error
    return image


def box_defect(box_xyxy: Sequence[float], width: int, height: int) -> str:
    """Why a finite box is useless in an image of this size: "zero area" (or negative), "outside the image", or ""."""
    x1, y1, x2, y2 = box_xyxy
    if x2 <= x1 or y2 <= y1:
        return "zero area"
    if min(x2, width) <= max(x1, 0) or min(y2, height) <= max(y1, 0):
        return "outside the image"
    return ""


def is_finite_box(box: object) -> bool:
    """Whether this is four finite numbers."""
    return isinstance(box, (list, tuple)) and len(box) == 4 and all(map(is_finite_number, box))


def is_finite_number(value: object) -> bool:
    """Whether this is a finite number; true and false are none."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


class DroppedBoxes:
    """Counts the useless boxes of one data set, and decides whether they are too many or of another convention.

    Args:
        source: file or folder, for messages.
        layout: how the file writes a box, "xywh" or "xyxy", see `box_conventions`.
    """

    def __init__(self, source: str, layout: str = "xyxy"):
        self.source, self.layout = source, layout
        self.kept = 0
        self.counts: Counter[str] = Counter()
        self.examples: list[str] = []
        self._seen = array("d")  # x1, y1, x2, y2, width, height of every box

    def keep(self, box_xyxy: Sequence[float], width: int, height: int, where: str) -> bool:
        """Whether a box is of use in an image of this size, which is counted; `where` tells a user which box it is."""
        self._seen.extend((*box_xyxy, width, height))
        defect = box_defect(box_xyxy, width, height)
        if not defect:
            self.kept += 1
            return True
        self.counts[defect] += 1
        if len(self.examples) < SHOWN:
            corners = ", ".join(f"{v:g}" for v in box_xyxy)
            self.examples.append(f"{where}: {defect} (corners {corners} in {width}x{height})")
        return False

    def finish(self) -> None:
        """Log what was dropped.

        Raises:
            ValueError: more than 10 % and at least 20 boxes, or every box, are useless, or the boxes of the whole file
                are of another convention.
        """
        dropped = sum(self.counts.values())
        total = self.kept + dropped
        expected = f"expected {LAYOUTS[self.layout]} in pixels of the images as they are stored"
        odd = self._convention_defect()
        if odd:
            with one_entry():
                raise DataError(f"{self.source}: {odd}; {expected}")
            return
        if not dropped:
            return
        kinds = ", ".join(f"{n} of {kind}" for kind, n in sorted(self.counts.items()))
        message = f"{self.source}: {dropped} of {total} boxes are useless ({kinds}), e.g. {'; '.join(self.examples)}"
        if dropped == total or (dropped >= MIN_FATAL and dropped > MAX_DROPPED_SHARE * total):
            with one_entry():
                raise DataError(f"{message}. So many point to a mistake in the file: {expected}")
            return
        logger.warning("%s; they are left out", message)

    def _convention_defect(self) -> str:
        seen = np.frombuffer(self._seen, dtype=np.float64).reshape(-1, 6)
        boxes = seen[:, :4].copy()
        if self.layout == "xywh":
            boxes[:, 2:] -= boxes[:, :2]
        return convention_defect(boxes, seen[:, 4:], self.layout)
