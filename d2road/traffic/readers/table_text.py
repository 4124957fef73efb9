"""The text of a table that somebody else wrote, as it is parsed: whole lines with all of their fields.

What is packed, what is no text and what ends in the middle of a line is known here, for all readers of tables.
"""

import codecs
import csv
import gzip
import io
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import numpy as np

from d2road.utils.errors import DataError
from d2road.utils.input_files import GZIP_MARK, encoding_of, errors_of_text, open_input

BYTES_AT_ONCE = 1 << 18
LONGEST_LINE = 1 << 24  # bytes; what has more without an end of a line is no table
BLANKS = r"\s+"  # separator: any white space
# First bytes of files that are no text, and what to do.
PACKED = {
    b"PK\x03\x04": "packed with zip, or an Excel workbook: unpack it, or save it as CSV",
    b"\x28\xb5\x2f\xfd": "packed with zstd: unpack it (zstd -d), or pack it with gzip",
    b"BZh": "packed with bzip2: unpack it (bunzip2), or pack it with gzip",
    b"\xfd7zXZ\x00": "packed with xz: unpack it (xz -d), or pack it with gzip",
    b"7z\xbc\xaf\x27\x1c": "packed with 7-Zip: unpack it",
    b"\xd0\xcf\x11\xe0": "an old Excel workbook: save it as CSV",
    b"\x89HDF": "an HDF5 file: write it as CSV or Parquet",
}
PARQUET = b"PAR1"
# The bytes of a text table, unpacked.
PlainFile = io.BufferedReader | gzip.GzipFile | io.BytesIO


@contextmanager
def open_plain(path: Path) -> Iterator[io.BufferedReader | gzip.GzipFile]:
    """A file's bytes, unpacked if it is one of gzip by its content; files that are packed otherwise are refused.

    Raises:
        OSError, DataError: as `open_input`; packed otherwise, or damaged.
    """
    with ExitStack() as stack:
        stack.enter_context(errors_of_text(path))
        file = stack.enter_context(open_input(path))
        assert isinstance(file, io.BufferedReader)
        plain: io.BufferedReader | gzip.GzipFile = file
        if file.peek(len(GZIP_MARK)).startswith(GZIP_MARK):
            # Not within another buffer, which loses what was unpacked before an end in the middle.
            plain = stack.enter_context(gzip.GzipFile(fileobj=file))
        start = plain.peek(8)
        for mark, what in PACKED.items():
            if start.startswith(mark):
                raise DataError(f"{path} is {what}")
        yield plain


def kind_of(path: Path) -> str:
    """What a file holds by its first bytes, whatever its name: "xml", "parquet", or else "table".

    Raises:
        OSError, DataError: as `open_plain`; the file is empty.
    """
    with open_plain(path) as file:
        start = file.peek(1024)[:1024]
    if not start:
        raise DataError(f"{path} is empty: not yet written, or is it another file?")
    if start.startswith(PARQUET):
        return "parquet"
    text = start.decode(encoding_of(start), errors="ignore")
    return "xml" if text.lstrip().startswith("<") else "table"


