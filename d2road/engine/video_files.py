"""Videos frame by frame, read and written by OpenCV, without holding them in memory."""

import os
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np

from d2road.utils.errors import DataError, OutputError
from d2road.utils.image_io import LARGEST_IMAGE
from d2road.utils.input_files import open_input
from d2road.utils.output_files import output_target

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


class VideoWriter:
    """An mp4 video that takes its name only once it is complete; a context.

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
            self.writer = cv2.VideoWriter(str(self.temporary), cv2.VideoWriter.fourcc(*"mp4v"), self.fps, size)
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
