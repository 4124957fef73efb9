"""Any table in CSV or Parquet, by a map of its columns; and the trajectory table itself as Parquet."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from d2road.traffic.data_quality import QualityReport
from d2road.traffic.readers.blocks import Wanted, csv_blocks, guess_separator, read_header, shown
from d2road.traffic.readers.parquet_blocks import parquet_blocks, parquet_columns, parquet_table
from d2road.traffic.readers.source import READERS, Part, Source
from d2road.traffic.readers.table_text import kind_of
from d2road.traffic.table import COLUMNS, NAMES
from d2road.utils.errors import ConfigError, DataError
from d2road.utils.registry import unknown_name

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from d2road.traffic.readers.source import SourceOptions


NUMBERS = tuple(name for name in COLUMNS if name not in NAMES)
NEEDED = ("vehicle", "t", "s")
# Words in the names that files give them.
USUAL_NAMES = {
    "vehicle": {"vehicle", "id", "track", "object", "car", "veh", "trackid"},
    "t": {"time", "timestamp", "timestep", "sec", "seconds", "frame"},
    "s": {"pos", "position", "distance", "station", "x", "y", "chainage", "dist"},
}
# What one of them is in the table's unit.
UNITS = {
    "t": {"s": 1.0, "ms": 1e-3, "us": 1e-6, "min": 60.0, "h": 3600.0},
    "s": {"m": 1.0, "ft": 0.3048, "km": 1000.0, "mi": 1609.344},
    "speed": {"m/s": 1.0, "km/h": 1 / 3.6, "mph": 0.44704, "ft/s": 0.3048, "kn": 1852 / 3600},
    "acceleration": {"m/s^2": 1.0, "ft/s^2": 0.3048, "g": 9.80665},
}
UNITS |= {"length": UNITS["s"], "width": UNITS["s"]}


class PlainTable(Source):
    """A table in CSV (packed with gzip or not) or Parquet whose columns have the table's names, or are mapped to them.

    Args:
        columns: "t=time, s=pos": the file's column for a column of the table. vehicle, t and s are needed; speed comes
            from s where it is missing, and the class, lane, direction and length have defaults. What is named here must
            be there.
        units: "t=ms, s=ft, speed=km/h": where they are not the table's.
        frame_rate: frames a second, where t is the number of a frame; 0 is a time.
        separator: of CSV; "" guesses among comma, semicolon and tab.
        decimal: of CSV: the sign between whole numbers and fractions, "." or ",".
        ordered: rows are in order of time; lets a file larger than memory be read as it goes.
        direction: of rows of a file without such a column.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        columns: str = "",
        units: str = "",
        frame_rate: float = 0.0,
        separator: str = "",
        decimal: str = ".",
        ordered: bool = False,
        direction: int = 1,
        **common: Unpack[SourceOptions],
    ):
        super().__init__(path, **common)
        self.mapped = pairs_of("columns", columns, COLUMNS)
        self.columns = {name: name for name in COLUMNS} | self.mapped
        if len(set(self.columns.values())) < len(self.columns):
            raise ConfigError(f"columns is {columns!r}: a column of the file serves twice")
        self.scales = {}
        for name, unit in pairs_of("units", units, UNITS).items():
            if unit not in UNITS[name]:
                raise ConfigError(f"units of {name} is {unit!r}, expected one of {', '.join(UNITS[name])}")
            self.scales[name] = UNITS[name][unit]
        if frame_rate:
            self.scales["t"] = 1 / frame_rate
        if decimal not in (".", ",") or decimal == separator:
            raise ConfigError(f"decimal is {decimal!r}, expected '.' or ',', and not the separator")
        self.separator, self.decimal, self.ordered, self.direction = separator, decimal, ordered, direction

    def parts(self) -> Iterator[Part]:
        """The file; where it has a column of recordings, one for each."""
        parquet = kind_of(self.path) == "parquet"
        have = parquet_columns(self.path) if parquet else read_header(self.path, self.file_separator())
        self._refuse_fcd(have)
        self._refuse_other_names(have)
        column = self.columns["recording"]
        names = [""]
        if column in have:
            blocks = self._read(Wanted((), (column,)), parquet)
            names = sorted({str(name) for block in blocks for name in block[column].dropna().unique()})
        for name in names:
            recording = self.recording or name or self.path.name.split(".")[0]
            yield Part(self.path, recording, partial(self._rows_of, name, parquet), self.ordered)

    def _rows_of(self, recording: str, parquet: bool) -> Iterator[pd.DataFrame]:
        for block in self._read(self.wanted(), parquet, self.problems if not recording else None):
            block = self.to_table(block)
            yield block[(block["recording"] == recording).to_numpy()] if recording else block

    def _read(self, wanted: Wanted, parquet: bool, problems: QualityReport | None = None) -> Iterator[pd.DataFrame]:
        if parquet:
            return parquet_table(self.path, wanted)
        return csv_blocks(self.path, wanted, self.file_separator(), problems=problems)

    def _refuse_fcd(self, have: Sequence[str]) -> None:
        if not self.mapped and "timestep_time" in have:
            raise DataError(
                f"{self.path} is floating-car data of SUMO, with the columns {shown(have)}: read it as fcd:{self.path}"
            )

    def _refuse_other_names(self, have: Sequence[str]) -> None:
        """Say how columns of other names are given, with those of the file that look like them."""
        missing = [name for name in NEEDED if name not in self.mapped and name not in have]
        if missing:
            free = [column for column in have if column not in self.columns.values()]
            found = {name: next((c for c in free if _looks_like(name, c)), "") for name in missing}
            pairs = ",".join(f"{name}={column or 'COLUMN'}" for name, column in ({**self.mapped, **found}).items())
            raise DataError(
                f"{self.path} lacks the columns {', '.join(missing)}; it has {shown(have) or 'none'}. Say which they "
                f"are: csv:{self.path}?columns={pairs} (units in docs/trajectories.md)"
            )

    def file_separator(self) -> str:
        """The separator of a CSV file, as given or guessed."""
        return self.separator or guess_separator(self.path)

    def wanted(self) -> Wanted:
        """The file's columns: numbers, names, and those of both that may be missing."""
        numbers, names = ([self.columns[n] for n in group] for group in (NUMBERS, NAMES))
        needed = {*NEEDED, *self.mapped}
        optional = [column for name, column in self.columns.items() if name not in needed]
        return Wanted(numbers, names, optional, decimal=self.decimal)

    def to_table(self, block: pd.DataFrame) -> pd.DataFrame:
        """Columns of the table, in its units, of the file's."""
        block = block.rename(columns={column: name for name, column in self.columns.items()})
        block = block.assign(**{name: block[name] * scale for name, scale in self.scales.items() if name in block})
        return block if "direction" in block else block.assign(direction=self.direction)


