"""Camera calibrations and ground planes from the files beside a frame.

    calib/000000.txt     P2: 12 numbers (row by row, 3x4); other lines (P0, R0_rect, Tr_velo_to_cam, ...) are not read
    denorm/000000.txt    a b c d: the ground, a x + b y + c z + d = 0 in the camera frame, m

Source: the development kits of KITTI and Rope3D.
"""

import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from d2road.structures.camera import Camera, normalize_plane
from d2road.utils.errors import DataError
from d2road.utils.input_files import text_lines


def read_calib(path: str | os.PathLike, key: str = "P2") -> np.ndarray:
    """(3, 4) projection matrix of a calibration file.

    Raises:
        FileNotFoundError: it is not there.
        ValueError: no such line, not 12 finite numbers, or no projection; names file and line.
    """
    for number, line in _lines(path, "calibration"):
        name, colon, rest = line.partition(":")
        if name.strip() != key or not colon:
            continue
        where = f"{path} line {number}"
        P = np.array(_numbers(rest.split(), 12, key, where)).reshape(3, 4)
        if min(P[0, 0], P[1, 1]) <= 0 or not np.allclose(P[2, :3], (0, 0, 1), atol=1e-6):
            raise DataError(
                f"{where}: {key} is no projection of a rectified camera; expected rows fx 0 cx tx, 0 fy cy ty, "
                f"0 0 1 tz with fx and fy above 0, got {P.tolist()}"
            )
        return P
    raise DataError(f"{path} has no line '{key}: ' with 12 numbers (3x4, row by row); add the camera's projection")


def read_denorm(path: str | os.PathLike) -> np.ndarray:
    """(4,) ground plane a b c d with a normal of length 1 that points up (b < 0), so that d is the camera's height.

    Raises:
        FileNotFoundError: it is not there.
        ValueError: not four finite numbers, no normal, or a camera below its ground; names file and line.
    """
    for number, line in _lines(path, "ground plane"):
        where = f"{path} line {number}"
        values = _numbers(line.split(), 4, "the ground plane a b c d", where)
        try:
            plane = normalize_plane(np.array(values))
        except ValueError as error:
            raise DataError(f"{where}: {error}") from error
        if plane[3] <= 0:
            raise DataError(
                f"{where}: the camera lies {-plane[3]:g} m below this ground plane, which cannot be; expected "
                "a x + b y + c z + d = 0 in the camera frame (y down), with b and d of opposite signs"
            )
        return plane
    raise DataError(f"{path} is empty, expected one line with four numbers a b c d")


def read_camera(record: Mapping[str, Any]) -> Camera:
    """The camera of a dataset dict, with the ground plane if there is one.

    Args:
        record: with `calib_file` and perhaps `denorm_file`, or with `camera` {"P": 3x4 or 3x3 numbers, "ground": 4
            numbers or None} where the data has no such files.
    Raises:
        FileNotFoundError: a file is not there.
        ValueError: the record names no camera, or what it names is wrong; names file and line.
    """
    name = record.get("file_name", "a data set entry")
    if record.get("camera") is not None:
        camera = record["camera"]
        try:
            return Camera(np.array(camera["P"], dtype=np.float64), camera.get("ground"))
        except (KeyError, TypeError, ValueError) as error:
            raise DataError(
                f"{name}: its `camera` is wrong: {error}. Expected {{'P': 3x4, 'ground': 4 or None}}"
            ) from (error)
    if not record.get("calib_file"):
        raise DataError(
            f"{name} has no calibration, which 3D needs: its data set must give `calib_file` (or `camera`); formats "
            "that do are kitti, rope3d, dair and omni3d"
        )
    ground = read_denorm(record["denorm_file"]) if record.get("denorm_file") else None
    return Camera(read_calib(record["calib_file"]), ground)


def camera_list(batched_inputs: Sequence[Mapping[str, Any]], otherwise: str = "") -> list[Camera]:
    """The cameras of a batch of model inputs.

    Args:
        otherwise: what can be done instead of giving one, for the message.
    Raises:
        DataError: an image has none.
    """
    for x in batched_inputs:
        if not isinstance(x.get("camera"), Camera):
            raise DataError(
                f"{_image_of(x)} comes without a camera, whose intrinsics 3D boxes need: give "
                f"`camera`, a d2road.structures.Camera in pixels of `image` (d2road predict: --calib){otherwise}"
            )
    return [x["camera"] for x in batched_inputs]


def _image_of(model_input: Mapping[str, Any]) -> str:
    """An input of a model for messages: by its file, where it has one."""
    name = model_input.get("file_name")
    return f"image {name!r}" if name else "the image"


def _lines(path: str | os.PathLike, what: str) -> list[tuple[int, str]]:
    """(line number, text) of the lines that hold something."""
    if not Path(path).is_file():
        raise FileNotFoundError(f"{what} file {path} does not exist; every frame needs one")
    return [(number, line) for number, line in enumerate(text_lines(path, f"{what} file"), 1) if line.strip()]


def _numbers(words: list[str], count: int, what: str, where: str) -> list[float]:
    if len(words) != count:
        raise DataError(f"{where}: {what} has {len(words)} numbers, expected {count}")
    try:
        values = [float(word) for word in words]
    except ValueError as error:
        raise DataError(f"{where}: {what}: {error}") from error
    if not all(math.isfinite(value) for value in values):
        raise DataError(f"{where}: {what} is not finite: {' '.join(words)}")
    return values
