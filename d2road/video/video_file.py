"""A video file, or an animated image, as a source of frames."""

from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from d2road.utils.errors import DataError
from d2road.utils.input_files import open_input
from d2road.video.animation import AnimationDecoder, is_animation
from d2road.video.decoders import AvDecoder, Decoder, OpenCvDecoder, StreamLostError, has_av
from d2road.video.frame import Frame, FrameSource
from d2road.video.presentation_clock import PresentationClock

COMPLETE_SHARE = 0.95  # of the frames that a file claims: containers count roughly
SEEK_BACK_S = 2.0  # about a group of pictures


class VideoFile(FrameSource):
    """A video file. Close it, or use it as a context.

    Raises:
        FileNotFoundError, DataError: no such file, no regular file, no video, or frames that are too large.
    """

    def __init__(self, path: Path):
        with open_input(path, "video"):  # a decoder would wait for a named pipe
            pass
        self.path, self.name = path, str(path)
        self.decoder = _decoder(path)
        self.fps, self.claimed = self.decoder.fps, self.decoder.claimed
        self.clock = PresentationClock(1 / self.fps)
        self.frames = 0
        self.is_over = False
        self.last_t = self.longest_step_s = 0.0
        self._origin: float | None = None  # time stamp of the first frame
        self._is_known = False
        self._at: float | None = None  # of the last frame of `frames_from`

    def __iter__(self) -> Iterator[Frame]:
        for stamp, image in self.decoder:
            t = self.clock(stamp)
            self.longest_step_s = max(self.longest_step_s, t - self.last_t)
            self.last_t = t
            self.frames += 1
            yield Frame(self.frames - 1, t, image)
        self.is_over = True

    def frames_from(self, t: float) -> Iterator[tuple[float, np.ndarray]]:
        """Time (s since the first frame) and image of the frames from one at or before a time on, by a seek.

        A seek leads to a key frame, in transport streams to one behind the time at times: then it begins further ahead.
        A decoder that cannot seek goes on from where it is, as all do for the begin: ask for times that rise.
        """
        if not self._is_known:
            self._origin, self._is_known = self._first_stamp(), True
        back = 0.0
        while True:
            seeks = t > 0 and self._origin is not None and self.decoder.seek(self._origin + t - back)
            frames = self._timed()
            first = next(frames, None)
            if not seeks or t - back <= 0 or (first is not None and first[0] <= t):
                break
            back = max(2 * back, SEEK_BACK_S)
        yield from frames if first is None else chain([first], frames)

    def _timed(self) -> Iterator[tuple[float, np.ndarray]]:
        for stamp, image in self.decoder:
            if stamp is not None and self._origin is not None:
                self._at = stamp - self._origin
            else:
                self._at = 0.0 if self._at is None else self._at + 1 / self.fps
            yield self._at, image

    def _first_stamp(self) -> float | None:
        """Of the first frame that can be decoded: a recording that begins between two key frames begins seconds later
        than its container says."""
        with VideoFile(self.path) as same:
            return next(iter(same.decoder), (None, None))[0]

    def close(self) -> None:
        self.decoder.close()

    def problems(self) -> list[str]:
        """No frame at all or far fewer than it claims, once its end was reached, and damaged ones."""
        if not self.frames and self.is_over:
            return ["cannot be read as a video: no frame can be decoded"]
        found = [f"{self._told()}: is it cut off?"] if self.is_over and self._is_cut_off() else []
        if self.decoder.damaged:
            found.append(f"{self.decoder.damaged} frames are damaged")
        return found

    def raise_if_cut_off(self) -> None:
        """Raise DataError where no frame or far fewer frames were read than the file claims."""
        cut_off = [text for text in self.problems() if "damaged" not in text]
        if cut_off:
            raise DataError(cut_off[0])

    def _is_cut_off(self) -> bool:
        """By the count of frames, or by time where there is none but what a decoder makes up from rate and length."""
        if self.decoder.is_exact:
            return self.frames < self.claimed
        if self.claimed and self.frames >= COMPLETE_SHARE * self.claimed - 1:
            return False
        if self.decoder.is_counted:
            return True
        # The last frame lasts, too, and of uneven ones nobody knows how long.
        return self.last_t + 2 * self.longest_step_s < COMPLETE_SHARE * self.decoder.duration_s

    def _told(self) -> str:
        if self.claimed:
            return f"only {self.frames} of {self.claimed} frames can be decoded"
        return f"ends after {self.last_t:.1f} s, though it claims {self.decoder.duration_s:.1f} s"

    def statistics(self) -> dict[str, Any]:
        return {"frames_with_estimated_time": self.clock.estimated, "damaged_frames": self.decoder.damaged}


def _decoder(path: Path) -> Decoder:
    if is_animation(path):
        return AnimationDecoder(path)
    if not has_av():
        return OpenCvDecoder(str(path))
    try:
        return AvDecoder(f"file:{path.absolute()}")  # a name with a colon in it is no protocol
    except StreamLostError as error:
        raise DataError(f"{error}; is it cut off, or no video?") from error
