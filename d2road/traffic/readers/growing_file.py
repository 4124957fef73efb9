"""The bytes of a file that is still written: what is new, once, and where to go on another time."""

import math
import time
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path

from d2road.utils.errors import DataError

BLOCK_BYTES = 1 << 20


class StoppedError(Exception):
    """Somebody asked to stop; what is not finished is left for another time."""


class GrowingFile:
    """The bytes of a growing file, each once.

    Args:
        path: of the file.
        follow: at its end wait for more; else it ends there.
        offset: byte to begin at; the beginning of a timestep or row, as `mark_before` told.
        stopped: asked between reads and while waiting.
        poll_s: seconds before a file that has not grown is read again.
    Raises:
        FileNotFoundError: no such file.
        DataError: it is packed, or smaller than `offset`.
    """

    def __init__(
        self,
        path: str | Path,
        follow: bool = False,
        offset: int = 0,
        stopped: Callable[[], bool] = lambda: False,
        poll_s: float = 0.5,
    ):
        self.path = Path(path)
        if not self.path.is_file():
            raise FileNotFoundError(f"{self.path} does not exist: expected a file of trajectories that grows")
        if self.path.suffix == ".gz":
            raise DataError(f"{self.path} is packed: a file that grows is read unpacked")
        self.follow, self.offset, self.stopped, self.poll_s = follow, offset, stopped, poll_s
        self.first = offset
        self._check_size()
        # Places where reading could begin: (time in s, byte).
        self.marks: deque[tuple[float, int]] = deque()

    def blocks(self) -> Iterator[bytes]:
        """New bytes, at most BLOCK_BYTES at once; `offset` is behind what was handed out.

        Raises:
            StoppedError: `stopped` says so.
            DataError: the file got shorter.
        """
        with open(self.path, "rb") as file:
            file.seek(self.offset)
            while True:
                if self.stopped():
                    raise StoppedError
                data = file.read(BLOCK_BYTES)
                if data:
                    self.offset += len(data)
                    yield data
                    continue
                if not self.follow:
                    return
                self._check_size()
                time.sleep(self.poll_s)

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

    def _check_size(self) -> None:
        size = self.path.stat().st_size
        if size < self.offset:
            raise DataError(
                f"{self.path} has {size} bytes, but {self.offset} were read of it: another file has taken its place. "
                "Begin anew, without the saved state"
            )
