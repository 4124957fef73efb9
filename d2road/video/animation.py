"""Decoding of animated images (GIF, WebP) by Pillow, which lays frames over one another and clears them as they say."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image, ImageFile

from d2road.utils.image_io import frame_count, pillow_pixels
from d2road.utils.input_files import open_input
from d2road.video.decoders import Decoder

ANIMATED = (".gif", ".webp")
UNTOLD_MS = 100  # of a frame that does not say how long it is shown: as browsers and FFmpeg take it


def is_animation(path: Path) -> bool:
    """Whether a file is named as an animated image and has several frames; one that cannot be read has none."""
    kind = path.suffix.lower()
    try:
        return kind in ANIMATED and (kind != ".webp" or _says_animated(path)) and frame_count(path) > 1
    except (OSError, ValueError):
        return False


def _says_animated(path: Path) -> bool:
    """By the header of a WebP, whose frames cannot be counted without reading all of it."""
    with open_input(path, "image") as file:
        head = file.read(21)
    return len(head) == 21 and head[12:16] == b"VP8X" and bool(head[20] & 2)


class AnimationDecoder(Decoder):
    """Decoder of an animated image; its times are the sums of how long its frames are shown.

    Raises:
        FileNotFoundError, DataError: it cannot be read as an image.
    """

    is_counted = is_exact = is_timed = True

    def __init__(self, path: Path):
        self.claimed = frame_count(path)
        self.duration_s = 0.0  # not told before the last frame is read; frames are counted
        ImageFile.LOAD_TRUNCATED_IMAGES = False
        self._file = open_input(path, "image")
        self._image = Image.open(self._file)
        self.fps = 1000 / self._shown_ms()
        self.damaged = 0

    def _shown_ms(self) -> float:
        """How long the present frame is shown."""
        return float(self._image.info.get("duration", 0)) or UNTOLD_MS

    def __iter__(self) -> Iterator[tuple[float | None, np.ndarray]]:
        stamp_ms = 0.0
        for number in range(self.claimed):
            try:
                self._image.seek(number)
                image = np.ascontiguousarray(pillow_pixels(self._image)[:, :, ::-1])
            except Exception:  # whatever Pillow's decoders raise for a file that is broken; what follows builds on it
                self.damaged += 1
                return
            yield stamp_ms / 1000, image
            stamp_ms += self._shown_ms()

    def close(self) -> None:
        self._image.close()
        self._file.close()
