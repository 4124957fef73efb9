"""Anomaly maps and masks as files."""

import io
import os
import struct
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from d2road.utils.errors import DataError
from d2road.utils.input_files import read_bytes
from d2road.utils.output_files import atomic_write, make_folder
from efficientad.evaluation.image_scores import ImageScores, check_map, score_image, size_text
from efficientad.evaluation.mask_files import MaskFacts, read_marked, read_mask
from efficientad.evaluation.spro import DefectType, make_defect

MAP_SUFFIXES = (".tiff", ".tif", ".npy")
# Folders of an upload to MVTec's benchmark server: maps of 16-bit floats, and what lies above a threshold.
UPLOADED, UPLOADED_MASKS = "anomaly_images", "anomaly_images_thresholded"
LARGEST_MAP = 1 << 30  # bytes
SAMPLE_FORMAT, FLOATS, UNSIGNED = 339, 3, 1  # a tag of TIFF and two of its values


def read_map(path: str | os.PathLike) -> np.ndarray:
    """An anomaly map (H, W), float32 or float64.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not .tiff, .tif or .npy, cannot be read, or holds no finite map; the message names the file.
    """
    path = Path(path)
    if path.suffix.lower() not in MAP_SUFFIXES:
        raise DataError(f"anomaly map {path}: expected a file with suffix {', '.join(MAP_SUFFIXES)}")
    content = read_bytes(path, "anomaly map", LARGEST_MAP)
    if path.suffix.lower() == ".npy":
        try:
            values = np.load(io.BytesIO(content), allow_pickle=False)
        except Exception as error:  # NumPy parses the header as Python, which fails in many ways
            raise DataError(f"anomaly map {path} cannot be read: {error}") from error
    else:
        values = _half_floats(content)
        if values is None and content:
            values = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED)
        if values is None:
            raise DataError(
                f"anomaly map {path} cannot be read as TIFF; write one channel of 16- or 32-bit floats, uncompressed"
            )
    return check_map(values, f"anomaly map {path}")


def _half_floats(content: bytes) -> np.ndarray | None:
    """The values of a TIFF of 16-bit floats, which neither OpenCV nor Pillow reads; None of any other file.

    Pillow reads the same file once its tag says that the samples are integers; their bits are the floats.
    """
    order = {b"II": "<", b"MM": ">"}.get(content[:2])
    try:
        if order is None or struct.unpack_from(order + "H", content, 2)[0] != 42:
            return None
        (start,) = struct.unpack_from(order + "I", content, 4)
        (count,) = struct.unpack_from(order + "H", content, start)
        changed = bytearray(content)
        for place in range(start + 2, start + 2 + 12 * count, 12):
            tag, _, length, value = struct.unpack_from(order + "HHIH", content, place)
            if (tag, length, value) == (SAMPLE_FORMAT, 1, FLOATS):
                struct.pack_into(order + "H", changed, place + 8, UNSIGNED)
        with Image.open(io.BytesIO(bytes(changed))) as image:
            if bytes(changed) == content or not image.mode.startswith("I;16"):
                return None
            bits = np.asarray(image)
    except Exception:  # whatever Pillow raises for a file that is broken or of another kind
        return None
    return bits.view(bits.dtype.str.replace("u", "f")).astype(np.float32)


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


def write_upload(
    folder: str | os.PathLike, category: str, name: str, anomaly_map: np.ndarray, threshold: float | None = None
) -> None:
    """Write a map (H, W) as MVTec's benchmark server takes it: 16-bit floats, and 0 and 255 by a threshold.

    FOLDER/anomaly_images/CATEGORY/NAME.tiff and, with a threshold, FOLDER/anomaly_images_thresholded/CATEGORY/NAME.png.

    Args:
        name: of the image below its category, without suffix, such as test_private/000_regular.
        threshold: values above it are anomalous.
    Raises:
        DataError: not a finite map, or values beyond the range of 16-bit floats.
    """
    path = Path(folder) / UPLOADED / category / f"{name}.tiff"
    anomaly_map = check_map(anomaly_map, f"anomaly map for {path}")
    limit = float(np.finfo(np.float16).max)
    if np.abs(anomaly_map).max() > limit:
        raise DataError(f"anomaly map for {path}: values beyond {limit:g} have no 16-bit float; scale the maps")
    half = np.ascontiguousarray(anomaly_map.astype(np.float16))
    make_folder(path.parent)
    with atomic_write(path) as file:
        Image.fromarray(half.view(np.uint16)).save(file, "TIFF", tiffinfo={SAMPLE_FORMAT: FLOATS})
    if threshold is not None:
        path = Path(folder) / UPLOADED_MASKS / category / f"{name}.png"
        make_folder(path.parent)
        with atomic_write(path) as file:
            Image.fromarray(np.where(anomaly_map > threshold, 255, 0).astype(np.uint8)).save(file, "PNG")


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
