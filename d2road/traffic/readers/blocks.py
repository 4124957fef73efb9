"""Blocks of rows of CSV and Parquet files, with the line each row comes from."""

import csv
import gzip
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO

import numpy as np
import pandas as pd
import pyarrow.parquet as pq

from d2road.utils.errors import DataError

BLOCK_ROWS = 1 << 18


def csv_blocks(
    path: Path | IO[bytes],
    numbers: Sequence[str],
    names: Sequence[str] = (),
    optional: Sequence[str] = (),
    separator: str = ",",
    header: Sequence[str] | None = None,
    strip: Sequence[str] = (),
) -> Iterator[pd.DataFrame]:
    """Columns of a CSV file, which may end in .gz, as blocks of rows with "row", their line in the file.

    Args:
        path: the file, or a stream of its rows without the line of names.
        numbers: columns of numbers; what is none becomes NaN. names: columns of text, as categories.
        optional: those of `numbers` and `names` that may be missing.
        separator: between columns; r"\\s+" is any white space.
        header: names of the columns of a file without a line of names.
        strip: beginnings to take off the file's column names.
    Raises:
        ValueError: a column is missing, or rows have too many fields; names the line.
    """
    wanted = {_plain(name): name for name in (*numbers, *names)}
    if header is not None:
        have = list(header)
    elif isinstance(path, Path):
        have = read_header(path, separator)
    else:
        raise TypeError("a stream has no line of names: give header")
    found = {column: wanted[key] for column in have if (key := _plain(_stripped(column, strip))) in wanted}
    missing = [name for name in wanted.values() if name not in found.values() and name not in optional]
    if missing:
        raise DataError(f"{path} lacks the columns {', '.join(missing)}; it has {', '.join(have)}")
    # As text first: read as categories, names that look like numbers would be numbers, and in this block alone.
    texts = dict.fromkeys((column for column, name in found.items() if name in names), str)
    first = 1 if header is not None else 2
    try:
        with pd.read_csv(
            path,
            sep=separator,
            header=None if header is not None else 0,
            names=have,
            usecols=list(found),
            dtype=texts,
            index_col=False,
            skip_blank_lines=False,
            chunksize=BLOCK_ROWS,
            encoding="utf-8-sig",
        ) as blocks:
            for block in blocks:
                rows = np.arange(first, first + len(block))
                first += len(block)
                block = block.astype(dict.fromkeys(texts, "category")).rename(columns=found)
                yield _numbers(block, [n for n in numbers if n in found.values()]).assign(row=rows)
    except (pd.errors.ParserError, UnicodeDecodeError) as error:
        raise DataError(f"{path} cannot be read as a table: {error}") from error


def read_header(path: Path, separator: str = ",") -> list[str]:
    """Names in the first line of a CSV file.

    Raises:
        ValueError: the file is empty.
    """
    with open_text(path) as file:
        line = file.readline().strip("\r\n")
    if not line.strip():
        raise DataError(f"{path} has no first line with names of columns")
    if separator == r"\s+":
        return line.split()
    return [name.strip() for name in next(csv.reader([line], delimiter=separator))]


def guess_separator(path: Path) -> str:
    """The separator of a CSV file, the most frequent in its first line: comma, semicolon or tab."""
    with open_text(path) as file:
        line = file.readline()
    return max(",;\t", key=line.count)


def parquet_blocks(path: Path, columns: Sequence[str] | None = None) -> Iterator[pd.DataFrame]:
    """A Parquet file as blocks with "row", counted from 1.

    Raises:
        ValueError: not such a file, or columns are missing.
    """
    try:
        file = pq.ParquetFile(path)
    except (OSError, ValueError) as error:
        raise DataError(f"{path} cannot be read as Parquet: {error}") from error
    with file:
        have = file.schema_arrow.names
        missing = [name for name in columns or () if name not in have]
        if missing:
            raise DataError(f"{path} lacks the columns {', '.join(missing)}; it has {', '.join(have)}")
        first = 1
        for batch in file.iter_batches(batch_size=BLOCK_ROWS, columns=list(columns) if columns else None):
            rows = np.arange(first, first + batch.num_rows)
            first += batch.num_rows
            yield batch.to_pandas().assign(row=rows)


def read_rows(path: Path, required: Sequence[str]) -> list[dict[str, str]]:
    """A small CSV file as dictionaries.

    Raises:
        FileNotFoundError, ValueError: no such file; a column is missing.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist; it belongs to the data beside it")
    with open_text(path) as file:
        reader = csv.DictReader(file)
        missing = [name for name in required if name not in (reader.fieldnames or ())]
        if missing:
            raise DataError(f"{path} lacks the columns {', '.join(missing)}; it has {reader.fieldnames}")
        return list(reader)


def open_text(path: Path) -> IO[str]:
    """A text file, unpacked where its name ends in .gz."""
    if path.suffix == ".gz":
        return gzip.open(path, "rt", encoding="utf-8-sig", newline="")
    return open(path, encoding="utf-8-sig", newline="")


def _numbers(block: pd.DataFrame, numbers: Sequence[str]) -> pd.DataFrame:
    """Columns become floats, NaN where they hold text."""
    other = [name for name in numbers if block[name].dtype != np.float64]
    return block.assign(**{name: pd.to_numeric(block[name], errors="coerce").astype(float) for name in other})


def _plain(name: str) -> str:
    return name.strip().lower()


def _stripped(name: str, beginnings: Sequence[str]) -> str:
    return next((name[len(b) :] for b in beginnings if name.startswith(b)), name)
