"""Buffer of the last seconds of a stream, kept as JPEG in bounded memory, that clips are written from."""

from collections import deque
from pathlib import Path

import cv2
import numpy as np

from d2road.video.frame import Frame
from d2road.video.video_writer import VideoWriter

KEPT_S = 60.0
LARGEST_BYTES = 256 << 20
JPEG_QUALITY = 90
FEWEST = 2  # frames of a clip


class ClipBuffer:
    """The newest frames of a stream.

    Args:
        kept_s: seconds that are kept. largest_bytes: of memory, however many frames that are.
    """

    def __init__(self, kept_s: float = KEPT_S, largest_bytes: int = LARGEST_BYTES):
        self.kept_s, self.largest_bytes = kept_s, largest_bytes
        self._frames: deque[tuple[float, np.ndarray]] = deque()
        self._bytes = 0

    def add(self, frame: Frame) -> None:
        """Take in a frame, and let go of those that are too old or too many."""
        packed = _packed(frame.image_bgr)
        self._frames.append((frame.t, packed))
        self._bytes += packed.nbytes
        while len(self._frames) > 1 and self._is_full(frame.t):
            self._bytes -= self._frames.popleft()[1].nbytes

    def _is_full(self, t: float) -> bool:
        return t - self._frames[0][0] > self.kept_s or self._bytes > self.largest_bytes

    def write(self, start_s: float, end_s: float, path: Path) -> bool:
        """Write the frames between two times; whether there are any.

        Raises:
            OutputError: the clip cannot be written.
        """
        found = [one for one in self._frames if start_s <= one[0] <= end_s]
        if len(found) < FEWEST:
            return False
        rate = 1 / max(float(np.median(np.diff([t for t, _ in found]))), 1e-3)
        with VideoWriter(path, rate) as writer:
            for t, packed in found:
                image = cv2.imdecode(packed, cv2.IMREAD_COLOR)
                assert image is not None, "it was encoded here"
                writer.write(image, t - found[0][0])
        return True


def _packed(image: np.ndarray) -> np.ndarray:
    good, packed = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
    assert good, "an 8-bit image can always be encoded"
    return packed
