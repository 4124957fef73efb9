"""Videos by OpenCV, where neither PyAV nor ffmpeg is installed: a free codec; unreadable if the process is killed."""

import functools
import logging
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np

from d2road.utils.errors import OutputError
from d2road.video.encoder import ConstantRateEncoder

logger = logging.getLogger(__name__)

# In mp4, the first that this OpenCV writes: H.264 and VP9 are played by browsers, MPEG-4 part 2 is not by most.
CODECS = {"avc1": "H.264", "vp09": "VP9", "mp4v": "MPEG-4 part 2"}
PLAYED_BY_BROWSERS = ("avc1", "vp09")


@functools.cache
def best_codec() -> str:
    """The first of `CODECS` that this OpenCV writes and reads back; "" if there is none. Tried once."""
    frame = np.zeros((240, 320, 3), np.uint8)
    with tempfile.TemporaryDirectory() as folder, _silent_stderr():
        for code in CODECS:
            path = str(Path(folder, f"{code}.mp4"))
            writer = cv2.VideoWriter(path, cv2.VideoWriter.fourcc(*code), 25.0, (320, 240))
            for _ in range(2 * writer.isOpened()):
                writer.write(frame)
            writer.release()
            copy = cv2.VideoCapture(path)
            is_readable = copy.read()[0]
            copy.release()
            if is_readable:
                return code
    return ""


@contextmanager
def _silent_stderr() -> Iterator[None]:
    """Without what FFmpeg writes of encoders that are not there, past Python."""
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


class OpenCvEncoder(ConstantRateEncoder):
    """The best codec that this OpenCV writes, at a constant rate."""

    survives_kill = False

    def __init__(self, path: Path, fps: float, size_wh: tuple[int, int], crf: int):
        super().__init__(path, fps, size_wh, crf)  # OpenCV lets nobody choose the quality of these codecs
        code = best_codec() or "mp4v"
        if code not in PLAYED_BY_BROWSERS:
            cure = "pip install 'd2road[video]', or `ffmpeg -i FILE -c:v libx264 OUT.mp4`, makes one that they do"
            logger.warning("the video is %s, which most browsers do not play: %s", CODECS[code], cure)
        self._writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*code), fps, size_wh)
        if not self._writer.isOpened():
            raise OutputError(0, f"this OpenCV opens no mp4 video of {size_wh[0]}x{size_wh[1]}")

    def write_next(self, image_bgr: np.ndarray) -> None:
        self._writer.write(image_bgr)

    def finish(self, target: Path) -> None:
        self._writer.release()
        copy = cv2.VideoCapture(str(self.path))
        written = int(copy.get(cv2.CAP_PROP_FRAME_COUNT))
        copy.release()
        if written < self.count:  # OpenCV says nothing of a full disk
            raise OutputError(0, f"{max(written, 0)} of {self.count} frames arrived; is the disk full?")
        os.replace(self.path, target)

    def abort(self) -> None:
        self._writer.release()
