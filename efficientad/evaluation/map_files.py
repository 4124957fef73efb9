"""Anomaly maps and masks as files."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import cv2
import numpy as np

from d2road.utils.errors import DataError
from d2road.utils.image_io import open_image
from d2road.utils.output_files import atomic_write, make_folder
from efficientad.evaluation.image_scores import ImageScores, check_map, score_image, size_text
from efficientad.evaluation.spro import DefectType, make_defect

MAP_SUFFIXES = (".tiff", ".tif", ".npy")


def read_map(path: str | os.PathLike) -> np.ndarray:
    """An anomaly map (H, W), float32 or float64.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not .tiff, .tif or .npy, cannot be read, or holds no finite map; the message names the file.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"anomaly map {path} does not exist")
    if path.suffix.lower() not in MAP_SUFFIXES:
        raise DataError(f"anomaly map {path}: expected a file with suffix {', '.join(MAP_SUFFIXES)}")
    if path.suffix.lower() == ".npy":
        try:
            content = np.load(path, allow_pickle=False)
        except (ValueError, EOFError, OSError) as error:
            raise DataError(f"anomaly map {path} cannot be read: {error}") from error
    else:
        content = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
        if content is None:
            raise DataError(f"anomaly map {path} cannot be read as TIFF; write one channel of 32-bit floats")
    return check_map(content, f"anomaly map {path}")


def write_map(path: str | os.PathLike, anomaly_map: np.ndarray) -> None:
    """Write a map (H, W) as .tiff, .tif or .npy of 32-bit floats, whole or not at all; the folder is created.

    Raises:
        ValueError: another suffix, or not a finite map.
    """
    path = Path(path)
    if path.suffix.lower() not in MAP_SUFFIXES:
        raise DataError(f"anomaly map {path}: expected a file with suffix {', '.join(MAP_SUFFIXES)}")
    anomaly_map = check_map(anomaly_map, f"anomaly map for {path}").astype(np.float32)
    make_folder(path.parent)
    with atomic_write(path) as file:
        if path.suffix.lower() == ".npy":
            np.save(file, anomaly_map)
        else:
            # Uncompressed: floats hardly shrink, and reading takes a tenth of the time.
            file.write(cv2.imencode(".tiff", anomaly_map, [cv2.IMWRITE_TIFF_COMPRESSION, 1])[1].tobytes())


def read_mask(path: str | os.PathLike) -> np.ndarray:
    """A mask (H, W), unsigned integers as stored, 0 outside; of colours the largest channel counts, alpha does not.

    Raises:
        FileNotFoundError, ValueError: no such file, or not an image.
    """
    image = open_image(path)
    if image.mode in ("P", "PA", "LA", "RGBA", "CMYK"):
        image = image.convert("L" if image.mode == "LA" else "RGB")
    mask = np.asarray(image)
    return mask if mask.ndim == 2 else mask.max(axis=2)


def score_file(
    name: str,
    kind: str,
    anomaly_map: np.ndarray,
    masks: Sequence[str | os.PathLike],
    types: Mapping[int, DefectType] | None = None,
    exact: bool = False,
    score: float | None = None,
    source: str = "",
    ignore: str | os.PathLike | None = None,
) -> ImageScores:
    """`score_image` with the masks read from their files, each a defect if `types` are given.

    Args:
        source: what holds the map, for messages; `name` if empty.
        ignore: file of a mask of pixels that do not count, see `score_image`.
    Raises:
        FileNotFoundError, ValueError: as `read_mask` and `score_image`; the message names the file.
    """
    source = source or name
    read = [read_mask(path) for path in masks]
    ignored = [read_mask(path) for path in (ignore,) if path]
    for path, mask in zip((*masks, ignore), read + ignored):
        if mask.shape != anomaly_map.shape:
            raise DataError(
                f"{source} is {size_text(anomaly_map)}, but mask {path} is {size_text(mask)} (width x height): maps "
                "are judged at the size of the image, so resize the map to it"
            )
    defects = [] if types is None else [make_defect(mask, types, str(path)) for path, mask in zip(masks, read)]
    union = np.any([m != 0 for m in read], axis=0) if read else None
    return score_image(name, kind, anomaly_map, union, defects, score, exact, *ignored)
