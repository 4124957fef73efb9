"""What writes the images of a video to a file, and the constant rate that most of them need."""

from abc import ABC, abstractmethod
from pathlib import Path
from typing import ClassVar

import numpy as np

LONGEST_HOLD_S = 5.0  # that an image is repeated for: a stream that was away for an hour is no hour of one image


class Encoder(ABC):
    """Writes a video that can be read as far as it was written, at any time where `survives_kill`.

    Args:
        path: of the file that grows, with the suffix of its format.
        fps: nominal frames a second.
        size_wh: of all images, even numbers.
        crf: constant rate factor of x264, 0 (lossless) to 51; other codecs do not know it.
    Raises:
        OSError: the file cannot be written.
    """

    survives_kill: ClassVar[bool]

    @abstractmethod
    def __init__(self, path: Path, fps: float, size_wh: tuple[int, int], crf: int): ...

    @abstractmethod
    def write(self, image_bgr: np.ndarray, t: float) -> None:
        """Add an image to be shown from t on, s since the first one."""

    @abstractmethod
    def finish(self, target: Path) -> None:
        """End the video and give it its name. Raises OSError where something of it is missing."""

    @abstractmethod
    def abort(self) -> None:
        """Close the file, whatever is in it."""


class ConstantRateEncoder(Encoder):
    """An encoder of frames that are 1 / fps apart: an image is repeated or left out, so that time runs as it did."""

    def __init__(self, path: Path, fps: float, size_wh: tuple[int, int], crf: int):
        self.path, self.fps, self.size_wh = path, fps, size_wh
        self.count = 0  # frames in the file
        self._held: np.ndarray | None = None
        self._skipped_s = 0.0  # of holds that were cut short

    def write(self, image_bgr: np.ndarray, t: float) -> None:
        place = round((t - self._skipped_s) * self.fps)
        longest = max(1, round(LONGEST_HOLD_S * self.fps))
        if self._held is not None and place - self.count > longest:
            self._skipped_s += (place - self.count - longest) / self.fps
            place = self.count + longest
        while self._held is not None and self.count < place:
            self._add(self._held)
        if self.count <= place:
            self._add(image_bgr)
        self._held = image_bgr

    def _add(self, image_bgr: np.ndarray) -> None:
        self.write_next(image_bgr)
        self.count += 1

    @abstractmethod
    def write_next(self, image_bgr: np.ndarray) -> None:
        """Add the next frame."""