class TableText(io.TextIOBase):
    """Lines of a text table for a parser, each with all of its fields.

    Rows with too few or too many fields are given as blank lines, a last line without its end not at all. Rows are
    counted from 1, the line of names too, if it has one.

    Args:
        file: its bytes, unpacked.
        name: of the file, for messages.
        separator: between fields, or BLANKS.
    Attributes:
        columns: fields of a row; 0 checks none.
        left_out: numbers of the rows that were given as blank lines.
        ragged: those of them with the wrong number of fields: (row, fields).
        cut_off: what is wrong with the end of the file, "" if nothing.
        row: lines so far. last: the last one that is not blank. done: whether it is the last line of all.
    Raises:
        DataError: a zero byte, or a line that has no end.
    """

    def __init__(self, file: PlainFile, name: str, separator: str):
        self.name, self.separator = name, separator
        self.columns = self.row = self.last = 0
        self.left_out: list[int] = []
        self.ragged: list[tuple[int, int]] = []
        self.cut_off = ""
        self._file = file
        head = file.getvalue() if isinstance(file, io.BytesIO) else file.peek(4)
        self._decoder = codecs.getincrementaldecoder(encoding_of(head[:4]))()
        self._rest = ""
        self.done = False

    def first_line(self) -> str:
        """The line of names, without its end; the lines that follow are those to be read."""
        while True:
            ends = [i for i in (self._rest.find("\n"), self._rest.find("\r")) if i >= 0]
            # A carriage return at the end may be the half of an end of a line.
            if (ends and min(ends) < len(self._rest) - 1) or not self._more():
                break
        line = self._rest[: min(ends)] if ends else self._rest
        self._refuse_zero(line)
        pair = self._rest[len(line) : len(line) + 2] == "\r\n"
        self._rest = self._rest[len(line) + 1 + pair :]
        self.row = self.last = self.row + 1
        return line

    def readable(self) -> bool:
        """True."""
        return True

    def read(self, size: int | None = -1) -> str:
        """Some lines more, whatever their size; "" at the end."""
        while True:
            end = self._end_of_lines()
            if end:
                text, self._rest = self._rest[:end], self._rest[end:]
                return self._checked(text)
            if self.done:
                return ""
            if not self._more():
                self.done = True
                if self._rest.endswith("\r"):
                    self._rest += "\n"
                else:
                    self._close_file()

    def _more(self) -> bool:
        try:
            data = self._file.read1(BYTES_AT_ONCE)
        except EOFError:
            data, self.cut_off = b"", "the packed data ends in the middle"
        if len(self._rest) > LONGEST_LINE:
            raise DataError(
                f"{self.name} has a line of more than {LONGEST_LINE >> 20} MiB after row {self.row}: expected a text "
                "table (a quotation mark without its other one makes such lines, too)"
            )
        decoded = self._decoder.decode(data, not data)
        self._rest += decoded
        if "\0" in decoded:  # at once, where a file of zeros has no end of a line for terabytes
            self._refuse_zero(self._rest)
        return bool(data)

    def _end_of_lines(self) -> int:
        """Characters at hand that are whole lines, and whole quotations."""
        end = self._line_end(len(self._rest) - 1)
        if '"' in self._rest and self.separator != BLANKS:
            quotes = self._rest.count('"', 0, end)
            while quotes % 2:  # within a quotation, which begins behind an earlier end
                before = self._line_end(self._rest.rfind('"', 0, end))
                quotes -= self._rest.count('"', before, end)
                end = before
        return end

    def _line_end(self, before: int) -> int:
        """The first character behind the last end of a line; a carriage return from `before` on may be half of one."""
        before = max(before, 0)
        return max(self._rest.rfind("\n", 0, before + 1), self._rest.rfind("\r", 0, before)) + 1

    def _close_file(self) -> None:
        if self._rest.strip(" \t\x1a") and not self.cut_off:
            self.cut_off = "the last line has no end; a whole one ends with a line break"
        if self.cut_off:
            self.row = self.last = self.row + 1
        self._rest = ""

    def _checked(self, text: str) -> str:
        self._refuse_zero(text)
        if "\r" in text:
            text = text.replace("\r\n", "\n").replace("\r", "\n")
        if not self.columns:
            return text
        after, blank = text.count("\n", len(text.rstrip())), text.isspace()
        if '"' in text and self.separator != BLANKS:
            return self._checked_records(text)
        count = _fields_of_lines(text, self.separator)
        odd = np.flatnonzero(count != self.columns)
        if len(odd):
            lines = text.split("\n")
            for i in odd:
                line = lines[i]
                if not (count[i] == self.columns + 1 and line.endswith(self.separator)):
                    lines[i] = ""
                    self._leave_out(self.row + int(i) + 1, int(count[i]) if line.strip() else 0)
            text = "\n".join(lines)
        self._passed(len(count), 0 if blank else after)
        return text

    def _checked_records(self, text: str) -> str:
        """As `_checked`, of lines with quotations, which may hold separators and ends of lines."""
        lines = text.split("\n")[:-1]
        reader = csv.reader(iter([f"{line}\n" for line in lines]), delimiter=self.separator)
        kept, start = [], 0
        for fields in records(reader, self.name):
            record = "\n".join(lines[start : reader.line_num])
            start = reader.line_num
            self._passed(1, bool(record.strip()))
            extra = len(fields) == self.columns + 1 and not fields[-1]
            if len(fields) != self.columns and not extra:
                record = ""
                self._leave_out(self.row, len(fields))
            kept.append(record)
        return "\n".join([*kept, ""])

    def _passed(self, lines: int, last: int) -> None:
        """Count lines; `last`: how many from the last one that is not blank, 0 where all are blank."""
        self.row += lines
        if last:
            self.last = self.row - last + 1

    def _leave_out(self, row: int, fields: int) -> None:
        self.left_out.append(row)
        if fields:  # blank lines are no rows
            self.ragged.append((row, fields))

    def _refuse_zero(self, text: str) -> None:
        if "\0" in text:
            row = self.row + 1 + text.count("\n", 0, text.index("\0"))
            raise DataError(
                f"{self.name} holds a zero byte in row {row}: binary, damaged, or UTF-16 without a byte-order mark; "
                "write it as UTF-8"
            )


def _fields_of_lines(text: str, separator: str) -> np.ndarray:
    """How many fields each line has, without quotations; (lines,) int, blank lines 0 or 1."""
    codes = np.frombuffer(text.encode("utf-8", "surrogatepass"), dtype=np.uint8)
    ends = np.flatnonzero(codes == ord("\n"))
    if separator == BLANKS:
        blank = np.isin(codes, np.frombuffer(b" \t\n\v\f", dtype=np.uint8))
        fields = np.flatnonzero(~blank & np.append(True, blank[:-1]))
        return np.diff(np.searchsorted(fields, ends), prepend=0)
    if len(separator) != 1 or ord(separator) > 127:
        return np.array([line.count(separator) + 1 for line in text.split("\n")[:-1]])
    return np.diff(np.searchsorted(np.flatnonzero(codes == ord(separator)), ends), prepend=0) + 1


def records(reader: Iterator[list[str]], source: str) -> Iterator[list[str]]:
    """What a reader of the csv module gives; its errors name the source."""
    try:
        yield from reader
    except csv.Error as error:
        raise DataError(f"{source} cannot be read as a table: {error}") from error


def split_names(line: str, separator: str) -> list[str]:
    """Names in the first line of a table; a separator behind the last one is none."""
    if separator == BLANKS:
        return line.split()
    names = [name.strip() for name in next(records(csv.reader([line], delimiter=separator), "a line of names"), [])]
    while names and not names[-1]:
        names.pop()
    return names
