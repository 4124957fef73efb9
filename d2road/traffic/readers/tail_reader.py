"""Tail reader: trajectories of a file that is still written, with the checks and corrections of a complete one."""

import codecs
import csv
import io
import logging
import re
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from d2road.traffic.readers.blocks import Wanted, csv_blocks
from d2road.traffic.readers.fcd import Fcd
from d2road.traffic.readers.fcd_tables import FcdTable
from d2road.traffic.readers.fcd_xml import FcdParser
from d2road.traffic.readers.growing_file import GrowingFile
from d2road.traffic.readers.plain import PlainCsv
from d2road.traffic.readers.source import Part, Source
from d2road.traffic.readers.stream_clock import StreamClock
from d2road.traffic.readers.table_text import PARQUET
from d2road.utils.errors import ConfigError, DataError
from d2road.utils.input_files import GZIP_MARK, decode_text, encoding_of, open_input

logger = logging.getLogger(__name__)

DECLARATION = re.compile(rb"\s*<\?xml\s[^>]*\?>")
TIMESTEP = re.compile(rb'<timestep\s[^>]*?time="([^"]+)"')


def can_grow(path: Path) -> bool:
    """Whether a file can be read while it is written: text that is not packed, or nothing yet.

    Raises:
        OSError, DataError: as `open_input`.
    """
    with open_input(path, "trajectories") as file:
        return not file.read(len(PARQUET)).startswith((GZIP_MARK, PARQUET))


