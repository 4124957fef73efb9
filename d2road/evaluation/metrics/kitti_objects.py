"""Table of the objects of many frames, and reading them from folders of KITTI text.

type truncated occluded alpha x1 y1 x2 y2 h w l x y z ry [score]        one line an object, one file a frame
"""

from array import array
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np

from d2road.utils.errors import DataError
from d2road.utils.input_files import read_text, split_lines

FIELDS = ("truncated", "occluded", "alpha", "x1", "y1", "x2", "y2", "h", "w", "l", "x", "y", "z", "ry", "score")
DONT_CARE = "dontcare"
# Dimensions h w l of an object with a 2D box only: KITTI's own tools write -1, others 0.
NO_3D = (-1.0, 0.0)


@dataclass(frozen=True)
class ObjectTable:
    """Labels or predictions of a set of frames; within a frame the order of rows is that of the file.

    Args:
        frame: (N,) int, index of the frame.
        type: (N,) text, compared in lower case.
        truncated, occluded: (N,), as in KITTI; of no meaning for predictions.
        alpha: (N,) observation angle, rad; -10 for unknown.
        boxes_xyxy: (N, 4) pixels.
        boxes3d: (N, 7) x, y, z of the bottom centre (m), h, w, l (m), ry (rad). A dimension <= 0 says that there is no
            3D box.
        scores: (N,), 0 for labels.
    Raises:
        ValueError: columns of other shapes.
    """

    frame: np.ndarray
    type: np.ndarray
    truncated: np.ndarray
    occluded: np.ndarray
    alpha: np.ndarray
    boxes_xyxy: np.ndarray
    boxes3d: np.ndarray
    scores: np.ndarray

    def __post_init__(self) -> None:
        n = len(self.frame)
        object.__setattr__(self, "frame", np.asarray(self.frame, dtype=np.int64))
        object.__setattr__(self, "type", np.char.lower(np.asarray(self.type, dtype=np.str_).reshape(-1)))
        for name, tail in (("boxes_xyxy", (4,)), ("boxes3d", (7,))):
            array = np.asarray(getattr(self, name), dtype=np.float64)
            object.__setattr__(self, name, array.reshape(0, *tail) if array.size == 0 else array)
        for name in ("truncated", "occluded", "alpha", "scores"):
            object.__setattr__(self, name, np.asarray(getattr(self, name), dtype=np.float64))
        tails = {"boxes_xyxy": (4,), "boxes3d": (7,)}
        for field in fields(self):
            shape, expected = getattr(self, field.name).shape, (n, *tails.get(field.name, ()))
            if shape != expected:
                raise ValueError(
                    f"ObjectTable.{field.name} has shape {shape}, expected {expected} as `frame` has {n} rows"
                )

    def __len__(self) -> int:
        return len(self.frame)

    def __getitem__(self, index: np.ndarray) -> "ObjectTable":
        """Rows by mask or by integer array."""
        return ObjectTable(**{f.name: getattr(self, f.name)[index] for f in fields(self)})

    @property
    def has_3d(self) -> np.ndarray:
        """(N,) bool: all dimensions are positive."""
        return self.boxes3d[:, 3:6].min(axis=1) > 0

    @property
    def range_m(self) -> np.ndarray:
        """(N,) distance sqrt(x^2 + z^2)."""
        return np.hypot(self.boxes3d[:, 0], self.boxes3d[:, 2])

    @property
    def height_px(self) -> np.ndarray:
        """(N,) height of the 2D box."""
        return self.boxes_xyxy[:, 3] - self.boxes_xyxy[:, 1]


def read_labels_folder(folder: Path, frames: Sequence[str]) -> ObjectTable:
    """Labels of `frames`, from FOLDER/FRAME.txt.

    Raises:
        FileNotFoundError: a frame has no file.
        ValueError: a row that cannot be right; names file and line.
    """
    _require(folder, frames, "label", "every evaluated frame needs one (an empty file if it has no object)")
    texts = ((path := folder / f"{frame}.txt", read_text(path, "labels")) for frame in frames)
    return parse_objects(texts, scored=False)


