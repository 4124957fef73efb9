"""Streams and devices as sources of frames: the newest frame wins, and a lost connection is made again.

A thread decodes what comes and keeps one frame, the newest; a slow reader finds that one and the others are dropped and
counted. Memory therefore does not grow, however long it runs and however slow the reader is.
"""

import logging
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

from d2road.utils.errors import DataError
from d2road.video.decoders import Decoder, StreamLostError
from d2road.video.frame import Frame, FrameSource
from d2road.video.presentation_clock import PresentationClock

logger = logging.getLogger(__name__)

FIRST_WAIT_S, LONGEST_WAIT_S = 0.5, 30.0  # between attempts to connect anew; each wait is twice the one before
POLL_S = 0.1  # how soon a wish to stop is noticed
CLOSE_S = 2.0  # that the thread gets to end


class LiveSource(FrameSource):
    """Frames of a stream or a device.

    Args:
        name: what it was called by.
        connect: opens it.
        patience_s: after which a stream that gives nothing is given up.
        stop: asked often whether to end.
    Raises:
        StreamLostError: it cannot be opened; only later losses are waited out.

    Attributes:
        dropped: frames that came and were replaced by newer ones.
        reconnections: how often it was connected anew.
    """

    is_live = True

    def __init__(
        self,
        name: str,
        connect: Callable[[], Decoder],
        patience_s: float = 600.0,
        stop: Callable[[], bool] = lambda: False,
    ):
        self.name, self.patience_s = name, patience_s
        self.dropped = self.reconnections = self.damaged = 0
        self._connect, self._stop = connect, stop
        self._decoder = connect()
        self.fps = self._decoder.fps
        self.clock = PresentationClock(1 / self.fps)
        self._changed = threading.Condition()
        self._newest: Frame | None = None
        self._count = 0
        self._ended = ""  # why
        self._error: Exception | None = None  # that no new connection can mend
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._read, name=f"frames of {name}", daemon=True)
        self._thread.start()

    def __iter__(self) -> Iterator[Frame]:
        while not self._stop():
            with self._changed:
                if self._newest is None and not self._ended:
                    self._changed.wait(POLL_S)
                frame, self._newest = self._newest, None
                if frame is None and self._ended:
                    break
            if frame is not None:
                yield frame
        if self._error is not None:
            raise self._error

    def close(self) -> None:
        self._closing.set()
        self._thread.join(CLOSE_S)  # one that hangs in a read ends with its timeout

    def problems(self) -> list[str]:
        return [self._ended] if self._ended else []

    def statistics(self) -> dict[str, Any]:
        return {
            "frames_received": self._count,
            "frames_dropped": self.dropped,
            "reconnections": self.reconnections,
            "damaged_frames": self.damaged + self._decoder.damaged,
            "clock": "sender" if self._decoder.is_timed else "arrival",
            "clock_leaps": self.clock.leaps,
        }

    def _read(self) -> None:
        try:
            while not self._closing.is_set():
                try:
                    self._take_frames()
                    reason = "it ended"
                except StreamLostError as error:
                    reason = str(error)
                finally:
                    self.damaged += self._decoder.damaged
                    self._decoder.damaged = 0
                    self._decoder.close()
                if self._closing.is_set() or not self._reconnect(reason):
                    return
        except Exception as error:  # the reader raises it where somebody sees it
            self._error = error
            self._end(str(error) or type(error).__name__)

    def _take_frames(self) -> None:
        for stamp, image in self._decoder:
            if self._closing.is_set():
                return
            arrival = time.monotonic()
            t = self.clock(stamp if self._decoder.is_timed else None, arrival)
            with self._changed:
                self.dropped += self._newest is not None
                self._newest = Frame(self._count, t, image)
                self._count += 1
                self._changed.notify()

    def _reconnect(self, reason: str) -> bool:
        """Connect anew, with longer and longer waits; False where patience or the run ends first."""
        logger.warning("%s: lost after %d frames (%s); connecting anew", self.name, self._count, reason)
        lost, wait = time.monotonic(), FIRST_WAIT_S
        while not self._closing.wait(min(wait, max(0.0, lost + self.patience_s - time.monotonic()))):
            if time.monotonic() - lost >= self.patience_s:
                self._end(f"gave no frames for {self.patience_s:g} s ({reason})")
                return False
            try:
                self._decoder = self._connect()
            except DataError as error:
                reason, wait = str(error), min(2 * wait, LONGEST_WAIT_S)
                continue
            self.reconnections += 1
            self.clock.restart()
            logger.info("%s: connected again after %.1f s", self.name, time.monotonic() - lost)
            return True
        return False

    def _end(self, reason: str) -> None:
        with self._changed:
            self._ended = reason
            self._changed.notify()
