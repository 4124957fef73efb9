"""Blocks of rows of Parquet files, with the number of each row."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from d2road.traffic.readers.blocks import BLOCK_ROWS, Wanted, as_numbers, shown
from d2road.traffic.readers.table_text import PARQUET
from d2road.utils.errors import DataError
from d2road.utils.input_files import open_input


def parquet_blocks(path: Path, columns: Sequence[str] | None = None) -> Iterator[pd.DataFrame]:
    """A Parquet file as it is, as blocks with "row", counted from 1.

    Raises:
        OSError, DataError: no such file, or columns are missing.
    """
    with _opened(path) as file:
        have = file.schema_arrow.names
        missing = [name for name in columns or () if name not in have]
        if missing:
            raise DataError(f"{path} lacks the columns {', '.join(missing)}; it has {shown(have)}")
        first = 1
        for batch in file.iter_batches(batch_size=BLOCK_ROWS, columns=list(columns) if columns else None):
            yield batch.to_pandas().assign(row=np.arange(first, first + batch.num_rows))
            first += batch.num_rows


def parquet_table(path: Path, wanted: Wanted) -> Iterator[pd.DataFrame]:
    """Columns of a Parquet file as `csv_blocks` gives them: numbers as floats, names as categories, "row" from 1.

    Raises:
        OSError, DataError: no such file; a column is missing, or of a type that is neither number nor text.
    """
    with _opened(path) as file:
        schema = file.schema_arrow
        found = wanted.find(schema.names, str(path))
        places = {name: schema.names[i] for i, name in found.items()}
        first = 1
        for batch in file.iter_batches(batch_size=BLOCK_ROWS, columns=list(places.values())):
            rows = np.arange(first, first + batch.num_rows)
            first += batch.num_rows
            frame = {n: _column(batch.column(there), n, n in wanted.names, path) for n, there in places.items()}
            yield as_numbers(pd.DataFrame(frame | {"row": rows}), wanted, str(path))


def parquet_columns(path: Path) -> list[str]:
    """Names of the columns of a Parquet file.

    Raises:
        OSError, DataError: no such file.
    """
    with _opened(path) as file:
        return list(file.schema_arrow.names)


@contextmanager
def _opened(path: Path) -> Iterator[pq.ParquetFile]:
    """A Parquet file, while its rows are read, too."""
    with open_input(path) as raw:
        head = raw.peek(4)[:4]  # type: ignore[attr-defined]  # of io.BufferedReader
        if head and head != PARQUET:
            raise DataError(f"{path} is no Parquet file: expected one, or name another reader")
        try:
            with pq.ParquetFile(raw) as file:
                yield file
        except (OSError, ValueError, pa.ArrowException) as error:
            if isinstance(error, DataError):
                raise
            raise DataError(
                f"{path} cannot be read as Parquet: {error}. Cut off, or still written? The list of its columns comes "
                "last"
            ) from error


def _column(values: pa.Array, name: str, text: bool, path: Path) -> pd.Series | np.ndarray:
    if pa.types.is_dictionary(values.type):
        values = values.dictionary_decode()
    kind = values.type
    words = pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)
    number = pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind)
    if not (words or number or pa.types.is_null(kind)):
        cure = ": write seconds as numbers" if pa.types.is_temporal(kind) else ""
        raise DataError(f"{path}: column {name} holds {kind}, expected {'names' if text else 'numbers'}{cure}")
    if not text:
        if words:
            return values.cast(pa.string()).to_pandas()
        return values.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False)
    if number and not pa.types.is_integer(kind):
        # NaN is a gap; and whole numbers with gaps are floats to many programs.
        floats = values.cast(pa.float64(), safe=False)
        values = pc.if_else(pc.is_nan(floats), pa.scalar(None, pa.float64()), floats)
    return values.cast(pa.string()).dictionary_encode().to_pandas()
