"""Blocks of rows of CSV and Parquet files, with the line each row comes from."""

import csv
import io
import re
from collections.abc import Collection, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from d2road.traffic.data_quality import QualityReport
from d2road.traffic.readers.table_text import PARQUET, PlainFile, TableText, open_plain, records, split_names
from d2road.utils.errors import DataError
from d2road.utils.input_files import LARGEST_TEXT, decode_text, errors_of_text, open_input, unpacked

BLOCK_ROWS = 1 << 18
NAMES_SHOWN = 40
LARGEST_ID = 2.0**53  # whole numbers beyond have no digits of their own as float64
DECIMAL_COMMA = re.compile(r"\s*[-+]?\d+,\d+\s*")
CLOCK = re.compile(r"\s*(?:(\d+):)?(\d+):(\d+):(\d+(?:\.\d*)?)\s*")


@dataclass(frozen=True)
class Wanted:
    """Columns of a table that a reader takes, by its own names.

    Attributes:
        numbers: columns of numbers; what is none becomes NaN.
        names: columns of text, as categories.
        optional: those of both that may be missing.
        strip: beginnings to take off the file's column names.
        clock: those of `numbers` that may be written as hours:minutes:seconds, or days before; they become seconds.
        literal: whether "NA", "null" and the like are names too, and only an empty field is missing.
        decimal: the sign between whole numbers and fractions.
    """

    numbers: Sequence[str]
    names: Sequence[str] = ()
    optional: Collection[str] = ()
    strip: Sequence[str] = ()
    clock: Collection[str] = ()
    literal: bool = False
    decimal: str = "."

    def find(self, have: Sequence[str], source: str) -> dict[int, str]:
        """Which of a file's columns (by place) are wanted, and their own names; letters' case does not count.

        Raises:
            DataError: one is missing, or two columns could serve as one.
        """
        places: dict[int, str] = {}
        for name in (*self.numbers, *self.names):
            same = [i for i, column in enumerate(have) if self._stripped(column) == name]
            found = same or [i for i, column in enumerate(have) if _plain(self._stripped(column)) == _plain(name)]
            if len(found) > 1:
                raise DataError(
                    f"{source} has {len(found)} columns for {name}: {', '.join(have[i] for i in found)} (columns "
                    f"{', '.join(str(i + 1) for i in found)}); rename or remove all but one"
                )
            places |= dict.fromkeys(found, name)
        missing = [n for n in (*self.numbers, *self.names) if n not in places.values() and n not in self.optional]
        if missing:
            raise DataError(f"{source} lacks the columns {', '.join(missing)}; it has {shown(have)}")
        return dict(sorted(places.items()))

    def _stripped(self, name: str) -> str:
        return next((name[len(b) :] for b in self.strip if name.startswith(b)), name)


def csv_blocks(
    path: Path | io.BytesIO,
    wanted: Wanted,
    separator: str = ",",
    header: Sequence[str] | None = None,
    problems: QualityReport | None = None,
    name: str = "",
    first: int = 1,
) -> Iterator[pd.DataFrame]:
    """Columns of a CSV file, gzip or not, as blocks of rows with "row", their line in the file.

    Rows with too few or too many fields and a last line without its end are left out, and counted in `problems`.

    Args:
        path: the file, or a stream of its rows without the line of names.
        wanted: what to read.
        separator: between columns; BLANKS is any white space.
        header: names of the columns of a file without a line of names.
        name, first: of a stream: the file that it is from, and which line of it comes first.
    Raises:
        DataError: it is packed or no text, a column is missing, or numbers have decimal commas; names the file.
    """
    with ExitStack() as stack:
        if isinstance(path, Path):
            name = str(path)
            file: PlainFile = stack.enter_context(open_plain(path))
        else:
            file = path
        stack.enter_context(errors_of_text(name))
        text = TableText(file, name, separator)
        text.row = first - 1
        if header is None:
            header = split_names(_first_of(text), separator)
        found = wanted.find(header, name)
        text.columns = len(header)
        yield from _parsed(text, wanted, found, separator, problems)


