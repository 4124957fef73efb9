"""Reading and writing pictures: never half of one, turned as they are meant to be seen, clear words where it fails."""

import os
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, ImageFile, ImageOps

from d2ext.utils.io import atomic_write

JPEG_QUALITY = 90


def open_picture(path: str | os.PathLike, entry: str = "") -> Image.Image:
    """A picture, wholly decoded and turned as its EXIF orientation says.

    Pillow refuses a file that was cut off, where OpenCV returns the part that is there.

    Args:
        path: of the file.
        entry: for messages: what names this file, e.g. "image_id 5".
    Raises:
        FileNotFoundError: no such file.
        ValueError: not a picture, or cut off.
    """
    # Another library may have told Pillow to fill what a cut-off file lacks with grey.
    ImageFile.LOAD_TRUNCATED_IMAGES = False
    name = f"image {path}" + (f" ({entry})" if entry else "")
    try:
        with Image.open(path) as image:
            image.load()
    except FileNotFoundError as error:
        cure = ": check the image folder and the file names in the annotations" if entry else ""
        raise FileNotFoundError(f"{name} does not exist{cure}") from error
    except (OSError, SyntaxError, ValueError) as error:  # Pillow reports some broken PNGs as SyntaxError
        raise ValueError(f"{name} cannot be read as a picture: {error}. Fetch or export it again") from error
    try:
        return ImageOps.exif_transpose(image)
    except Exception:  # an EXIF block that cannot be understood; the picture itself is whole
        return image


def read_picture(path: str | os.PathLike, bgr: bool = False) -> np.ndarray:
    """(H, W, 3) uint8, RGB or BGR; grey, palette and transparent pictures become colour ones.

    Raises:
        FileNotFoundError, ValueError: as `open_picture`.
    """
    rgb = np.asarray(open_picture(path).convert("RGB"))
    return np.ascontiguousarray(rgb[:, :, ::-1]) if bgr else np.array(rgb)


def write_picture(path: str | os.PathLike, image: np.ndarray, bgr: bool = False) -> None:
    """Write (H, W, 3) uint8 in the format of the file's suffix; a broken run leaves no half picture.

    Raises:
        ValueError: OpenCV has no such format, or the array is no picture.
        FileNotFoundError: the folder is not there.
    """
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
        raise ValueError(f"a picture is (H, W, 3) uint8, got {image.shape} {image.dtype} for {path}")
    suffix = Path(path).suffix.lower()
    options = [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY] if suffix in (".jpg", ".jpeg") else []
    try:
        done, content = cv2.imencode(suffix, image if bgr else np.ascontiguousarray(image[:, :, ::-1]), options)
    except cv2.error as error:
        raise ValueError(f"cannot write {path}: no picture format of suffix {suffix!r}; use .jpg or .png") from error
    if not done:
        raise ValueError(f"cannot write {path}: encoding a picture of shape {image.shape} failed")
    with atomic_write(path) as file:
        file.write(content.tobytes())
