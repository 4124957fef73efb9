"""Videos as outputs: H.264 where an encoder is installed, else a free codec; whole under their name, or not there."""

import logging
import os
from pathlib import Path

import cv2
import numpy as np

from d2road.utils.errors import DataError, OutputError
from d2road.utils.output_files import output_target
from d2road.video.encoder import Encoder
from d2road.video.h264_encoders import AvEncoder, FfmpegEncoder, writes_h264_by_av, writes_h264_by_ffmpeg
from d2road.video.opencv_encoder import OpenCvEncoder

logger = logging.getLogger(__name__)


def best_encoder() -> type[Encoder]:
    """PyAV, else the program ffmpeg, else OpenCV."""
    if writes_h264_by_av():
        return AvEncoder
    return FfmpegEncoder if writes_h264_by_ffmpeg() else OpenCvEncoder


class VideoWriter:
    """An mp4 video that takes its name only once it is complete; a context. Browsers play it where that can be.

    Args:
        path: of the video; what a link leads to is replaced.
        fps: nominal frames a second.
        keep_partial: whether what was written is kept after an error, too. While it grows it is beside its place as
            NAME.part.mp4, which can be played after a kill where PyAV or ffmpeg writes it.
        crf: constant rate factor of H.264, 0 (lossless) to 51 (coarse); other codecs do not know it.
    Raises:
        OutputError: no mp4 of that size can be written, the file is write-protected, or the disk is full.
        DataError: a frame of another size than the first one.
    """

    def __init__(self, path: Path, fps: float, keep_partial: bool = False, crf: int = 23):
        self.path, self.target, self.fps, self.keep_partial = path, output_target(path), fps, keep_partial
        self.crf = crf
        name = f"{self.target.stem}.part" if keep_partial else f".{self.target.stem}.{os.getpid()}"
        self.temporary = self.target.with_name(name + self.target.suffix)
        self.encoder: Encoder | None = None
        self.count = 0
        self._size_wh = (0, 0)
        self._start = 0.0

    def __enter__(self) -> "VideoWriter":
        return self

    def write(self, image_bgr: np.ndarray, t: float | None = None) -> None:
        """Add an image (H, W, 3) uint8, BGR, of one size for all.

        Args:
            t: presentation time, s, of any origin; None for 1 / fps after the one before.
        """
        size_wh = (image_bgr.shape[1], image_bgr.shape[0])
        # Video codecs take even sizes only.
        image = cv2.copyMakeBorder(image_bgr, 0, size_wh[1] % 2, 0, size_wh[0] % 2, cv2.BORDER_REPLICATE)
        t = self.count / self.fps if t is None else t
        try:
            if self.encoder is None:
                self._size_wh, self._start = size_wh, t
                even_wh = (image.shape[1], image.shape[0])
                self.encoder = best_encoder()(self.temporary, self.fps, even_wh, self.crf)
            if size_wh != self._size_wh:
                raise DataError(
                    f"frame {self.count} has {size_wh[0]}x{size_wh[1]} pixels, those before it "
                    f"{self._size_wh[0]}x{self._size_wh[1]}: a video has one size"
                )
            self.encoder.write(image, t - self._start)
        except OSError as error:
            raise self._refused(error) from error
        self.count += 1

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, *_: object) -> None:
        if self.encoder is None:
            return
        if kind is None or (self.keep_partial and not isinstance(error, OutputError)):
            try:
                self.encoder.finish(self.target)
            except OSError as failure:
                self._leave()
                raise self._refused(failure) from failure
        else:
            self.encoder.abort()
            self._leave()

    def _leave(self) -> None:
        if not self.keep_partial:
            self.temporary.unlink(missing_ok=True)

    def _refused(self, error: OSError) -> OutputError:
        kept = f"; what was written is {self.temporary}" if self.keep_partial and self.temporary.exists() else ""
        return OutputError(error.errno or 0, f"cannot write {self.path}: {error.strerror or error}{kept}")
