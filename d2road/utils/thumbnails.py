"""Thumbnails: whether an image is the one that sentences were written for.

A thumbnail is the image as 16 x 9 grey blocks, two hexadecimal digits a block, row by row. It is the same for every
decoder of a file and every encoder of nearly the same pixels, and another for another view: a checksum that allows for
rounding. Sentences of people or models name what they saw, so a file of such sentences carries one for each image.
"""

from pathlib import Path

import numpy as np
from PIL import Image

from d2road.utils.image_io import open_rgb

WIDTH, HEIGHT = 16, 9
DIGITS = 2 * WIDTH * HEIGHT
# Grey levels by which a block may differ. A toy view saved again as a JPEG of quality 40 moves none by more than 1; two
# toy views differ by 35 and more somewhere.
TOLERANCE = 4


def thumbnail_of(path: str | Path) -> str:
    """The thumbnail of an image file, 288 hexadecimal digits.

    Raises:
        FileNotFoundError, DataError: as `d2road.utils.image_io.open_image`.
    """
    blocks = open_rgb(path).convert("L").resize((WIDTH, HEIGHT), Image.Resampling.BOX)
    return np.asarray(blocks, dtype=np.uint8).tobytes().hex()


def is_thumbnail(value: object) -> bool:
    """Whether a value reads as a thumbnail."""
    return isinstance(value, str) and len(value) == DIGITS and set(value) <= set("0123456789abcdef")


def thumbnail_distance(first: str, second: str) -> int:
    """Largest difference of two thumbnails' blocks, grey levels from 0 to 255."""
    a, b = (np.frombuffer(bytes.fromhex(text), dtype=np.uint8).astype(int) for text in (first, second))
    return int(np.abs(a - b).max())
