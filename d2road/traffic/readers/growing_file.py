"""The bytes of a file that is still written: what is new, once, and where to go on another time."""

import hashlib
import logging
import math
import os
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from d2road.utils.errors import DataError
from d2road.utils.input_files import GZIP_MARK, open_input

logger = logging.getLogger(__name__)

BLOCK_BYTES = 1 << 20
# Bytes at the beginning of a file, and before the place that was read to, by which it is known again.
HEAD_BYTES, TAIL_BYTES = 4096, 256
# Seconds (s) without a new byte that are told; then again whenever the silence has doubled, at most so long.
SILENCE_S, LONGEST_SILENCE_S = 10.0, 600.0


class StoppedError(Exception):
    """Somebody asked to stop; what is not finished is left for another time."""


@dataclass(frozen=True)
class FileMark:
    """What a file is known by another time: how much of it was read, and hashes of the beginning and the end of that.

    read: bytes. head, tail: SHA-256 of the first HEAD_BYTES and the last TAIL_BYTES of them, in hexadecimal digits.
    """

    read: int
    head: str
    tail: str

    @classmethod
    def of(cls, read: int, head: bytes, tail: bytes) -> "FileMark":
        """The mark of a file of which `read` bytes were read."""
        return cls(read, _hash(head), _hash(tail))


class GrowingFile:
    """The bytes of a growing file, each once.

    Whether the file is still the same one is asked at every look: the same inode, the same first bytes, and before the
    place of reading the bytes that were read there. So a file that was rotated away, or truncated and written anew, is
    found also where it is at once larger than what was read of the old one.

    Args:
        path: of the file.
        follow: at its end wait for more; else it ends there.
        offset: byte to begin at; the beginning of a timestep or row, as `mark_before` told.
        stopped: asked between reads and while waiting.
        poll_s: seconds before a file that has not grown is read again.
        known: the mark that an earlier run left, see `mark_of_read`.
    Raises:
        FileNotFoundError: no such file.
        DataError: it is packed, no regular file, smaller than `offset`, or not the one that `known` is of.
    """

    def __init__(
        self,
        path: str | Path,
        follow: bool = False,
        offset: int = 0,
        stopped: Callable[[], bool] = lambda: False,
        poll_s: float = 0.5,
        known: FileMark | None = None,
    ):
        self.path = Path(path)
        if not self.path.exists():
            raise FileNotFoundError(f"{self.path} does not exist: expected a file of trajectories that grows")
        self.follow, self.offset, self.stopped, self.poll_s = follow, offset, stopped, poll_s
        self.first = offset
        # Why what was read so far is not of the file that has the name now; "" while it is.
        self.replaced = ""
        # Places where reading could begin: (time in s, byte).
        self.marks: deque[tuple[float, int]] = deque()
        # Time of the last row that was taken (s), for messages.
        self.seen_t = math.nan
        self._head = self._tail = b""
        self._silence = _Silence(self)
        with open_input(self.path, "trajectories") as file:
            self._begin(file.fileno(), known)

    def blocks(self) -> Iterator[bytes]:
        """New bytes, at most BLOCK_BYTES at once; `offset` is behind what was handed out.

        They end at the end of the file, with `follow` only where another file has taken its place: see `replaced`.

        Raises:
            StoppedError: `stopped` says so.
            DataError: without `follow`, the file was changed while it was read.
        """
        with open_input(self.path, "trajectories") as file:
            descriptor = file.fileno()
            while True:
                if self.stopped():
                    raise StoppedError
                data = os.pread(descriptor, BLOCK_BYTES, self.offset)
                # After the read: what was read is of the file that is known, or is thrown away.
                self.replaced = self._changed(descriptor) or ("" if data else self._moved(descriptor))
                if self.replaced:
                    break
                if data:
                    self._silence.ends()
                    self._remember(data)
                    yield data
                elif self.follow:
                    self._silence.goes_on()
                    time.sleep(self.poll_s)
                else:
                    return
        if not self.follow:
            raise DataError(f"{self.path} was changed while it was read: {self.replaced}. Read it once it is complete")

    def reopen(self) -> None:
        """Begin anew with the file that has taken the place of the one read so far."""
        self.offset, self._head, self._tail = 0, b"", b""
        self.begin_at(0)

    def begin_at(self, offset: int) -> None:
        """From now on nothing before this byte is read again, by nobody; see `mark_before`."""
        self.first = offset
        self.marks.clear()

    def mark(self, t: float, offset: int) -> None:
        """Remember that reading can begin at a byte, where the time is t (s)."""
        if math.isfinite(t):
            self.marks.append((float(t), offset))

    def mark_before(self, t: float) -> int:
        """The last byte to begin at so that nothing from time t (s) on is missed; earlier marks are forgotten."""
        # A mark's own instant may have begun before it.
        while len(self.marks) > 1 and self.marks[1][0] < t:
            self.marks.popleft()
        return self.marks[0][1] if self.marks and self.marks[0][0] < t else self.first

    def mark_of_read(self) -> FileMark:
        """By what a later run knows the file again."""
        return FileMark.of(self.offset, self._head, self._tail)

    def head(self) -> bytes:
        """The first bytes of the file, of which the declaration of an XML file is one."""
        return self._head

    def _begin(self, descriptor: int, known: FileMark | None) -> None:
        """Look at a file of which an earlier run has read something."""
        size = os.fstat(descriptor).st_size
        read = max(self.offset, known.read if known else 0)
        if size < read:
            raise DataError(
                f"{self.path} has {size} bytes, but {read} were read of it: another file has taken its place. "
                "Begin anew, without the saved state"
            )
        head, tail = _ends(descriptor, read)
        if known is not None and FileMark.of(read, head, tail) != known:
            raise DataError(
                f"{self.path} is not the file that the saved state is of: its first {read} bytes are others. It was "
                "written anew or replaced; begin anew, without the saved state"
            )
        self._head, self._tail = _ends(descriptor, self.offset)
        if os.pread(descriptor, len(GZIP_MARK), 0) == GZIP_MARK or self.path.suffix == ".gz":
            raise DataError(f"{self.path} is packed: a file that grows is read unpacked")

    def _remember(self, data: bytes) -> None:
        if not self.offset and data.startswith(b"\0"):
            raise DataError(
                f"{self.path} begins with zero bytes: it was truncated while its writer kept its place in it, so the "
                "beginning is lost. Rotate by renaming the file and starting the writer anew"
            )
        self.offset += len(data)
        self._head += data[: max(0, HEAD_BYTES - len(self._head))]
        self._tail = (self._tail + data[-TAIL_BYTES:])[-TAIL_BYTES:]

    def _changed(self, descriptor: int) -> str:
        """Why the content is not that which was read."""
        size = os.fstat(descriptor).st_size
        if size < self.offset:
            return f"it has {size} bytes, but {self.offset} were read"
        head, tail = self._head, self._tail
        if os.pread(descriptor, len(head), 0) != head:
            return "its first bytes are others"
        if os.pread(descriptor, len(tail), self.offset - len(tail)) != tail:
            return f"the bytes before {self.offset}, where it was read to, are others"
        return ""

    def _moved(self, descriptor: int) -> str:
        """Why the name belongs to another file by now; a name that is gone is waited for."""
        try:
            now, here = os.stat(self.path), os.fstat(descriptor)
        except FileNotFoundError:
            self._silence.without_name()
            return ""
        return "" if (now.st_dev, now.st_ino) == (here.st_dev, here.st_ino) else "the name belongs to a new file"


