"""Videos frame by frame, read and written by OpenCV, without holding them in memory."""

import functools
import logging
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np

from d2road.utils.errors import DataError, OutputError
from d2road.utils.image_io import LARGEST_IMAGE
from d2road.utils.input_files import open_input
from d2road.utils.output_files import output_target

logger = logging.getLogger(__name__)

# In mp4, the first that this OpenCV writes: H.264 and VP9 are played by browsers, MPEG-4 part 2 is not by most.
CODECS = {"avc1": "H.264", "vp09": "VP9", "mp4v": "MPEG-4 part 2"}
PLAYED_BY_BROWSERS = ("avc1", "vp09")
COMPLETE_SHARE = 0.95  # of the frames that a file claims: containers count roughly


class VideoReader:
    """A video file. Close it, or use it as a context.

    Attributes:
        claimed: frames that the file claims to have; 0 where it does not say.
        fps: frames a second; 25 where the file tells none that can be.
    Raises:
        FileNotFoundError, DataError: no such file, no regular file, or frames that are too large.
    """

    def __init__(self, path: Path):
        with open_input(path, "video"):  # OpenCV would wait for a named pipe
            pass
        self.path = path
        self.video = cv2.VideoCapture(str(path))
        self.claimed = max(0, int(self.video.get(cv2.CAP_PROP_FRAME_COUNT)))
        fps = self.video.get(cv2.CAP_PROP_FPS)
        self.fps = fps if 0 < fps < 1000 else 25.0
        width, height = (self.video.get(key) for key in (cv2.CAP_PROP_FRAME_WIDTH, cv2.CAP_PROP_FRAME_HEIGHT))
        if width * height > LARGEST_IMAGE:
            self.video.release()
            raise DataError(
                f"frames of {width:.0f}x{height:.0f} are too large: at most {LARGEST_IMAGE} pixels are read"
            )

    def __enter__(self) -> "VideoReader":
        return self

    def __exit__(self, *_: object) -> None:
        self.video.release()

    def __iter__(self) -> Iterator[np.ndarray]:
        """Frames (H, W, 3) uint8, BGR, until the end or a frame that cannot be decoded."""
        while True:
            good, frame = self.video.read()
            if not good:
                return
            yield frame

    def raise_if_cut_off(self, frames: int) -> None:
        """Raise DataError where far fewer frames were read than the file claims."""
        if frames < COMPLETE_SHARE * self.claimed - 1:
            raise DataError(
                f"only {frames} of {self.claimed} frames can be decoded: is it cut off? Those are in the annotated copy"
            )


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


class VideoWriter:
    """An mp4 video that takes its name only once it is complete; a context. Browsers play it where OpenCV can do that.

    Args:
        path: of the video; what a link leads to is replaced.
        fps: frames a second.
    Raises:
        OutputError: this OpenCV writes no mp4 of that size, the file is write-protected, or frames are missing in what
            was written.
    """

    def __init__(self, path: Path, fps: float):
        self.path, self.target, self.fps = path, output_target(path), fps
        # OpenCV picks the format by the suffix.
        self.temporary = self.target.with_name(f".{self.target.stem}.{os.getpid()}{self.target.suffix}")
        self.writer: cv2.VideoWriter | None = None
        self.count = 0

    def __enter__(self) -> "VideoWriter":
        return self

    def write(self, frame: np.ndarray) -> None:
        """Add a frame (H, W, 3) uint8, BGR, of one size for all."""
        # Video codecs take even sizes only.
        frame = cv2.copyMakeBorder(frame, 0, frame.shape[0] % 2, 0, frame.shape[1] % 2, cv2.BORDER_REPLICATE)
        if self.writer is None:
            size = (frame.shape[1], frame.shape[0])
            code = best_codec() or "mp4v"
            self.writer = cv2.VideoWriter(str(self.temporary), cv2.VideoWriter.fourcc(*code), self.fps, size)
            if code not in PLAYED_BY_BROWSERS:
                cure = f"ffmpeg -i {self.path} -c:v libx264 OUT.mp4 makes one that they do"
                logger.warning("%s is %s, which most browsers do not play: %s", self.path, CODECS[code], cure)
            if not self.writer.isOpened():
                raise OutputError(0, f"cannot write {self.path}: this OpenCV opens no mp4 video of {size[0]}x{size[1]}")
        self.writer.write(frame)
        self.count += 1

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            if self.writer is not None:
                self.writer.release()
            if kind is None and self.count:
                self._finish()
        finally:
            self.temporary.unlink(missing_ok=True)

    def _finish(self) -> None:
        copy = cv2.VideoCapture(str(self.temporary))
        written = int(copy.get(cv2.CAP_PROP_FRAME_COUNT))
        copy.release()
        if written < self.count:  # OpenCV says nothing of a full disk
            raise OutputError(
                0, f"cannot write {self.path}: {max(written, 0)} of {self.count} frames arrived; is the disk full?"
            )
        os.replace(self.temporary, self.target)