@READERS.register(name="csv")
class PlainCsv(PlainTable):
    """A table in CSV, or in Parquet; see PlainTable."""


@READERS.register(name="parquet")
class ParquetTable(PlainTable):
    """A table that Trajectories.to_parquet wrote, whose recordings and their rows are in order; or any in Parquet."""

    def parts(self) -> Iterator[Part]:
        """One for each recording."""
        if self.mapped or self.scales or not set(COLUMNS) <= set(parquet_columns(self.path)):
            yield from super().parts()
            return
        names = sorted({str(n) for b in parquet_blocks(self.path, ("recording",)) for n in b["recording"].unique()})
        for name in names:
            yield Part(self.path, self.recording or name, partial(self._stored, name), ordered=True)

    def _stored(self, recording: str) -> Iterator[pd.DataFrame]:
        for block in parquet_blocks(self.path, COLUMNS):
            yield block[(block["recording"].astype(str) == recording).to_numpy()].drop(columns="recording")


def _looks_like(name: str, column: str) -> bool:
    """Whether a column of a file may be this one of the table, by the words of its name."""
    words = re.split(r"[^a-z]+", re.sub(r"(?<=[a-z])(?=[A-Z])", "_", column).lower())
    return not USUAL_NAMES[name].isdisjoint(words)


def pairs_of(option: str, text: str, known: Collection[str]) -> dict[str, str]:
    """An option such as "t=time, s=pos" as a dictionary.

    Raises:
        ValueError: another form, or a name that is not known.
    """
    pairs = {}
    for part in text.split(",") if text.strip() else ():
        name, equals, value = (piece.strip() for piece in part.partition("="))
        if not equals or not value:
            raise ConfigError(f"{option} is {text!r}, expected NAME=VALUE, NAME=VALUE")
        if name not in known:
            raise ConfigError(f"{option}: {unknown_name('column', name, known)}")
        pairs[name] = value
    return pairs
