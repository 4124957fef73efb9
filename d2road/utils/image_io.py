"""Reading and writing images: never half of one, turned as they are meant to be seen, clear words where it fails."""

import io
import os
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TypeVar

import numpy as np
from PIL import ExifTags, Image, ImageFile, ImageOps, UnidentifiedImageError

from d2road.utils.errors import DataError
from d2road.utils.input_files import open_input
from d2road.utils.output_files import atomic_write

T = TypeVar("T")
AnyImage = np.ndarray | str | Path | Image.Image
JPEG_QUALITY = 90
SIXTEEN_BIT = 65535
MOVING = ("GIF", "PNG", "WEBP")
LARGEST_IMAGE = 1 << 27  # pixels; decoded, three times as many bytes


@dataclass(frozen=True)
class ImageBytes:
    """An image file in memory, which can be read wherever a path can: its name, for messages, and its content."""

    name: str
    content: bytes

    def __str__(self) -> str:
        return self.name


Source = str | os.PathLike | ImageBytes


def open_image(path: Source, entry: str = "") -> Image.Image:
    """An image, wholly decoded and turned as its EXIF orientation says.

    Pillow refuses a file that was cut off, where OpenCV returns the part that is there.

    Args:
        path: of the file.
        entry: for messages: what names this file, e.g. "image_id 5".
    Raises:
        FileNotFoundError: no such file.
        DataError: not an image, or cut off.
    """
    return _upright(_read(path, entry, _decoded))


def image_size(path: str | os.PathLike, entry: str = "") -> tuple[int, int]:
    """(width, height) of an image turned as its EXIF orientation says; reads the header alone.

    Raises:
        FileNotFoundError, DataError: as `open_image`.
    """
    return _read(path, entry, _turned_size)


def frame_count(path: Source) -> int:
    """Frames of an image that moves (GIF, PNG, WebP); 1 of every other, with pages or previews beside it or not.

    Raises:
        FileNotFoundError, DataError: as `open_image`.
    """
    return _read(path, "", lambda image: getattr(image, "n_frames", 1) if image.format in MOVING else 1)


def _upright(image: Image.Image) -> Image.Image:
    try:
        return ImageOps.exif_transpose(image)
    except Exception:  # an EXIF block that cannot be understood; the image itself is whole
        return image


def _turned_size(image: Image.Image) -> tuple[int, int]:
    """(width, height) as its EXIF orientation says."""
    try:
        turned = image.getexif().get(ExifTags.Base.Orientation, 1) in range(5, 9)
    except Exception:  # an EXIF block that cannot be understood; the image itself is whole
        turned = False
    return image.size[::-1] if turned else image.size


def _decoded(image: Image.Image) -> Image.Image:
    image.load()
    return image


def _read(path: Source, entry: str, action: Callable[[Image.Image], T]) -> T:
    """What an action makes of the image behind a path, while its file is open."""
    # Another library may have told Pillow to fill what a cut-off file lacks with grey.
    ImageFile.LOAD_TRUNCATED_IMAGES = False
    name = f"image {path}" + (f" ({entry})" if entry else "")
    cure = ": check the image folder and the file names in the annotations" if entry else ""
    opened: IO[bytes]
    if isinstance(path, ImageBytes):
        opened = io.BytesIO(path.content)
    elif os.path.lexists(Path(path).expanduser()):
        opened = open_input(path, "image")
    else:
        raise FileNotFoundError(f"{name} does not exist{cure}")
    with opened as file, warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # bounded below
        try:
            with Image.open(file) as image:
                if image.width * image.height > LARGEST_IMAGE:
                    raise Image.DecompressionBombError(f"{image.width}x{image.height} pixels")
                return action(image)
        except Image.DecompressionBombError as error:
            raise DataError(
                f"{name} is too large ({error}): at most {LARGEST_IMAGE} pixels are read; cut or shrink it"
            ) from error
        except UnidentifiedImageError as error:
            raise DataError(f"{name} cannot be read as an image: no known format. Fetch or export it again") from error
        except Exception as error:  # whatever Pillow's decoders raise for a file that is broken
            raise DataError(f"{name} cannot be read as an image: {error}. Fetch or export it again") from error


def open_rgb(path: Source, entry: str = "") -> Image.Image:
    """An image as 8-bit RGB: grey ones get three equal channels, transparency is dropped, see `to_eight_bits`.

    Raises:
        FileNotFoundError, DataError: as `open_image` and `to_eight_bits`.
    """
    # A palette's transparent entry is a colour like the others here.
    return to_eight_bits(open_image(path, entry), path).convert("RGB")


