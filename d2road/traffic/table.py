"""The trajectory table: one row for each vehicle and instant, whatever the source.

| column | unit | dtype | |
|---|---|---|---|
| recording | | category | vehicles of two recordings are never the same |
| vehicle | | category | |
| cls | | category | car, truck, bus, motorcycle, ... as the source says |
| t | s | float64 | |
| s | m | float64 | of the vehicle's *front*, along the road, rising in the nominal direction of travel |
| lane | | category | |
| direction | | int8 | carriageway: 1, or -1 for the one whose nominal direction is against the road axis |
| speed | m/s | float32 | along the nominal direction: negative is driving the wrong way |
| acceleration | m/s^2 | float32 | along the nominal direction; NaN where unknown |
| length, width | m | float32 | length > 0; width NaN where unknown |

Rows are sorted by recording, t and vehicle, and a vehicle has one row at an instant.
"""

import os
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import pandas as pd

from d2road.utils.errors import DataError
from d2road.utils.natural_order import natural_key
from d2road.utils.output_files import atomic_write

NAMES = ("recording", "vehicle", "cls", "lane")
DTYPES = {
    "recording": "category",
    "vehicle": "category",
    "cls": "category",
    "t": "float64",
    "s": "float64",
    "lane": "category",
    "direction": "int8",
    "speed": "float32",
    "acceleration": "float32",
    "length": "float32",
    "width": "float32",
}
COLUMNS = tuple(DTYPES)
MAY_BE_UNKNOWN = ("acceleration", "width")


