"""Reading a file of trajectories that is still written: what is new, once, and where to go on another time.

A `Tail` hands out the bytes of a file as they come. `following` puts it under a reader of FCD or of plain CSV, which
then yields its chunks as the traffic goes on, with the checks and corrections of a file that is complete.
"""

import io
import math
import re
import time
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path

import pandas as pd

from d2road.traffic.readers.blocks import csv_blocks, guess_separator, read_header
from d2road.traffic.readers.fcd import Fcd
from d2road.traffic.readers.fcd_xml import TEXTS, FcdParser
from d2road.traffic.readers.plain import NEEDED, NUMBERS, PlainCsv
from d2road.traffic.readers.source import Part, Source
from d2road.traffic.table import NAMES
from d2road.utils.errors import DataError

BLOCK_BYTES = 1 << 20
TIMESTEP = re.compile(rb'<timestep\s[^>]*?time="([^"]+)"')


class StoppedError(Exception):
    """Somebody asked to stop; what is not finished is left for another time."""


class Tail:
    """The bytes of a growing file, each once.

    Args:
        path: of the file.
        follow: at its end wait for more; else it ends there.
        offset: byte to begin at; the beginning of a timestep or row, as `mark_before` told.
        stopped: asked between reads and while waiting.
        poll_s: seconds between looks at a file that has not grown.
    Raises:
        FileNotFoundError: no such file.
        ValueError: it is packed, or smaller than `offset`.
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
            ValueError: the file got shorter.
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


def following(source: Source, tail: Tail) -> Source:
    """The source, changed so that it reads through a tail; rows must come in order of time.

    Args:
        source: a reader of FCD, or of plain CSV with one recording.
        tail: of its file.
    Raises:
        ValueError: another reader.
    """
    if isinstance(source, Fcd):
        xml = ".csv" not in source.path.suffixes
        blocks = _fcd_xml(source, tail) if xml else _fcd_csv(source, tail)
        name = source.recording or source.path.name.split(".")[0]
    elif isinstance(source, PlainCsv):
        blocks = _plain_csv(source, tail)
        name = source.recording or source.path.name.split(".")[0]
    else:
        raise DataError(f"{source.path}: only files of FCD and CSV can be followed while they grow")
    # Nothing may look ahead in a file that is not there yet.
    source.parts = lambda: iter([Part(source.path, name, lambda: blocks, ordered=True)])
    return source


def _fcd_xml(source: Fcd, tail: Tail) -> Iterator[pd.DataFrame]:
    parser = FcdParser(source.attributes, str(source.path))
    if tail.offset:
        parser.feed(b"<fcd-export>")
    for data in tail.blocks():
        # Marks at the first timestep that begins in a block: one a megabyte is enough.
        found = TIMESTEP.search(data)
        if found:
            try:
                tail.mark(float(found[1]), tail.offset - len(data) + found.start())
            except ValueError as error:
                raise DataError(f"{source.path}: a timestep's time is {found[1]!r}, expected seconds") from error
        parser.feed(data)
        if len(parser):
            yield source.to_table(parser.take())
    if len(parser):
        yield source.to_table(parser.take())


def _fcd_csv(source: Fcd, tail: Tail) -> Iterator[pd.DataFrame]:
    numbers = [name for name in ("time", *source.attributes) if name not in TEXTS]
    names = [name for name in source.attributes if name in TEXTS]
    separator = guess_separator(source.path)
    for rows, start in _lines(source, tail, separator):
        for block in rows(numbers, names, ("acceleration", "type"), ("timestep_", "vehicle_")):
            block = block[block["id"].notna().to_numpy()]
            if len(block):
                tail.mark(block["time"].iloc[0], start)
                yield source.to_table(block)


def _plain_csv(source: PlainCsv, tail: Tail) -> Iterator[pd.DataFrame]:
    numbers, names = ([source.columns[n] for n in group] for group in (NUMBERS, NAMES))
    optional = [column for name, column in source.columns.items() if name not in NEEDED]
    to_table = {column: name for name, column in source.columns.items()}
    recordings: set[str] = set()
    for rows, start in _lines(source, tail, source.separator or guess_separator(source.path)):
        for block in rows(numbers, names, optional, ()):
            block = block.rename(columns=to_table)
            block = block.assign(**{n: block[n] * scale for n, scale in source.scales.items() if n in block})
            if "recording" in block:
                recordings |= {str(name) for name in block["recording"].dropna().unique()}
                if len(recordings) > 1:
                    raise DataError(
                        f"{source.path} holds the recordings {', '.join(sorted(recordings))}: a file that is followed "
                        "has one"
                    )
                block = block.drop(columns="recording")
            tail.mark(block["t"].iloc[0], start)
            yield block if "direction" in block else block.assign(direction=source.direction)


Rows = Callable[..., Iterator[pd.DataFrame]]


def _lines(source: Source, tail: Tail, separator: str) -> Iterator[tuple[Rows, int]]:
    """Complete lines of a CSV file as they come: a function that reads columns of them, and their first byte."""
    header = read_header(source.path, separator)
    with open(source.path, "rb") as file:
        first_line = 0 if tail.offset else len(file.readline())
    rest, line = b"", 1
    for data in tail.blocks():
        data = rest + data
        end = data.rfind(b"\n") + 1
        rest = data[end:]
        start = tail.offset - len(rest) - end
        if first_line and end:  # the names of the columns
            data, start, end, first_line = data[first_line:], start + first_line, end - first_line, 0
            line += 1
        if end:
            yield _reader(source, data[:end], separator, header, line), start
            line += data[:end].count(b"\n")
    if rest.strip() and not first_line:  # a last line without its end is complete where the file no longer grows
        yield _reader(source, rest + b"\n", separator, header, line), tail.offset - len(rest)


def _reader(source: Source, data: bytes, separator: str, header: list[str], line: int) -> Rows:
    def rows(numbers, names, optional, strip) -> Iterator[pd.DataFrame]:
        for block in csv_blocks(io.BytesIO(data), numbers, names, optional, separator, header, strip):
            yield block.assign(row=block["row"] + line - 1)

    return rows
