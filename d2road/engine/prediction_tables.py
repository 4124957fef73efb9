"""Tables of predictions, written row by row and atomically: JSON, JSON lines, CSV and Parquet.

The columns of a table are named with their kinds: "int", "float", "text", "N float" (a list of N numbers), "list of
KIND" and "words" (a struct of text, span, relevance); with "?" behind it CSV leaves a column out where no row has it.
"""

import csv
import json
import textwrap
from collections.abc import Iterable, Mapping
from itertools import islice
from pathlib import Path
from typing import IO, Any

from d2road.utils.optional_packages import require_package
from d2road.utils.output_files import atomic_write

FORMATS = ("json", "jsonl", "parquet")  # that can be asked for
PARQUET_ROWS = 20_000  # of a row group

Rows = Iterable[Mapping[str, Any]]  # gone through more than once


def write_table(path: Path, rows: Rows, columns: Mapping[str, str]) -> None:
    """Write rows in the format of the suffix: .json, .jsonl, .csv or .parquet.

    Args:
        rows: keys of `columns`; one may lack what it has no value for.
        columns: names and kinds, see the module.
    Raises:
        ConfigError: Parquet without pyarrow. FileNotFoundError, OutputError: as `atomic_write`.
    """
    if path.suffix == ".parquet":
        _write_parquet(path, rows, columns)
        return
    write = {".json": _write_json, ".jsonl": _write_lines, ".csv": _write_csv}[path.suffix]
    with atomic_write(path, "w") as file:
        write(file, rows, columns)


def require_format(name: str) -> None:
    """Raise ConfigError where a format of FORMATS cannot be written; before a long computation."""
    if name == "parquet":
        require_package("pyarrow", "parquet", "--format parquet")


def arrow_schema(columns: Mapping[str, str]) -> Any:
    """The schema of a Parquet file, a `pyarrow.Schema`. Raises ConfigError without pyarrow."""
    arrow = require_package("pyarrow", "parquet", "a table in Parquet")
    return arrow.schema([(name, _arrow_type(arrow, kind.rstrip("?"))) for name, kind in columns.items()])


def _arrow_type(arrow: Any, kind: str) -> Any:
    plain = {"int": arrow.int64(), "float": arrow.float64(), "text": arrow.string()}
    if kind in plain:
        return plain[kind]
    if kind == "words":
        span = arrow.list_(arrow.int64(), 2)
        return arrow.struct([("text", arrow.string()), ("span", span), ("relevance", arrow.float64())])
    if kind.startswith("list of "):
        return arrow.list_(_arrow_type(arrow, kind.removeprefix("list of ")))
    count, inner = kind.split(" ")
    return arrow.list_(_arrow_type(arrow, inner), int(count))


def _write_parquet(path: Path, rows: Rows, columns: Mapping[str, str]) -> None:
    arrow, parquet = (require_package(name, "parquet", "Parquet") for name in ("pyarrow", "pyarrow.parquet"))
    schema, left = arrow_schema(columns), iter(rows)
    with atomic_write(path) as file, parquet.ParquetWriter(file, schema) as writer:
        while block := [dict(row) for row in islice(left, PARQUET_ROWS)]:
            writer.write_table(arrow.Table.from_pylist(block, schema=schema))


def _write_json(file: IO[str], rows: Rows, columns: Mapping[str, str]) -> None:
    """One list, indented, without holding all rows."""
    between = "["
    for row in rows:
        file.write(between + "\n" + textwrap.indent(json.dumps(row, indent=2), "  "))
        between = ","
    file.write("[]\n" if between == "[" else "\n]\n")


def _write_lines(file: IO[str], rows: Rows, columns: Mapping[str, str]) -> None:
    file.writelines(json.dumps(row) + "\n" for row in rows)


def _write_csv(file: IO[str], rows: Rows, columns: Mapping[str, str]) -> None:
    optional = {name for name, kind in columns.items() if kind.endswith("?")}
    if optional:
        present = {name for row in rows for name in optional & set(row)}
        columns = {name: kind for name, kind in columns.items() if name not in optional or name in present}
    table = csv.DictWriter(file, list(columns), extrasaction="ignore", lineterminator="\n")
    table.writeheader()
    table.writerows(rows)