@dataclass(frozen=True)
class Trajectories:
    """A checked, sorted table; `frame` has exactly COLUMNS with DTYPES and a plain index 0, 1, ...

    Made by `from_frame`. Methods return new tables, whose columns keep this one's categories.
    """

    frame: pd.DataFrame

    @classmethod
    def from_frame(cls, frame: pd.DataFrame) -> "Trajectories":
        """Check a frame, give its columns their types and sort its rows.

        Args:
            frame: with all of COLUMNS; others are dropped. Names may be anything that `str` tells apart.
        Raises:
            ValueError: columns are missing, values are not numbers or not finite, a direction is neither 1 nor -1, a
                length is not positive, or a vehicle has two rows at one instant; names the first such row.
        """
        missing = [name for name in COLUMNS if name not in frame.columns]
        if missing:
            raise DataError(
                f"trajectory table lacks the columns {', '.join(missing)}; it has {', '.join(map(str, frame.columns))}"
            )
        typed = pd.DataFrame({name: _typed(frame[name], name) for name in COLUMNS})
        for name in ("t", "s", "speed", "length"):
            _refuse(typed, ~np.isfinite(typed[name].to_numpy()), name, "a finite number")
        for name in MAY_BE_UNKNOWN:
            _refuse(typed, np.isinf(typed[name].to_numpy()), name, "a finite number, or NaN for unknown")
        _refuse(typed, ~np.isin(typed["direction"].to_numpy(), (-1, 1)), "direction", "1 or -1")
        _refuse(typed, typed["length"].to_numpy() <= 0, "length", "more than 0 m")
        return cls(_sorted(typed))

    @classmethod
    def empty(cls) -> "Trajectories":
        """A table without rows."""
        return cls.from_frame(pd.DataFrame({name: [] for name in COLUMNS}))

    def __len__(self) -> int:
        return len(self.frame)

    @property
    def recordings(self) -> list[str]:
        """Names of the recordings that have rows, in natural order."""
        return self._names("recording")

    @property
    def vehicles(self) -> list[str]:
        """Names of the vehicles that have rows, in natural order."""
        return self._names("vehicle")

    @property
    def directions(self) -> list[int]:
        """The directions that have rows: 1, -1 or both."""
        return [d for d in (1, -1) if (self.frame["direction"].to_numpy() == d).any()]

    @property
    def span(self) -> tuple[float, float]:
        """First and last t in seconds.

        Raises:
            ValueError: no rows.
        """
        if not len(self):
            raise ValueError("an empty trajectory table has no time span")
        t = self.frame["t"].to_numpy()
        return float(t.min()), float(t.max())

    @property
    def one_recording(self) -> bool:
        """Whether no two rows are of different recordings; cheaper than counting names."""
        return _one_code(self.frame["recording"])

    def lanes(self, direction: int | None = None) -> list[str]:
        """Names of the lanes that have rows (of one direction), in natural order: "2" before "10"."""
        return self._names("lane", None if direction is None else self.frame["direction"].to_numpy() == direction)

    def between(self, start: float, end: float) -> "Trajectories":
        """The rows with start <= t < end, in seconds; fast for a table of one recording."""
        t = self.frame["t"].to_numpy()
        if self.one_recording:
            first, last = np.searchsorted(t, (start, end))
            return Trajectories(self.frame.iloc[first:last].reset_index(drop=True))
        return self.where((t >= start) & (t < end))

    def where(self, keep: np.ndarray) -> "Trajectories":
        """The rows at which a boolean array (len,) is set."""
        return Trajectories(self.frame[np.asarray(keep, dtype=bool)].reset_index(drop=True))

    def select(
        self,
        recording: str | None = None,
        direction: int | None = None,
        lanes: Iterable[str] | None = None,
        vehicles: Iterable[str] | None = None,
    ) -> "Trajectories":
        """The rows of a recording, a direction, some lanes, some vehicles; None takes all."""
        keep = np.ones(len(self), dtype=bool)
        if recording is not None:
            keep &= codes_in(self.frame["recording"], [recording])
        if direction is not None:
            keep &= self.frame["direction"].to_numpy() == direction
        if lanes is not None:
            keep &= codes_in(self.frame["lane"], lanes)
        if vehicles is not None:
            keep &= codes_in(self.frame["vehicle"], vehicles)
        return self.where(keep)

    def compact(self) -> "Trajectories":
        """The same rows, without the names of categories that have none: those of vehicles that left long ago."""
        names = {name: self.frame[name].cat.remove_unused_categories() for name in NAMES}
        return Trajectories(self.frame.assign(**names))

    def to_parquet(self, path: str | os.PathLike) -> None:
        """Write the table, atomically. It is read by `from_parquet` and the reader "parquet"."""
        with atomic_write(path) as file:
            self.frame.to_parquet(file, engine="pyarrow", index=False, row_group_size=1 << 18)

    @classmethod
    def from_parquet(cls, path: str | os.PathLike) -> "Trajectories":
        """Read a table that `to_parquet` wrote, whole.

        Raises:
            FileNotFoundError, ValueError: no such file; not such a table.
        """
        return cls.from_frame(pd.read_parquet(path, engine="pyarrow"))

    def _names(self, column: str, keep: np.ndarray | None = None) -> list[str]:
        codes = self.frame[column].cat.codes.to_numpy()
        present = np.unique(codes if keep is None else codes[keep])
        return sorted(self.frame[column].cat.categories[present], key=natural_key)


def concat(tables: Iterable[Trajectories]) -> Trajectories:
    """One table of several, sorted; of an iterator, in little more memory than that of the result.

    Raises:
        ValueError: two of them have a row for the same vehicle and instant.
    """
    columns = {name: _NameColumn() if name in NAMES else _Column(DTYPES[name]) for name in COLUMNS}
    for table in tables:
        for name, column in columns.items():
            column.append(table.frame[name])
    return Trajectories(_sorted(pd.DataFrame({name: column.taken() for name, column in columns.items()}, copy=False)))