class _Silence:
    """Tells how long a file has not grown."""

    def __init__(self, file: GrowingFile):
        self.file = file
        self.gone = False
        self.since, self.clock, self.next = 0.0, datetime.now(), SILENCE_S
        self.silent = False

    def goes_on(self) -> None:
        """There was nothing new."""
        now = time.monotonic()
        if not self.silent:
            self.silent, self.since, self.clock, self.next = True, now, datetime.now(), SILENCE_S
        if now - self.since >= self.next:
            self.next = now - self.since + min(self.next, LONGEST_SILENCE_S)
            logger.warning("%s: nothing new for %.0f s, %s", self.file.path, now - self.since, self._place())

    def ends(self) -> None:
        """There was something new."""
        if self.silent and self.next > SILENCE_S:
            waited = time.monotonic() - self.since
            logger.warning("%s: new bytes after %.0f s of silence", self.file.path, waited)
        self.silent = self.gone = False

    def without_name(self) -> None:
        """The file has no name any more."""
        if not self.gone:
            logger.warning("%s is gone: waiting for a new file of this name, %s", self.file.path, self._place())
        self.gone = True

    def _place(self) -> str:
        seen = f"t = {self.file.seen_t:g} s" if math.isfinite(self.file.seen_t) else "no row yet"
        return f"since {self.clock:%Y-%m-%d %H:%M:%S} ({seen}, {self.file.offset} bytes)"


def mark_of(value: dict[str, Any]) -> FileMark:
    """A mark from the values that `vars` gives of one."""
    return FileMark(**value)


def _ends(descriptor: int, read: int) -> tuple[bytes, bytes]:
    """The first and the last of so many bytes."""
    start = max(0, read - TAIL_BYTES)
    return os.pread(descriptor, min(read, HEAD_BYTES), 0), os.pread(descriptor, read - start, start)


def _hash(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