def _parsed(
    text: TableText, wanted: Wanted, found: dict[int, str], separator: str, problems: QualityReport | None
) -> Iterator[pd.DataFrame]:
    # As text first: read as categories, names that look like numbers would be numbers, and in this block alone.
    texts = dict.fromkeys((str(i) for i, name in found.items() if name in wanted.names), str)
    columns = {str(i): name for i, name in found.items()}
    first = text.row + 1
    options: dict = {"keep_default_na": False, "na_values": {i: [""] for i in texts}} if wanted.literal else {}
    try:
        with pd.read_csv(
            text,
            sep=separator,
            header=None,
            names=[str(i) for i in range(text.columns)],  # the file's own may be no names of columns
            usecols=[str(i) for i in found],
            dtype=texts,
            index_col=False,
            skip_blank_lines=False,
            chunksize=BLOCK_ROWS,
            low_memory=False,
            decimal=wanted.decimal,
            **options,
        ) as blocks:
            for block in blocks:
                rows = np.arange(first, first + len(block))
                first += len(block)
                block = block.astype(dict.fromkeys(texts, "category")).rename(columns=columns).assign(row=rows)
                if text.left_out:
                    block = block[~np.isin(rows, text.left_out)]
                    text.left_out = [row for row in text.left_out if row >= first]
                _report(text, problems)
                yield as_numbers(block, wanted, text.name)
    except pd.errors.EmptyDataError:
        pass  # a line of names alone
    except pd.errors.ParserError as error:
        raise DataError(f"{text.name} cannot be read as a table: {error}") from error
    text.done = True
    _report(text, problems)


def _report(text: TableText, problems: QualityReport | None) -> None:
    """Count what the text left out since the last time."""
    ragged, text.ragged = text.ragged, []
    if ragged and ragged[-1][0] == text.last and ragged[-1][1] < text.columns and not (text.done and text.cut_off):
        last = ragged.pop()
        if text.done:
            text.cut_off = f"the last line has {last[1]} of {text.columns} fields"
        else:  # whether it is the last line of all is not known yet
            text.ragged = [last]
    file = Path(text.name).name
    if problems is None:
        return
    problems.rows += len(ragged)
    expected = f"expected {text.columns} as in the line of names"
    comma = ", or do its numbers have decimal commas?" if text.separator == "," else ""
    problems.add(
        "ragged row",
        file,
        [row for row, _ in ragged],
        lambda i: f"{ragged[i][1]} fields, {expected}{comma if ragged[i][1] > text.columns else ''}",
        wrong=True,
    )
    if text.cut_off:
        problems.add("cut off", file, [text.last], text.cut_off)
        text.cut_off = ""


def as_numbers(block: pd.DataFrame, wanted: Wanted, source: str) -> pd.DataFrame:
    """Columns of numbers become floats, NaN where they hold something else.

    Raises:
        DataError: they hold decimal commas.
    """
    there = [name for name in wanted.numbers if name in block and block[name].dtype != np.float64]
    return block.assign(**{name: _floats(block, name, name in wanted.clock, source) for name in there})


def _floats(block: pd.DataFrame, name: str, clock: bool, source: str) -> pd.Series:
    column = block[name]
    if column.dtype == bool:
        return pd.Series(np.nan, column.index)
    if pd.api.types.is_numeric_dtype(column):
        return column.astype(float)
    words = column.astype("category")  # numbers are few where they are written as names are, or all are wrong
    categories = [str(word) for word in words.cat.categories]
    # Not pandas' own parser, which knows bare integers beyond range as an OverflowError only.
    numbers = [seconds_of(word) if clock else _float(word) for word in categories]
    for i, word in enumerate(categories):
        if np.isnan(numbers[i]) and DECIMAL_COMMA.fullmatch(word):
            row = int(block["row"].to_numpy()[words.cat.codes.to_numpy() == i][0])
            raise DataError(
                f"{source}, row {row}: {name} is {word!r}, a number with a decimal comma; expected a point. Of other "
                "tables than SUMO's and known data sets: csv:PATH?decimal=,"
            )
    values = np.array([*numbers, np.nan])[words.cat.codes.to_numpy()]
    return pd.Series(values, column.index)


