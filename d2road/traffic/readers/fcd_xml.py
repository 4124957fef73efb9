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
from d2road.utils.errors import DataError

# Names of the attributes that are text; the others are numbers.
TEXTS = ("id", "type", "lane", "edge")


class FcdParser:
    """Takes bytes as they come and gives the vehicles of the timesteps that are complete.

    Args:
        attributes: of a vehicle, to keep.
        name: of the file, for messages.
    """

    def __init__(self, attributes: Sequence[str], name: str = "FCD"):
        self.attributes, self.name = tuple(attributes), name
        self._others: list[int] = []
        self.problem = ""
        self._expat = xml.parsers.expat.ParserCreate()
        self._expat.buffer_text = True
        self._expat.StartElementHandler = self._start_element
        self._expat.EndElementHandler = self._end_element
        self._time = float("nan")
        self._clear()
        self.steps = 0

    def _clear(self) -> None:
        self._columns: list[list[str | None]] = [[] for _ in self.attributes]
        self._times: list[float] = []
        self._rows: list[int] = []
        self._complete = 0

    def feed(self, data: bytes) -> None:
        """Read on.

        Raises:
            ValueError: not XML, or not FCD; names the line.
        """
        self._parse(data, False)

    def close(self) -> None:
        """The file is at its end.

        Raises:
            ValueError: it is cut off.
        """
        self._parse(b"", True)

    def _parse(self, data: bytes, last: bool) -> None:
        try:
            self._expat.Parse(data, last)
        except xml.parsers.expat.ExpatError as error:
            raise DataError(f"{self.name} is no complete XML: {error}") from error
        except _NotFcdError as error:
            raise DataError(f"{self.name}, line {self._expat.CurrentLineNumber}: {error}") from error

    def __len__(self) -> int:
        return self._complete

    def take(self, problems: QualityReport | None = None) -> pd.DataFrame:
        """The vehicles of complete timesteps since the last call: time in s, the attributes, and row, their line.

        Args:
            problems: persons and containers are counted there.
        """
        others, self._others = self._others, []
        if problems is not None:
            problems.rows += len(others)
            problems.add("persons and containers", Path(self.name).name, others, "a person or container")
        count, times, rows, columns = self._complete, self._times, self._rows, self._columns
        self._clear()
        self._times, self._rows = times[count:], rows[count:]
        self._columns = [column[count:] for column in columns]
        frame = {"row": np.array(rows[:count], dtype=np.int64), "time": np.array(times[:count], dtype=float)}
        for name, column in zip(self.attributes, columns):
            values = pa.array(column[:count], pa.string())
            frame[name] = values.dictionary_encode().to_pandas() if name in TEXTS else _numbers(values)
        return pd.DataFrame(frame)

    def _start_element(self, name: str, attributes: dict[str, str]) -> None:
        if name == "vehicle":
            self._times.append(self._time)
            self._rows.append(self._expat.CurrentLineNumber)
            for column, key in zip(self._columns, self.attributes):
                column.append(attributes.get(key) or None)
        elif name == "timestep":
            self.steps += 1
            self._time = seconds_of(attributes.get("time", ""))
            if math.isnan(self._time):
                raise _NotFcdError("a timestep without a time")
        elif name in ("person", "container"):
            self._others.append(self._expat.CurrentLineNumber)
        elif not self.steps and name != "fcd-export":
            raise _NotFcdError(f"<{name}> is no part of FCD; expected <fcd-export> with <timestep>s")

    def _end_element(self, name: str) -> None:
        if name == "timestep":
            self._complete = len(self._times)


class _NotFcdError(Exception):
    pass


def _numbers(values: pa.Array) -> np.ndarray:
    try:
        return values.cast(pa.float64()).to_numpy(zero_copy_only=False)
    except pa.ArrowInvalid:  # something that is no number, which becomes NaN
        return pd.to_numeric(values.to_pandas(), errors="coerce").to_numpy(dtype=float)
