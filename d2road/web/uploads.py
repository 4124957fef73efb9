"""What may be uploaded, and what a request makes of it: an image, and the camera that took it."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np

from d2road.data.camera_files import read_calib, read_denorm
from d2road.data.input_cameras import require_pinhole
from d2road.data.roadside_camera_files import is_camera_file, read_roadside_camera
from d2road.structures import Camera
from d2road.utils.errors import ConfigError, DataError
from d2road.utils.image_io import image_size, read_still_image

MEGABYTE = 1 << 20
Read = TypeVar("Read")


@dataclass(frozen=True)
class UploadLimits:
    """What a request may bring.

    Args:
        max_bytes: of a file. max_pixels: of an image, known from its header, or of a frame. max_files: images of one
            request. max_seconds, max_frames: of a clip.
    """

    max_bytes: int = 20 * MEGABYTE
    max_pixels: int = 1 << 25
    max_files: int = 16
    max_seconds: float = 20.0
    max_frames: int = 600

    def __post_init__(self) -> None:
        if min(self.max_bytes, self.max_pixels, self.max_files, self.max_seconds, self.max_frames) < 1:
            raise ConfigError(f"limits of uploads must be 1 or more, got {self}")

    def check_file(self, path: Path) -> None:
        """Raise DataError for a file that is too large, FileNotFoundError for one that is not there."""
        size = path.stat().st_size
        if size > self.max_bytes:
            raise DataError(
                f"{path.name} has {size / MEGABYTE:.1f} MB, at most {self.max_bytes / MEGABYTE:.1f} MB are taken: "
                "shrink it, or use d2road predict"
            )

    def check_count(self, count: int) -> None:
        """Raise DataError for no image, or too many."""
        if not 1 <= count <= self.max_files:
            raise DataError(f"{count} images, expected 1 to {self.max_files}: upload others, or use d2road predict")

    def read_image(self, path: Path) -> np.ndarray:
        """(H, W, 3) uint8 BGR, as `d2road predict` reads it: 16 bits scaled, CMYK and transparency turned into RGB, as
        its EXIF orientation says.

        Raises:
            DataError: too many bytes or pixels, no image, or one that moves.
        """
        self.check_file(path)
        try:
            width, height = image_size(path)
            if width * height > self.max_pixels:
                raise DataError(
                    f"has {width}x{height} pixels, at most {self.max_pixels / 1e6:.3g} million are taken: shrink it, "
                    "or use d2road predict"
                )
            return read_still_image(path)
        except DataError as error:
            raise DataError(f"{path.name} {str(error).removeprefix(f'image {path} ')}") from error


def camera_of_request(
    image_bgr: np.ndarray, calib: Path | None = None, denorm: Path | None = None, focal_px: float | None = None
) -> Camera | None:
    """The camera of an image; None where nothing tells it.

    Args:
        image_bgr: (H, W, 3), in whose middle the principal point is taken to be where only a focal length is given.
        calib: calibration with a line "P2: 12 numbers", or camera.yaml.
        denorm: the ground plane "a b c d".
        focal_px: focal length in pixels, of both axes.
    Raises:
        ConfigError: a calibration and a focal length, or a plane without a camera.
        DataError: a file that is not such a file, or a focal length that is none.
    """
    if calib is not None and focal_px is not None:
        raise ConfigError(
            "a calibration file and a focal length are given: give one of them, the other would not count"
        )
    if calib is None and focal_px is None:
        if denorm is not None:
            raise ConfigError("a ground plane is given without a camera: give its calibration file or focal length too")
        return None
    if calib is not None and is_camera_file(calib):
        if denorm is not None:
            raise ConfigError(f"{calib.name} has the ground plane already: give no other beside it")
        height, width = image_bgr.shape[:2]
        camera = _read_named(lambda path: read_roadside_camera(path, (width, height)), calib)
        require_pinhole(camera, calib.name)
        return camera.pinhole
    if calib is not None:
        P = _read_named(read_calib, calib)
    else:
        assert focal_px is not None
        if not 1 <= focal_px <= 1e6:
            raise DataError(f"the focal length is {focal_px:g} pixels, expected 1 to 1000000")
        height, width = image_bgr.shape[:2]
        P = np.array([[focal_px, 0, width / 2], [0, focal_px, height / 2], [0, 0, 1]])
    return Camera(P, None if denorm is None else _read_named(read_denorm, denorm))


def number_or_none(text: str | None, name: str) -> float | None:
    """The number of a text field; None where it is empty, or was never seen (None).

    Raises:
        DataError: it is no finite number.
    """
    if text is None or not text.strip():
        return None
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise DataError(f"{name} is {text.strip()[:40]!r}, expected a number, or nothing")
    return value


def whole_number(value: float | None, name: str, largest: int) -> int:
    """The whole number of a slider, at most `largest`.

    Raises:
        DataError: it was emptied (None), or is no number of 1 or more.
    """
    if value is None or not math.isfinite(value) or value < 1:
        raise DataError(f"{name} is {'empty' if value is None else f'{value:g}'}, expected a number from 1 on")
    return min(int(value), largest)


def _read_named(read: Callable[[Path], Read], path: Path) -> Read:
    """What a reader makes of a file; its errors name the file as it was uploaded, without the server's folder."""
    try:
        return read(path)
    except (OSError, ValueError) as error:
        raise DataError(str(error).replace(str(path), path.name)) from error
