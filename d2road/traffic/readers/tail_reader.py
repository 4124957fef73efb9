"""Tail reader: trajectories of a file that is still written, with the checks and corrections of a complete one."""

import io
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import pandas as pd

from d2road.traffic.readers.blocks import csv_blocks, guess_separator, read_header
from d2road.traffic.readers.fcd import CSV_OPTIONAL, CSV_PREFIXES, Fcd
from d2road.traffic.readers.fcd_xml import TEXTS, FcdParser
from d2road.traffic.readers.growing_file import GrowingFile
from d2road.traffic.readers.plain import PlainCsv
from d2road.traffic.readers.source import Part, Source
from d2road.utils.errors import ConfigError, DataError

TIMESTEP = re.compile(rb'<timestep\s[^>]*?time="([^"]+)"')


class TailReader(Source):
    """Reads what a growing file gets, each byte once; rows must come in order of time.

    Args:
        source: a reader of FCD, or of plain CSV with one recording: says what the file's columns mean.
        file: its file.
    Raises:
        ConfigError: another reader.
    """

    def __init__(self, source: Source, file: GrowingFile):
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
        self.source, self.file = source, file

    def parts(self) -> Iterator[Part]:
        """The file; nothing looks ahead in what is not there yet."""
        # One report for both: the source counts the rows that it leaves out.
        self.source.problems = self.problems
        yield Part(self.path, self.recording or self.path.name.split(".")[0], self._blocks, ordered=True)

    def _blocks(self) -> Iterator[pd.DataFrame]:
        if isinstance(self.source, PlainCsv):
            return self._plain_csv(self.source)
        return self._fcd_csv(self.source) if ".csv" in self.path.suffixes else self._fcd_xml(self.source)

    def _fcd_xml(self, source: Fcd) -> Iterator[pd.DataFrame]:
        parser = FcdParser(source.attributes, str(self.path))
        if self.file.offset:
            parser.feed(b"<fcd-export>")
        for data in self.file.blocks():
            # Marks at the first timestep that begins in a block: one a megabyte is enough.
            found = TIMESTEP.search(data)
            if found:
                try:
                    self.file.mark(float(found[1]), self.file.offset - len(data) + found.start())
                except ValueError as error:
                    raise DataError(f"{self.path}: a timestep's time is {found[1]!r}, expected seconds") from error
            parser.feed(data)
            if len(parser):
                yield source.to_table(parser.take())
        if len(parser):
            yield source.to_table(parser.take())

    def _fcd_csv(self, source: Fcd) -> Iterator[pd.DataFrame]:
        numbers = [name for name in ("time", *source.attributes) if name not in TEXTS]
        names = [name for name in source.attributes if name in TEXTS]
        for lines in self._lines(guess_separator(self.path)):
            for block in lines.blocks(numbers, names, CSV_OPTIONAL, CSV_PREFIXES):
                block = block[block["id"].notna().to_numpy()]
                if len(block):
                    self.file.mark(block["time"].iloc[0], lines.offset)
                    yield source.to_table(block)

    def _plain_csv(self, source: PlainCsv) -> Iterator[pd.DataFrame]:
        recordings: set[str] = set()
        for lines in self._lines(source.separator or guess_separator(self.path)):
            for block in lines.blocks(*source.file_columns()):
                block = source.to_table(block)
                if "recording" in block:
                    recordings |= {str(name) for name in block["recording"].dropna().unique()}
                    if len(recordings) > 1:
                        raise DataError(
                            f"{self.path} holds the recordings {', '.join(sorted(recordings))}: a file that is "
                            "followed has one"
                        )
                    block = block.drop(columns="recording")
                self.file.mark(block["t"].iloc[0], lines.offset)
                yield block

    def _lines(self, separator: str) -> Iterator["_Lines"]:
        """Complete lines of a CSV file as they come."""
        header = read_header(self.path, separator)
        with open(self.path, "rb") as file:
            first_line = 0 if self.file.offset else len(file.readline())
        rest, line = b"", 1
        for data in self.file.blocks():
            data = rest + data
            end = data.rfind(b"\n") + 1
            rest = data[end:]
            start = self.file.offset - len(rest) - end
            if first_line and end:  # the names of the columns
                data, start, end, first_line = data[first_line:], start + first_line, end - first_line, 0
                line += 1
            if end:
                yield _Lines(data[:end], start, line, header, separator)
                line += data[:end].count(b"\n")
        if rest.strip() and not first_line:  # a last line without its end is complete where the file no longer grows
            yield _Lines(rest + b"\n", self.file.offset - len(rest), line, header, separator)


@dataclass(frozen=True)
class _Lines:
    """Complete lines of a CSV file: their bytes, the first byte's place and line in the file, the file's columns."""

    data: bytes
    offset: int
    line: int
    header: Sequence[str]
    separator: str

    def blocks(
        self, numbers: Sequence[str], names: Sequence[str], optional: Sequence[str], strip: Sequence[str] = ()
    ) -> Iterator[pd.DataFrame]:
        """Columns of the lines, see `csv_blocks`."""
        content = io.BytesIO(self.data)
        for block in csv_blocks(content, numbers, names, optional, self.separator, self.header, strip):
            yield block.assign(row=block["row"] + self.line - 1)