def pillow_pixels(image: Image.Image) -> np.ndarray:
    """(H, W, 3) uint8, RGB, of an image that Pillow has read, as `read_image` gives of its file.

    Raises:
        DataError: as `to_eight_bits`.
    """
    name = str(getattr(image, "filename", "") or "of Pillow")
    return np.array(to_eight_bits(_upright(image), name).convert("RGB"))  # 8 bits have lost the orientation


def to_eight_bits(image: Image.Image, path: Source) -> Image.Image:
    """The image itself; of 16-bit or floating-point grey, which Pillow would cut off at 255, one of 8 bits.

    16-bit grey is scaled by 255 / 65535 whatever values it has, floating-point grey by 255.

    Args:
        path: for messages.
    Raises:
        DataError: NaN or infinite, or numbers out of range.
    """
    if not image.mode.startswith(("I", "F")):
        return image
    values = np.asarray(image).astype(np.float64)
    if not np.isfinite(values).all():
        count = int((~np.isfinite(values)).sum())
        raise DataError(f"image {path} has {count} pixel(s) that are NaN or infinite; repair or leave out the image")
    highest = 1 if image.mode == "F" else SIXTEEN_BIT
    if values.min() < 0 or values.max() > highest:
        raise DataError(
            f"image {path} (mode {image.mode}) has values from {values.min():g} to {values.max():g}, expected 0 to "
            f"{highest}; store it as 8 or 16 bit"
        )
    return Image.fromarray(np.round(values * (255 / highest)).astype(np.uint8))


def read_image(path: Source, bgr: bool = False) -> np.ndarray:
    """(H, W, 3) uint8, RGB or BGR, of any image, see `open_rgb`.

    Raises:
        FileNotFoundError, DataError: as `open_rgb`.
    """
    rgb = np.asarray(open_rgb(path))
    return np.ascontiguousarray(rgb[:, :, ::-1]) if bgr else np.array(rgb)


def read_still_image(file: Source) -> np.ndarray:
    """(H, W, 3) uint8 BGR of an image as every prediction reads it.

    Raises:
        DataError: it cannot be read, or moves; the message leaves the file's name to the caller.
    """
    try:
        frames = frame_count(file)
        image_bgr = read_image(file, bgr=True)
    except (OSError, ValueError) as error:
        raise DataError(str(error).removeprefix(f"image {file} ")) from error
    if frames > 1:
        name = Path(str(file))
        raise DataError(
            f"holds {frames} frames: make a video of it, e.g. ffmpeg -i {name.name} {name.stem}.mp4, or single images"
        )
    return image_bgr


def read_pixels(image: AnyImage) -> np.ndarray:
    """The pixels of an array, a Pillow image or a file: (H, W, 3) uint8, BGR, upright as EXIF says.

    Raises:
        FileNotFoundError, DataError: as `read_image`. ValueError: an array that is no image.
    """
    if isinstance(image, np.ndarray):
        return check_image(image)
    if isinstance(image, Image.Image):
        return np.ascontiguousarray(pillow_pixels(image)[:, :, ::-1])
    return read_image(image, bgr=True)


def check_image(image: np.ndarray) -> np.ndarray:
    """The array itself, if it is an image as cv2.imread gives.

    Raises:
        ValueError: it is not.
    """
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or image.size == 0:
        raise ValueError(
            f"expected an image of shape (H, W, 3), uint8 with values 0..255 in BGR order as cv2.imread gives; "
            f"got shape {image.shape}, {image.dtype}"
        )
    return image


def write_image(path: str | os.PathLike, image: np.ndarray, bgr: bool = False) -> None:
    """Write (H, W, 3) uint8 in the format of the file's suffix; a broken run leaves no half image.

    Raises:
        DataError: OpenCV has no such format.
        ValueError: the array is no image.
        FileNotFoundError: the folder is not there.
    """
    import cv2  # reading needs Pillow alone

    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
        raise ValueError(f"an image is (H, W, 3) uint8, got {image.shape} {image.dtype} for {path}")
    suffix = Path(path).suffix.lower()
    options = [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY] if suffix in (".jpg", ".jpeg") else []
    try:
        done, content = cv2.imencode(suffix, image if bgr else np.ascontiguousarray(image[:, :, ::-1]), options)
    except cv2.error as error:
        raise DataError(f"cannot write {path}: no image format of suffix {suffix!r}; use .jpg or .png") from error
    if not done:
        raise DataError(f"cannot write {path}: encoding an image of shape {image.shape} failed")
    with atomic_write(path) as file:
        file.write(content.tobytes())