def _float(word: str) -> float:
    try:
        return float(word) if "_" not in word else np.nan
    except ValueError:
        return np.nan


def seconds_of(text: str) -> float:
    """Seconds of a number, or of [days:]hours:minutes:seconds as SUMO writes with --human-readable-time; else NaN."""
    match = CLOCK.fullmatch(text)
    if match is None:
        return _float(text)
    days, hours, minutes, seconds = (float(part or 0) for part in match.groups())
    return 86400 * days + 3600 * hours + 60 * minutes + seconds


def checked_ids(ids: pd.Series, source: str) -> pd.Series:
    """Names of vehicles that are read as numbers.

    Raises:
        DataError: they are so large that two may be one.
    """
    largest = float(np.nanmax(np.abs(ids.to_numpy(dtype=float)), initial=0.0))
    if largest >= LARGEST_ID:
        raise DataError(f"{source}: a vehicle's number is {largest:.0f}, expected less than 2^53: number them anew")
    return ids


def read_header(path: Path, separator: str = ",") -> list[str]:
    """Names in the first line of a CSV file.

    Raises:
        DataError: the file is empty, or no text.
    """
    return split_names(first_line_of(path, separator), separator)


def first_line_of(path: Path, separator: str) -> str:
    """The first line of a table, without its end.

    Raises:
        OSError, DataError: the file is empty, no text, or of Parquet.
    """
    with errors_of_text(path), open_plain(path) as file:
        if file.peek(4).startswith(PARQUET):
            raise DataError(f"{path} is a Parquet file: expected a text table; readers fcd, csv and ngsim take Parquet")
        return _first_of(TableText(file, str(path), separator))


def _first_of(text: TableText) -> str:
    line = text.first_line()
    if not line.strip():
        empty = not line and not text.read()
        why = "is empty: not yet written, or is it another file?" if empty else "has nothing in its first line"
        raise DataError(f"{text.name} {why}")
    return line


def guess_separator(path: Path) -> str:
    """The separator of a CSV file, the most frequent in its first line: comma, semicolon or tab."""
    return max(",;\t", key=first_line_of(path, ",").count)


def read_rows(path: Path, required: Sequence[str]) -> list[dict[str, str]]:
    """A small CSV file as dictionaries; with one row at least.

    Raises:
        FileNotFoundError, DataError: no such file; no rows; a column is missing; a row lacks one of those required.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist; it belongs to the data beside it")
    with errors_of_text(path), open_input(path, largest=LARGEST_TEXT) as packed, unpacked(packed) as file:
        text = decode_text(file.read(LARGEST_TEXT), f"file {path}")
    lines = records(csv.reader(io.StringIO(text, newline="")), str(path))
    have = [name.strip() for name in next(lines, [])]
    missing = [name for name in required if name not in have]
    if missing:
        raise DataError(f"{path} lacks the columns {', '.join(missing)}; it has {shown(have) or 'none'}")
    rows = []
    for number, fields in enumerate((fields for fields in lines if fields), 1):
        row = dict(zip(have, fields))
        empty = [name for name in required if not row.get(name, "").strip()]
        if empty:
            raise DataError(f"{path}, line {number + 1}: {', '.join(empty)} is missing; cut off?")
        rows.append(row)
    if not rows:
        raise DataError(f"{path} has a line of names and no row")
    return rows


def number_in(row: dict[str, str], name: str, path: Path) -> float:
    """A number of a row that `read_rows` gave.

    Raises:
        DataError: it is none; names the file.
    """
    value = _float(row[name])
    if not np.isfinite(value):
        raise DataError(f"{path}: {name} is {row[name]!r}, expected a number")
    return value


def shown(names: Sequence[str]) -> str:
    """Names of columns for a message."""
    parts = [name if len(name) <= NAMES_SHOWN else f"{name[:NAMES_SHOWN]}..." for name in names[:NAMES_SHOWN]]
    return ", ".join([*parts, "..."] if len(names) > NAMES_SHOWN else parts)


def _plain(name: str) -> str:
    return name.strip().lower()