class _Column:
    """A column that grows at its end, in place where the system can."""

    def __init__(self, dtype: str):
        self.size, self.values = 0, np.empty(0, dtype)

    def append(self, column: pd.Series) -> None:
        self._extend(column.to_numpy())

    def _extend(self, values: np.ndarray) -> None:
        end = self.size + len(values)
        if end > len(self.values):
            self.values.resize(end + end // 16, refcheck=False)
        self.values[self.size : end] = values
        self.size = end

    def taken(self) -> np.ndarray | pd.Categorical:
        """The column; nothing is left here."""
        values, self.values = self.values, self.values[:0]
        values.resize(self.size, refcheck=False)
        return values


class _NameColumn(_Column):
    """A column of names: codes as narrow as their number allows, and the names in the order in which they come."""

    def __init__(self) -> None:
        super().__init__("int8")
        self.places: dict[str, int] = {}

    def append(self, column: pd.Series) -> None:
        codes = [self.places.setdefault(name, len(self.places)) for name in column.cat.categories]
        dtype = np.min_scalar_type(-max(len(self.places), 1))
        if dtype != self.values.dtype:
            self.values = self.values.astype(dtype)
        self._extend(np.array(codes, dtype)[column.cat.codes.to_numpy()])

    def taken(self) -> pd.Categorical:
        names = pd.Index(list(self.places), dtype=str)
        return pd.Categorical.from_codes(super().taken(), names, validate=False)


def codes_in(column: pd.Series, names: Iterable[str]) -> np.ndarray:
    """(len,) bool: which rows of a category column hold one of the names; compares the few categories, not the rows."""
    if isinstance(names, str):
        names = [names]
    wanted = column.cat.categories.get_indexer([str(name) for name in names])
    return np.isin(column.cat.codes.to_numpy(), wanted[wanted >= 0])


def _typed(values: pd.Series, name: str) -> pd.Series:
    if name in NAMES:
        categories = values if isinstance(values.dtype, pd.CategoricalDtype) else values.astype("category")
        if categories.isna().any():
            row = int(np.flatnonzero(categories.isna())[0])
            raise DataError(f"trajectory table: {name} is missing in row {row}; every row needs one")
        if not all(isinstance(category, str) for category in categories.cat.categories):
            names = [_plain(category) for category in categories.cat.categories]
            distinct = sorted(set(names), key=names.index)  # 1 and "1" are one name
            codes = np.array([distinct.index(n) for n in names], dtype=int)[categories.cat.codes.to_numpy()]
            categories = pd.Series(pd.Categorical.from_codes(codes, distinct), name=name)
        return categories.reset_index(drop=True)
    try:
        numbers = pd.to_numeric(values).astype("float64").reset_index(drop=True)
    except (TypeError, ValueError) as error:
        raise DataError(f"trajectory table: column {name} holds something that is no number: {error}") from error
    if name == "direction":
        return numbers.where(np.abs(numbers) == 1, 0).astype("int8")
    return numbers.astype(DTYPES[name])


def _plain(name: object) -> str:
    """Numbers as names: pandas makes 3 of a column with gaps 3.0."""
    return str(int(name)) if isinstance(name, float) and name.is_integer() else str(name)


def _refuse(frame: pd.DataFrame, bad: np.ndarray, name: str, expected: str) -> None:
    if bad.any():
        row = frame.iloc[int(np.flatnonzero(bad)[0])]
        raise DataError(
            f"trajectory table: {name} is {row[name]} for vehicle {row['vehicle']} of recording "
            f"{row['recording']!r} at t = {row['t']} s, expected {expected} ({int(bad.sum())} such rows)"
        )


def _sorted(frame: pd.DataFrame) -> pd.DataFrame:
    """The frame sorted by recording, t and vehicle.

    Raises:
        ValueError: a vehicle has two rows at one instant.
    """
    if not _rises(*_sort_keys(frame)).all():
        frame = frame.iloc[np.lexsort(_sort_keys(frame)[::-1])]
        twice = ~_rises(*_sort_keys(frame))
        _refuse(frame, np.append(False, twice), "vehicle", "one row for each vehicle and instant")
    return frame.reset_index(drop=True)


def _sort_keys(frame: pd.DataFrame) -> tuple[np.ndarray, ...]:
    return frame["recording"].cat.codes.to_numpy(), frame["t"].to_numpy(), frame["vehicle"].cat.codes.to_numpy()


def _rises(recording: np.ndarray, t: np.ndarray, vehicle: np.ndarray) -> np.ndarray:
    """(N - 1,) bool: whether a row is before the next one, by recording, t and vehicle."""
    rises = vehicle[:-1] < vehicle[1:]
    for key in (t, recording):
        rises &= key[:-1] == key[1:]
        rises |= key[:-1] < key[1:]
    return rises


def _one_code(column: pd.Series) -> bool:
    codes = column.cat.codes.to_numpy()
    return not len(codes) or codes.min() == codes.max()
