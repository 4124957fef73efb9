"""Anomaly maps and masks as files."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np

from d2road.utils.errors import DataError
from d2road.utils.output_files import atomic_write, make_folder
from efficientad.evaluation.image_scores import ImageScores, check_map, score_image, size_text
from efficientad.evaluation.mask_files import MaskFacts, read_marked, read_mask
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
    read = [_marked_of(path, typed=types is not None) for path in masks]
    ignored = [read_marked(path)[0] for path in (ignore,) if path]
    for path, mask in zip((*masks, ignore), [values for values, _ in read] + ignored):
        if mask.shape != anomaly_map.shape:
            raise DataError(
                f"{source} is {size_text(anomaly_map)}, but mask {path} is {size_text(mask)} (width x height): maps "
                "are judged at the size of the image, so resize the map to it"
            )
    defects = [] if types is None else [make_defect(mask, types, str(path)) for path, (mask, _) in zip(masks, read)]
    union = np.any([mask != 0 for mask, _ in read], axis=0) if read else None
    scores = score_image(name, kind, anomaly_map, union, defects, score, exact, *ignored)
    return replace(scores, masks=tuple(facts for _, facts in read if facts is not None))


def _marked_of(path: str | os.PathLike, typed: bool) -> tuple[np.ndarray, MaskFacts | None]:
    """A mask not 0 inside defects: with the values that tell their types, or else with what is odd about it."""
    return (read_mask(path), None) if typed else read_marked(path)
