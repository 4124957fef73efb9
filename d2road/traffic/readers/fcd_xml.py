"""The XML of SUMO's floating-car data, in pieces of any size.

<fcd-export>
    <timestep time="0.10">
        <vehicle id="car.0" x="12.9" y="-1.6" angle="90.0" type="car" speed="27.8" pos="12.9" lane="main_0" .../>
"""

import math
import xml.parsers.expat
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa

from d2road.traffic.data_quality import QualityReport
from d2road.traffic.readers.blocks import seconds_of
from d2road.traffic.readers.fcd_lines import NEWLINE, TEXT, VehicleLine, WholeTokens
from d2road.utils.errors import DataError

# Names of the attributes that are text; the others are numbers.
TEXTS = ("id", "type", "lane", "edge")
# What expat gets in the place of lines of vehicles that have been read.
RUN_NAME = "vehicles-read-as-lines"
RUN = b'<%s count="%%d"/>' % RUN_NAME.encode()


class FcdParser:
    """Takes bytes as they come and gives the vehicles of the timesteps that are complete.

    Runs of lines that are vehicles written alike are read as tables, see fcd_lines; expat gets an empty element in
    their place, with as many line breaks, and all else. The rows are those that expat alone gives.

    Args:
        attributes: of a vehicle, to keep.
        name: of the file, for messages.
    """

    def __init__(self, attributes: Sequence[str], name: str = "FCD"):
        self.attributes, self.name = tuple(attributes), name
        self._schema = {name: TEXT if name in TEXTS else pa.float64() for name in attributes}
        self._others: list[int] = []
        self._expat = xml.parsers.expat.ParserCreate()
        self._expat.buffer_text = True
        self._expat.StartElementHandler = self._start_element
        self._expat.EndElementHandler = self._end_element
        self._tokens = WholeTokens()
        self._lines = 0  # line breaks that expat has had
        self._runs: list[tuple[float, int]] = []  # instant and number of the rows of runs of lines
        self._tables: list[pa.Table] = []
        self._time = math.nan
        self._count = self._complete = 0
        self._forget()
        self.steps = 0

    def _forget(self) -> None:
        """Leave the elements of vehicles, which are in a table."""
        self._columns: list[list[str | None]] = [[] for _ in self.attributes]
        self._times: list[float] = []
        self._rows: list[int] = []

    def feed(self, data: bytes) -> None:
        """Read on.

        Raises:
            ValueError: not XML, or not FCD; names the line.
        """
        text = self._tokens.whole(data)
        run = self._lines_of_vehicles(text) if self._tokens.plain and self.steps else None
        if run is None:
            self._parse(text)
        else:
            self._parse_around(text, *run)
        self._lines += text.count(b"\n")

    def close(self) -> None:
        """The file is at its end.

        Raises:
            ValueError: it is cut off.
        """
        self._parse(self._tokens.rest(), last=True)

    def _parse(self, data: bytes, last: bool = False) -> None:
        try:
            self._expat.Parse(data, last)
        except xml.parsers.expat.ExpatError as error:
            raise DataError(f"{self.name} is no complete XML: {error}") from error
        except _NotFcdError as error:
            raise DataError(f"{self.name}, line {self._expat.CurrentLineNumber}: {error}") from error

    def _lines_of_vehicles(self, text: bytes) -> tuple[pa.Table, np.ndarray] | None:
        """Rows of the lines of vehicles of a text, and first and last byte and number of each run of them (R, 3).

        None where any is to be read as XML.
        """
        layout = VehicleLine.first_of(text)
        if layout is None:
            return None
        whole = np.frombuffer(text, np.uint8)
        starts = np.append(0, np.flatnonzero(whole == NEWLINE) + 1)
        vehicle = np.flatnonzero(layout.begins(whole, starts))
        first = np.flatnonzero(np.diff(vehicle, prepend=-2) != 1)
        counts = np.diff(first, append=len(vehicle))
        bounds = np.append(starts, len(text))
        runs = np.stack([bounds[vehicle[first]], bounds[vehicle[first] + counts], counts], axis=1)
        lines = b"".join(text[start:end] for start, end, _ in runs)
        table = layout.read(lines, len(vehicle), self._schema)
        if table is None:
            return None
        return table.add_column(0, "row", pa.array(vehicle + self._lines + 1)), runs

    def _parse_around(self, text: bytes, table: pa.Table, runs: np.ndarray) -> None:
        """Parse a text whose runs of lines of vehicles have been read, with an element in the place of each."""
        at, place, before = 0, b"", len(self._runs)
        for start, end, count in runs.tolist():
            self._parse(place + text[at:start])
            at, place = end, RUN % count + b"\n" * count
        self._parse(place + text[at:])
        times, counts = zip(*self._runs[before:])
        self._tables.append(table.add_column(1, "time", pa.array(np.repeat(times, counts))))
        del self._runs[before:]

    def __len__(self) -> int:
        return self._complete

    def take(self, problems: QualityReport | None = None) -> pd.DataFrame:
        """The vehicles of complete timesteps since the last call: row, their line, time in s, and the attributes.

        Args:
            problems: persons and containers are counted there.
        """
        others, self._others = self._others, []
        if problems is not None:
            problems.rows += len(others)
            problems.add("persons and containers", Path(self.name).name, others, "a person or container")
        table = self._all_rows()
        self._tables, complete = [table.slice(self._complete)], table.slice(0, self._complete)
        self._count, self._complete = self._count - self._complete, 0
        frame = complete.unify_dictionaries().to_pandas(split_blocks=True)
        return frame.assign(**{name: _by_appearance(frame[name]) for name in self.attributes if name in TEXTS})

    def _all_rows(self) -> pa.Table:
        """Those of lines and of elements, in the order of the file."""
        columns = {"row": pa.array(self._rows, pa.int64()), "time": pa.array(self._times, pa.float64())}
        for name, values in zip(self.attributes, self._columns):
            column = pa.array(values, pa.string())
            columns[name] = (
                column.dictionary_encode() if name in TEXTS else pa.array(_numbers(column), from_pandas=False)
            )
        self._forget()
        table = pa.concat_tables([*self._tables, pa.table(columns)])
        rows = table["row"].to_numpy()
        return table if (np.diff(rows) >= 0).all() else table.take(np.argsort(rows, kind="stable"))

    def _start_element(self, name: str, attributes: dict[str, str]) -> None:
        if name == "vehicle":
            self._count += 1
            self._times.append(self._time)
            self._rows.append(self._expat.CurrentLineNumber)
            for column, key in zip(self._columns, self.attributes):
                column.append(attributes.get(key) or None)
        elif name == "timestep":
            self.steps += 1
            self._time = seconds_of(attributes.get("time", ""))
            if math.isnan(self._time):
                raise _NotFcdError("a timestep without a time")
        elif name == RUN_NAME:
            self._runs.append((self._time, int(attributes["count"])))
            self._count += int(attributes["count"])
        elif name in ("person", "container"):
            self._others.append(self._expat.CurrentLineNumber)
        elif not self.steps and name != "fcd-export":
            raise _NotFcdError(f"<{name}> is no part of FCD; expected <fcd-export> with <timestep>s")

    def _end_element(self, name: str) -> None:
        if name == "timestep":
            self._complete = self._count


class _NotFcdError(Exception):
    pass


def _by_appearance(column: pd.Series) -> pd.Categorical:
    """A column whose categories are those of its rows, in the order in which they appear."""
    codes, names = column.cat.codes.to_numpy(), column.cat.categories
    present = pd.unique(codes[codes >= 0])
    place = np.full(len(names) + 1, -1)
    place[present] = np.arange(len(present))
    return pd.Categorical.from_codes(place[codes], names[present])


def _numbers(values: pa.Array) -> np.ndarray:
    try:
        return values.cast(pa.float64()).to_numpy(zero_copy_only=False)
    except pa.ArrowInvalid:  # something that is no number, which becomes NaN
        return pd.to_numeric(values.to_pandas(), errors="coerce").to_numpy(dtype=float)