class TailReader(Source):
    """Reads what a growing file gets, each byte once; rows must come in order of time.

    Args:
        source: a reader of FCD, or of plain CSV with one recording: says what the file's columns mean.
        file: its file. Where another one takes its place while it is followed, or the writer's clock is set back
            (see `StreamClock`), another recording begins: NAME.2, NAME.3, ...
        number: of the recording that the file's offset is in.
        behind: whether that offset is still in the recording before, whose rows end where the clock was set back.
    Raises:
        ConfigError: another reader.
    """

    def __init__(self, source: Source, file: GrowingFile, number: int = 1, behind: bool = False):
        if not isinstance(source, (Fcd, PlainCsv)):
            raise ConfigError(f"{source.path}: only files of FCD and CSV can be followed while they grow")
        super().__init__(
            source.path,
            recording=source.recording,
            start=source.start,
            end=source.end,
            limit=source.limit,
            smooth=source.smooth,
            memory_rows=source.memory_rows,
        )
        self.source, self.file, self.number, self.behind = source, file, number, behind
        self.resumed = file.offset > 0 or file.follow  # then it is no error that no row is on the road
        self.clock = StreamClock(self.path.name, self.problems, file.follow)
        # Where the last blocks began: a timestep that is complete with one began in it or the one before, so that
        # there is one more before it.
        self._places: deque[int] = deque(maxlen=3)
        self._goes_on = True

    def parts(self) -> Iterator[Part]:
        """The file, or each file that took its place; nothing looks ahead in what is not there yet."""
        # One report for both: the source counts the rows that it leaves out.
        self.source.problems = self.problems
        name = self.recording or self.path.name.split(".")[0]
        pieces, self._goes_on = self._pieces(), True
        while self._goes_on:
            self._goes_on = False
            recording = name if self.number == 1 else f"{name}.{self.number}"
            yield Part(self.path, recording, lambda: self._recording(pieces), ordered=True)

    def _recording(self, pieces: Iterator[pd.DataFrame | None]) -> Iterator[pd.DataFrame]:
        """The pieces up to where another recording begins."""
        for piece in pieces:
            if piece is None:
                self.number, self._goes_on = self.number + 1, True
                return
            yield piece

    def _pieces(self) -> Iterator[pd.DataFrame | None]:
        """The rows in the order of the file, with None where another recording begins."""
        while True:
            skipped = self.behind
            clock = self.clock = StreamClock(self.path.name, self.problems, self.file.follow or skipped)
            self._places.clear()
            for block in self._blocks():
                self.by_segment = self.source.by_segment
                clock.place = self._places[0] if self._places else self.file.first
                for piece in clock.take(block):
                    if piece is None:
                        self.file.begin_at(clock.held_place)
                        self.behind, clock.restarts = True, self.file.follow
                    if not skipped:
                        yield piece
                    skipped = skipped and piece is not None
                    self.file.seen_t = clock.latest
            clock.end()
            if not self.file.replaced:
                return
            logger.warning(
                "%s: another file has taken its place after t = %g s (%s): it is read from its beginning, as another "
                "recording", self.path, clock.latest, self.file.replaced,
            )  # fmt: skip
            self.file.reopen()
            self.behind = False
            yield None

    def _mark(self, t: float, offset: int) -> None:
        """Reading could begin at a byte, where the time is t (s)."""
        self._places.append(offset)
        if self.clock.regular(t):
            self.file.mark(t, offset)

    def place_before(self, t: float | None) -> tuple[int, bool]:
        """Where another run has to begin so that it misses nothing from time t (s) on, None: of the whole recording.

        Returns:
            byte, and whether it is still in the recording before.
        """
        offset = self.file.first if t is None else self.file.mark_before(t)
        return offset, self.behind and offset == self.file.first

    def _blocks(self) -> Iterator[pd.DataFrame]:
        if isinstance(self.source, PlainCsv):
            return self._plain_csv(self.source)
        return self._fcd_csv(self.source) if self._holds_csv() else self._fcd_xml(self.source)

    def _holds_csv(self) -> bool:
        """By the first bytes; by the name where there are none yet."""
        with open_input(self.path, "trajectories") as file:
            start = file.read(64).removeprefix(codecs.BOM_UTF8).lstrip()
        return not start.startswith(b"<") if start else ".csv" in self.path.suffixes

    def _fcd_xml(self, source: Fcd) -> Iterator[pd.DataFrame]:
        parser = FcdParser(source.attributes, str(self.path))
        if self.file.offset:
            declaration = DECLARATION.match(self.file.head())  # says the encoding
            parser.feed((declaration[0] if declaration else b"") + b"<fcd-export>")
        for data in self.file.blocks():
            # Marks at the first timestep that begins in a block: one a megabyte is enough.
            found = TIMESTEP.search(data)
            if found:
                try:
                    self._mark(float(found[1]), self.file.offset - len(data) + found.start())
                except ValueError as error:
                    raise DataError(f"{self.path}: a timestep's time is {found[1]!r}, expected seconds") from error
            parser.feed(data)
            if len(parser):
                yield source.to_table(parser.take(self.problems))
        if len(parser):
            yield source.to_table(parser.take(self.problems))

    def _fcd_csv(self, source: Fcd) -> Iterator[pd.DataFrame]:
        table: FcdTable | None = None
        for lines in self._lines(""):
            # Its columns are known only now: the file may have been empty at first.
            table = table or source.table_file(header=(lines.header.names, lines.header.separator))
            for block in lines.blocks(table.wanted, self):
                block = table.vehicles(block, self.problems)
                if len(block):
                    self._mark(block["time"].iloc[0], lines.offset)
                    yield source.to_table(block)

    def _plain_csv(self, source: PlainCsv) -> Iterator[pd.DataFrame]:
        recordings: set[str] = set()
        for lines in self._lines(source.separator):
            for block in lines.blocks(source.wanted(), self):
                block = source.to_table(block)
                if "recording" in block:
                    recordings |= {str(name) for name in block["recording"].dropna().unique()}
                    if len(recordings) > 1:
                        raise DataError(
                            f"{self.path} holds the recordings {', '.join(sorted(recordings))}: a file that is "
                            "followed has one"
                        )
                    block = block.drop(columns="recording")
                if len(block):  # none, where all there was is a last line that was cut off
                    self._mark(block["t"].iloc[0], lines.offset)
                    yield block

    def _lines(self, separator: str) -> Iterator["_Lines"]:
        """Complete lines of a CSV file as they come; `separator` "" is guessed from the first one."""
        rest, line, header = b"", 1, None
        if self.file.offset:
            with open_input(self.path, "trajectories") as file:
                header = _header(file.readline(), separator, self.path)
        for data in self.file.blocks():
            data = rest + data
            end = data.rfind(b"\n") + 1
            rest = data[end:]
            start = self.file.offset - len(rest) - end
            if header is None and end:  # the names of the columns
                first = data.find(b"\n") + 1
                header = _header(data[:first], separator, self.path)
                data, start, end = data[first:], start + first, end - first
                line += 1
            if header and end:
                yield _Lines(data[:end], start, line, header, self.path)
                line += data[:end].count(b"\n")
        if self.file.replaced:
            if rest.strip():
                self.problems.add("cut off", self.path.name, [line], "a line without its end, the last of its file")
            return
        if header is None:
            _header(rest, separator, self.path)
        elif rest.strip():  # left out, and counted, as at the end of a complete file
            yield _Lines(rest, self.file.offset - len(rest), line, header, self.path)


@dataclass(frozen=True)
class _Header:
    """The first line of a CSV file: names of its columns, and what separates them."""

    names: Sequence[str]
    separator: str


def _header(line: bytes, separator: str, path: Path) -> _Header:
    """Names in the first line of a CSV file, as `read_header` finds them in a complete one."""
    if encoding_of(line) == "utf-16":
        raise DataError(f"{path} is in UTF-16: a file that grows is read in UTF-8; let its writer write that")
    text = decode_text(line, str(path)).strip("\ufeff\r\n")
    if not text.strip():
        raise DataError(f"{path} has no first line with names of columns")
    separator = separator or max(",;\t", key=text.count)
    names = text.split() if separator == r"\s+" else next(csv.reader([text], delimiter=separator))
    return _Header([name.strip() for name in names], separator)


@dataclass(frozen=True)
class _Lines:
    """Complete lines of a CSV file: their bytes, the first byte's place and line in the file, the file's columns."""

    data: bytes
    offset: int
    line: int
    header: _Header
    path: Path

    def blocks(self, wanted: Wanted, source: Source) -> Iterator[pd.DataFrame]:
        """Columns of the lines, see `csv_blocks`."""
        content, header = io.BytesIO(self.data), self.header
        return csv_blocks(content, wanted, header.separator, header.names, source.problems, str(self.path), self.line)
