"""Decoding of video files, streams and devices by PyAV where it is installed, else by OpenCV.

OpenCV tells the presentation times too, to the millisecond. What it loses beside PyAV: how many frames are damaged,
devices by the name of their format, and times of a stream's sender (those of arrival are taken instead).
"""

import importlib.util
import logging
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Any

import cv2
import numpy as np

from d2road.utils.errors import DataError
from d2road.utils.image_io import LARGEST_IMAGE

logger = logging.getLogger(__name__)

FPS = 25.0  # where a video tells none that can be
NOT_TIMED = ("mpjpeg", "mjpeg", "image2pipe")  # formats for which FFmpeg invents time stamps
ENDS_FROM_ZERO = ("matroska", "webm", "nut")  # formats whose duration is their last time stamp, wherever they begin
COUNTS_DROPPED = ("avi",)  # formats that count frames that a recorder dropped, which hold nothing to decode


class StreamLostError(DataError):
    """A stream or device that cannot be opened, or gives nothing any more."""


def has_av() -> bool:
    """Whether PyAV is installed."""
    return importlib.util.find_spec("av") is not None


class Decoder(ABC):
    """Images of a video with their time stamps.

    Attributes:
        fps: nominal frames a second.
        claimed: frames that a file claims to have; 0 where it does not say.
        is_counted: whether the container counts its frames, so that `claimed` is no estimate.
        is_exact: whether a single frame that does not come means that the file is cut off.
        duration_s: that a file claims to last; 0 where it does not say.
        is_timed: whether stamps tell when a frame was taken.
        damaged: packets and frames that could not be decoded without errors so far.
    """

    fps: float
    claimed: int
    is_counted: bool
    is_exact: bool = False
    duration_s: float
    is_timed: bool
    damaged: int = 0

    def seek(self, stamp_s: float) -> bool:
        """Go on from a key frame near a time stamp of a file, before it where the format tells; whether it could."""
        return False

    @abstractmethod
    def __iter__(self) -> Iterator[tuple[float | None, np.ndarray]]:
        """(time stamp in s or None, (H, W, 3) uint8 BGR), until the end.

        Raises:
            StreamLostError: a stream or device fails.
        """

    @abstractmethod
    def close(self) -> None:
        """Close the file or the connection."""


class AvDecoder(Decoder):
    """Decoder by PyAV.

    Args:
        address: a path, an address or the name of a device.
        format: of FFmpeg, where the address does not tell it, as of a device.
        timeout_s: for a connection and for each frame of it; None for files.
        options: of FFmpeg.
    Raises:
        StreamLostError, DataError: it cannot be opened, has no video, or frames that are too large.
    """

    def __init__(
        self,
        address: str,
        format: str | None = None,
        timeout_s: float | None = None,
        options: Mapping[str, str] | None = None,
    ):
        import av

        self._errors = av.error.FFmpegError
        self._is_live = timeout_s is not None
        try:
            self._container = av.open(address, format=format, timeout=timeout_s, options=dict(options or {}))
        except (self._errors, ValueError) as error:  # ValueError: no such format
            raise StreamLostError(_words(error)) from error
        try:
            if not self._container.streams.video:
                raise DataError("cannot be read as a video: it has no video in it")
            self._stream: Any = self._container.streams.video[0]
            context = self._stream.codec_context
            if context is None:
                raise DataError("cannot be read as a video: no decoder for its codec is there")
            _check_size(context.width, context.height)
        except BaseException:
            self._container.close()
            raise
        if not self._is_live:
            self._stream.thread_type = "AUTO"  # in a stream, frames that are decoded side by side come late
        rate = float(self._stream.average_rate or self._stream.guessed_rate or 0)
        self.fps = rate if 0 < rate < 1000 else FPS
        names = set(self._container.format.name.split(","))
        self.claimed = max(0, int(self._stream.frames))
        counts_dropped = bool(names & set(COUNTS_DROPPED))
        self.is_counted = self.claimed > 0 and not counts_dropped
        begin = self._container.start_time or 0 if names & set(ENDS_FROM_ZERO) else 0
        self.duration_s = max(0.0, ((self._container.duration or 0) - begin) / 1e6)
        if counts_dropped and self.claimed and self._stream.time_base:
            # A place is a tick; of a file that is cut off FFmpeg tells how long the rest lasts.
            self.duration_s = max(self.duration_s, float(self.claimed * self._stream.time_base))
        self.is_timed = not names & set(NOT_TIMED)
        self.damaged = 0

    def seek(self, stamp_s: float) -> bool:
        with suppress(self._errors):
            self._container.seek(round(stamp_s / self._stream.time_base), stream=self._stream)
            return True
        return False

    def __iter__(self) -> Iterator[tuple[float | None, np.ndarray]]:
        packets = self._container.demux(self._stream)
        while True:
            try:
                packet = next(packets, None)
            except EOFError:
                return
            except self._errors as error:
                if self._is_live:
                    raise StreamLostError(_words(error)) from error
                self.damaged += 1
                return
            if packet is None:
                return
            try:
                frames = packet.decode()
            except self._errors:
                self.damaged += 1
                continue
            for frame in frames:
                self.damaged += bool(frame.is_corrupt)
                _check_size(frame.width, frame.height)
                yield frame.time, _upright(frame.to_ndarray(format="bgr24"), int(frame.rotation))

    def close(self) -> None:
        self._container.close()


