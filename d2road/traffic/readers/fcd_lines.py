"""Vehicles of FCD's XML that are written alike, a line each, read as columns of a table.

SUMO writes a line a vehicle, and all lines of a file with the same attributes in the same order: cut at its quotation
marks, such a line is a row of a table, whose even columns never change. A reader of tables takes it several times as
fast as a parser of XML. Lines that are anything else are not read here.
"""

import re
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as compute
import pyarrow.csv

TAG = b"<vehicle "
LINE = re.compile(rb'( *<vehicle)((?: [A-Za-z_][\w.-]*="[^"<&\n]*")+) ?/>\n')
TEXT = pa.dictionary(pa.int32(), pa.string())
NEWLINE, FIRST_PRINTED = 10, 32
# Of a comment too: beyond it no end is waited for.
LONGEST_TAG = 1 << 20
MARKUP = re.compile(rb"<[!?]")
UNCOMMON = re.compile(rb"<!(?!--)")  # a declaration or a section of characters


@dataclass(frozen=True)
class VehicleLine:
    """How the vehicles of a file are written.

    Attributes:
        constants: what stands before, between and after the values of a line, without the quotation marks.
        names: of the attributes whose values stand between them.
    """

    constants: tuple[bytes, ...]
    names: tuple[str, ...]

    @classmethod
    def first_of(cls, text: bytes) -> "VehicleLine | None":
        """That of the first vehicle of whole lines; None if it is no such line, or there is none."""
        at = text.find(TAG)
        match = LINE.match(text, text.rfind(b"\n", 0, at) + 1) if at >= 0 else None
        if match is None:
            return None
        constants = tuple(match[0].rstrip(b"\n").split(b'"')[::2])
        names = tuple(constant.strip().rpartition(b" ")[2].rstrip(b"=").decode() for constant in constants[:-1])
        return cls(constants, names) if len(set(names)) == len(names) else None

    def begins(self, text: np.ndarray, starts: np.ndarray) -> np.ndarray:
        """(L,) bool: which lines of a text (B,) uint8 begin as a vehicle does; starts: (L,) of their first bytes."""
        begin = np.frombuffer(self.constants[0] + b'"', np.uint8)
        fits = starts + len(begin) <= len(text)
        found = text[np.where(fits, starts, 0)[:, None] + np.arange(len(begin))] == begin
        return found.all(1) & fits

    def read(self, lines: bytes, count: int, schema: dict[str, pa.DataType]) -> pa.Table | None:
        """Attributes of so many lines as columns of these types, TEXT or float64; null where they are empty or missing.

        None if any line is written otherwise, holds what XML replaces or forbids, or a number that is none.
        """
        values = {name: f"v{i}" for i, name in enumerate(self.names)}
        constants = [f"c{i}" for i in range(len(self.constants))]
        columns = [name for pair in zip(constants, values.values()) for name in pair] + constants[-1:]
        types = {values[name]: kind for name, kind in schema.items() if name in values}
        types |= dict.fromkeys(constants, pa.string())
        if not _is_plain(lines, count):
            return None
        try:
            table = pa.csv.read_csv(
                pa.BufferReader(lines),
                pa.csv.ReadOptions(use_threads=False, block_size=len(lines) + 1, column_names=columns),
                pa.csv.ParseOptions(delimiter='"', quote_char=False, double_quote=False, ignore_empty_lines=False),
                pa.csv.ConvertOptions(
                    check_utf8=False,
                    column_types=types,
                    include_columns=list(types),
                    null_values=[""],
                    strings_can_be_null=True,
                ),
            )
        except pa.ArrowInvalid:
            return None
        if len(table) != count or not all(
            compute.all(compute.equal(table[name], pa.scalar(constant.decode()))).as_py()
            for name, constant in zip(constants, self.constants)
        ):
            return None
        found = {name: table[values[name]] for name in schema if name in values}
        return pa.table({name: found.get(name, pa.nulls(count, kind)) for name, kind in schema.items()})


def _is_plain(lines: bytes, count: int) -> bool:
    """Whether so many lines are ASCII without entities, tags within values and control characters."""
    characters = np.frombuffer(lines, np.uint8)
    control, tags = (int(np.count_nonzero(found)) for found in (characters < FIRST_PRINTED, characters == ord("<")))
    return lines.isascii() and control == tags == count and b"&" not in lines


class WholeTokens:
    """Cuts XML that comes in pieces behind its tags, so that a parser has never seen a part of one.

    Attributes:
        plain: whether the text given last is tags and what is between them alone: no comment or anything else in which
            a tag is none.
    """

    def __init__(self) -> None:
        self.plain = False
        self._held = b""
        self._cut = True
        self._started = False

    def whole(self, data: bytes) -> bytes:
        """What can be parsed, all of it where it is no use to wait for the end of a tag or a comment."""
        text, self._held = self._held + data, b""
        self.plain = False
        if not self._cut:
            return text
        end = text.rfind(b">") + 1
        end += text[end : end + 1] == b"\n"
        special = MARKUP.search(text, 0, end) is not None
        comment = text.rfind(b"<!--", 0, end) if special else -1
        if comment >= 0 and text.find(b"-->", comment, end) < 0:
            end = comment
        whole, held = text[:end], text[end:]
        last = whole[whole.rfind(b"<") :]
        declared = not self._started and b"<?xml" in whole[:8]
        uncommon = special and (whole.count(b"<?") > declared or UNCOMMON.search(whole) is not None)
        if len(held) > LONGEST_TAG or last.count(b'"') % 2 or b"'" in last or uncommon:
            self._cut = False
            return text
        self._held = held
        self._started = self._started or bool(whole)
        self.plain = not special
        return whole

    def rest(self) -> bytes:
        """What has been waiting."""
        held, self._held = self._held, b""
        return held