def read_predictions_folder(folder: Path, frames: Sequence[str], missing_as_empty: bool = False) -> ObjectTable:
    """Predictions of `frames`, from FOLDER/FRAME.txt.

    Args:
        missing_as_empty: take a frame without a file as one without detections.
    Raises:
        FileNotFoundError: a frame has no file, unless `missing_as_empty`.
        ValueError: a row that cannot be right; names file and line.
    """
    if not missing_as_empty:
        _require(folder, frames, "prediction", "write an empty file for no detection, or pass --missing-as-empty")
    paths = (folder / f"{frame}.txt" for frame in frames)
    texts = ((path, read_text(path, "predictions") if path.is_file() else "") for path in paths)
    return parse_objects(texts, scored=True)


def _require(folder: Path, frames: Sequence[str], what: str, cure: str) -> None:
    if not folder.is_dir():
        raise FileNotFoundError(f"{what} folder {folder} does not exist")
    missing = [frame for frame in frames if not (folder / f"{frame}.txt").is_file()]
    if missing:
        raise FileNotFoundError(
            f"{what} file {folder / missing[0]}.txt does not exist ({len(missing)} of {len(frames)} frames have none); "
            f"{cure}"
        )


def parse_objects(texts: Iterable[tuple[object, str]], scored: bool) -> ObjectTable:
    """KITTI text of frames as columns.

    Rows with a 2D box only have 0 or -1 for all of h, w, l; their x, y, z (0, -1000, ...) are not looked at.

    Args:
        texts: (name for messages, text) of each frame, in the order of frames.
        scored: rows must have a score, as predictions do.
    Raises:
        ValueError: too few or too many fields, something that is no finite number, a dimension <= 0.
    """
    frame, types, origins = [], [], []
    values = array("d")  # a list of numbers would take four times the memory
    for index, (name, text) in enumerate(texts):
        for number, line in enumerate(split_lines(text), 1):
            words = line.split()
            if words:
                frame.append(index)
                types.append(words[0])
                values.extend(_numbers(words, scored, name, number))
                origins.append((name, number))
    rows = np.frombuffer(values, dtype=np.float64).reshape(-1, len(FIELDS))
    objects = ObjectTable(
        frame=np.array(frame, dtype=np.int64),
        type=np.array(types, dtype=np.str_),
        truncated=rows[:, 0],
        occluded=rows[:, 1],
        alpha=rows[:, 2],
        boxes_xyxy=rows[:, 3:7],
        boxes3d=rows[:, [10, 11, 12, 7, 8, 9, 13]],
        scores=rows[:, 14],
    )
    _check_values(objects, rows, origins)
    return objects


def _numbers(words: list[str], scored: bool, name: object, number: int) -> list[float]:
    """The 15 numbers of a row; the score of labels is 0."""
    count = len(words)
    if count != 16 and (scored or count != 15):
        if scored and count == 15:
            raise DataError(f"{name} line {number} has 15 fields: the 16th of a prediction, its score, is missing")
        listed = " ".join(FIELDS if scored else FIELDS[:-1])
        raise DataError(f"{name} line {number} has {count} fields, expected {15 + scored}: type {listed}")
    try:
        row = [float(word) for word in words[1:]]
    except ValueError as error:
        raise DataError(f"{name} line {number}: {error}; all fields but the first are numbers") from error
    return row if scored else [*row[:14], 0.0]


def _check_values(objects: ObjectTable, rows: np.ndarray, origins: list[tuple[object, int]]) -> None:
    finite = np.isfinite(rows)
    if not finite.all():
        row, column = np.argwhere(~finite)[0]
        name, number = origins[row]
        raise DataError(f"{name} line {number}: {FIELDS[column]} is {rows[row, column]}, expected a finite number")
    dimensions = rows[:, 7:10]
    in_2d = np.any([(dimensions == value).all(axis=1) for value in NO_3D], axis=0)
    wrong = ~objects.has_3d & ~in_2d & (objects.type != DONT_CARE)
    if wrong.any():
        row = int(np.flatnonzero(wrong)[0])
        name, number = origins[row]
        h, w, length = dimensions[row]
        raise DataError(
            f"{name} line {number}: dimensions h w l are {h:g} {w:g} {length:g}, expected positive metres; an object "
            "without 3D box has -1 -1 -1 -1000 -1000 -1000 (or 0 0 0 0 0 0) for h w l x y z"
        )