class OpenCvDecoder(Decoder):
    """Decoder by OpenCV.

    Args:
        address: a path, an address or the number of a device.
        timeout_s: for a connection and for each frame of it; None for files.
    Raises:
        StreamLostError, DataError: it cannot be opened, or frames that are too large.
    """

    def __init__(self, address: str | int, timeout_s: float | None = None):
        self._is_live = timeout_s is not None
        if timeout_s is not None and isinstance(address, str):
            limit = round(1000 * timeout_s)
            limits = [cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, limit, cv2.CAP_PROP_READ_TIMEOUT_MSEC, limit]
            self._video = cv2.VideoCapture(address, cv2.CAP_FFMPEG, limits)
        else:
            self._video = cv2.VideoCapture(address)
        if self._is_live and not self._video.isOpened():
            raise StreamLostError("cannot be opened: OpenCV does not say why")
        fps = self._video.get(cv2.CAP_PROP_FPS)
        self.fps = fps if 0 < fps < 1000 else FPS
        # OpenCV answers with numbers of any sign where there is no count.
        self.claimed = 0 if self._is_live else max(0, int(self._video.get(cv2.CAP_PROP_FRAME_COUNT)))
        self.is_counted = False  # it multiplies where the container has no count, and does not say so
        self.duration_s = self.claimed / self.fps
        self.is_timed = not self._is_live
        try:
            _check_size(self._video.get(cv2.CAP_PROP_FRAME_WIDTH), self._video.get(cv2.CAP_PROP_FRAME_HEIGHT))
        except BaseException:
            self._video.release()
            raise

    def __iter__(self) -> Iterator[tuple[float | None, np.ndarray]]:
        while True:
            good, image = self._video.read()
            if not good:
                if self._is_live:
                    raise StreamLostError("gives no frames any more")
                return
            yield self._video.get(cv2.CAP_PROP_POS_MSEC) / 1000, image

    def close(self) -> None:
        self._video.release()


def _check_size(width: float, height: float) -> None:
    if width * height > LARGEST_IMAGE:
        raise DataError(f"frames of {width:.0f}x{height:.0f} are too large: at most {LARGEST_IMAGE} pixels are read")


def _upright(image: np.ndarray, degrees: int) -> np.ndarray:
    """The image turned as its video says, counter-clockwise."""
    turns = round(degrees / 90) % 4
    return np.ascontiguousarray(np.rot90(image, turns)) if turns else image


def _words(error: Exception) -> str:
    """What FFmpeg says, without the number and the address, which may hold a password."""
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return f"cannot be read as a video: {text}"
