"""What every reader of trajectories does: order, check and complete the rows that a format's part yields."""

import inspect
import logging
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict
from urllib.parse import parse_qsl

import numpy as np
import pandas as pd

from d2road.traffic.data_quality import NOTES, QualityReport, drop_duplicates, drop_not_numbers
from d2road.traffic.quality_checks import GapCheck, UnitCheck
from d2road.traffic.readers.axis import Road
from d2road.traffic.readers.facing import Facing
from d2road.traffic.readers.kinematics import add_kinematics, with_neighbours
from d2road.traffic.readers.ordering import chunks_of_ordered, in_order
from d2road.traffic.table import Trajectories, concat
from d2road.traffic.vehicle_lengths import length_of_class
from d2road.utils.errors import ConfigError, DataError
from d2road.utils.registry import Registry

logger = logging.getLogger(__name__)

READERS = Registry("trajectory reader")
SUFFIXES = {".xml": "fcd", ".parquet": "parquet", ".csv": "csv"}
UNKNOWN = "unknown"


class CommonOptions(TypedDict, total=False):
    """Options of all readers but `smooth`, see `Source`."""

    recording: str
    start: float
    end: float
    limit: float
    memory_rows: int


class SourceOptions(CommonOptions, total=False):
    """Options of all readers, see `Source`."""

    smooth: float


@dataclass(frozen=True)
class Part:
    """One recording in one file.

    Attributes:
        blocks: gives frames with "row" (line of the file), "vehicle", "t", "s" and what there is of the table's other
            columns; "unsigned_speed" for a speed without direction, which takes that of the change of s, and with it
            an acceleration along the motion; "turned_s" and "turned_direction" as facing.Facing takes them.
        ordered: t never falls from row to row.
    """

    file: Path
    recording: str
    blocks: Callable[[], Iterable[pd.DataFrame]]
    ordered: bool = False


class Source:
    """Trajectories of a file or folder. A reader inherits from this and gives `parts`.

    Args:
        path: file, or folder where the format has several files.
        recording: name; "" takes the file's.
        start, end: seconds; rows before and from there on are left out.
        limit: share of wrong rows, after which the source is given up.
        smooth: seconds of the Savitzky-Golay filter over positions; 0 is none.
        memory_rows: rows to sort in memory, where a file is not in order of time; more go through temporary files.
    Raises:
        FileNotFoundError: nothing there.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        recording: str = "",
        start: float = -np.inf,
        end: float = np.inf,
        limit: float = 0.2,
        smooth: float = 0.0,
        memory_rows: int = 4_000_000,
    ):
        self.path = Path(path)
        if not self.path.exists():
            raise FileNotFoundError(f"{self.path} does not exist: trajectories are read from there")
        self.recording, self.start, self.end = recording, start, end
        self.limit, self.smooth, self.memory_rows = limit, smooth, memory_rows
        self.problems = QualityReport()
        # Whether s is the start of a segment of the road, so that its changes tell no speeds.
        self.by_segment = False
        self.resumed = False  # rows before the first one were read earlier: there may be no more

    def parts(self) -> Iterator[Part]:
        """The recordings, in the order in which they are read."""
        raise NotImplementedError

    def chunks(self, seconds: float = 60.0) -> Iterator[Trajectories]:
        """The table in pieces of so many seconds, recording after recording, each in order of time.

        Memory is that of some chunks. `problems` is complete, and logged, at the end.

        Raises:
            ValueError: too many rows are wrong, none is left, or a file is not what its reader reads.
        """
        if not seconds > 0:
            raise ValueError(f"chunks of {seconds} s: expected more than 0")
        self.problems = QualityReport()
        for part in self.parts():
            yield from self._chunks_of(part, seconds)
            self.problems.raise_above(self.limit)
        if not self.problems.rows:
            raise DataError(f"{self.path} holds no rows of trajectories")
        if not self.problems.kept and not self.resumed:
            raise DataError(f"{self.path}: no row is left. {self.problems.reasons()}\n{self.problems.report()}")
        level = logging.WARNING if self.problems.counts.keys() - NOTES else logging.INFO
        logger.log(level, "%s: %s", self.path, self.problems.report())

    def table(self) -> Trajectories:
        """All of it in memory."""
        return concat(self.chunks())

    def on_road(self, frame: pd.DataFrame, off: np.ndarray, file: str, points: np.ndarray, road: Road) -> pd.DataFrame:
        """The rows of a block that are on the road; the others, (len,) bool, are counted. points: (len, 2), x and y."""
        self.problems.rows += int(off.sum())
        if off.any():
            self.problems.note_positions(points)
            self.problems.hints["axis"] = road.describe()
        self.problems.add("off the road", file, frame["row"].to_numpy()[off], "beside the road or beyond its axis")
        return frame[~off]

    def _chunks_of(self, part: Part, seconds: float) -> Iterator[Trajectories]:
        name, problems = part.file.name, self.problems
        blocks = self._checked(part)
        if not part.ordered:
            blocks = in_order(blocks, self.memory_rows)
        units, gaps = UnitCheck(name, problems), GapCheck(name, problems)
        pieces = (drop_duplicates(chunk, name, problems) for chunk in chunks_of_ordered(blocks, seconds))
        # Half of the filter, and some samples for differences of differences.
        margin = self.smooth / 2 + 2.0
        facing = Facing()
        for chunk in with_neighbours(pieces, self._with_kinematics, margin):
            chunk = facing.turned(self._complete(chunk, part))
            gaps.add(chunk)
            rate = chunk["rate"].to_numpy()
            units.add(chunk, np.full(len(rate), np.nan) if self.by_segment else rate)
            if problems.rows > 10000:
                problems.raise_above(self.limit)
            if len(chunk):
                problems.kept += len(chunk)
                yield Trajectories.from_frame(chunk)
        units.check_medians()

    def _checked(self, part: Part) -> Iterator[pd.DataFrame]:
        """Blocks without what cannot be a row; of a file in order of time, without what is late."""
        name, latest = part.file.name, -np.inf
        last_of: dict[str, float] = {}
        for block in part.blocks():
            self.problems.rows += len(block)
            numbers = ["t", "s", *block.columns.intersection(["speed", "unsigned_speed"])]
            block = drop_not_numbers(block, numbers, name, self.problems)
            block = self._named(block, name)
            t = block["t"].to_numpy()
            if part.ordered and len(t):
                late = t < np.maximum.accumulate(np.append(latest, t))[:-1]
                self._count_late(name, block, late, wrong=True)
                latest = max(latest, t.max())
                block = block[~late]
            elif len(t):
                self._count_late(name, block, _falls(block, last_of), wrong=False)
            t = block["t"].to_numpy()
            if self.start > -np.inf or self.end < np.inf:
                keep = (t >= self.start) & (t < self.end)
                self.problems.note_times(t[~keep])
                block = block[keep]
                if part.ordered and len(t) and t[0] >= self.end:
                    return
            if len(block):
                yield block

    def _named(self, block: pd.DataFrame, file: str) -> pd.DataFrame:
        """Rows with a vehicle; lanes and classes that are missing get a name."""
        nameless = block["vehicle"].isna().to_numpy()
        if nameless.any():
            rows = block["row"].to_numpy()[nameless]
            self.problems.add("not a number", file, rows, "the vehicle has no name", wrong=True)
            block = block[~nameless]
        if "lane" in block and block["lane"].isna().any():
            rows = block["row"].to_numpy()[block["lane"].isna()]
            self.problems.add("unknown lane", file, rows, "no lane")
            block = block.assign(lane=block["lane"].astype(object).fillna(UNKNOWN).astype("category"))
        if "cls" in block and block["cls"].isna().any():
            block = block.assign(cls=block["cls"].astype(object).fillna("vehicle").astype("category"))
        return block

    def _count_late(self, name: str, block: pd.DataFrame, late: np.ndarray, wrong: bool) -> None:
        if late.any():
            rows = block[late]

            def text(i: int) -> str:
                return f"t = {rows['t'].iloc[i]:g} s of vehicle {rows['vehicle'].iloc[i]} after a later one"

            self.problems.add("time backwards", name, rows["row"].to_numpy(), text, wrong=wrong)

    def _with_kinematics(self, frame: pd.DataFrame) -> pd.DataFrame:
        there = {name for name in ("speed", "unsigned_speed", "acceleration") if name in frame.columns}
        return add_kinematics(frame, self.smooth, there)

    def _complete(self, frame: pd.DataFrame, part: Part) -> pd.DataFrame:
        """Fill in what the source does not tell."""
        defaults = {"cls": "vehicle", "lane": "1", "direction": 1, "width": np.nan, "length": np.nan}
        missing = {name: value for name, value in defaults.items() if name not in frame.columns}
        frame = frame.assign(recording=part.recording, **missing)
        alone = ~np.isfinite(frame["speed"].to_numpy(dtype=float))
        if alone.any():
            rows = frame["row"].to_numpy()[alone]
            self.problems.add("no speed", part.file.name, rows, "a single sample of its vehicle")
            frame = frame[~alone]
        frame = self._with_lengths(frame, part.file.name)
        # Sources write 0 for what they have not measured.
        width = frame["width"].to_numpy(dtype=float)
        return frame.assign(width=np.where(width > 0, width, np.nan)).reset_index(drop=True)

    def _with_lengths(self, frame: pd.DataFrame, file: str) -> pd.DataFrame:
        """A length for every row; "assumed" says which are the class's."""
        length = frame["length"].to_numpy(dtype=float)
        unknown = ~(length > 0)
        if not unknown.any():
            return frame.assign(assumed=False)
        cls = frame["cls"].astype("category")
        codes, names = cls.cat.codes.to_numpy(), [str(name) for name in cls.cat.categories]
        usual = np.array([length_of_class(name) for name in names])
        # Of each class once, not of row after row.
        told = {example.text for example in self.problems.examples.get("assumed length", ())}
        first = [int(np.flatnonzero(unknown & (codes == code))[0]) for code in np.unique(codes[unknown])]
        texts = [f"{names[codes[i]]}: {usual[codes[i]]:g} m" for i in first]
        new = [k for k in range(len(first)) if texts[k] not in told]
        rows = frame["row"].to_numpy()[[first[k] for k in new]]
        self.problems.add("assumed length", file, rows, lambda i: texts[new[i]], count=int(unknown.sum()))
        return frame.assign(length=np.where(unknown, usual[codes], length), assumed=unknown)


def _falls(block: pd.DataFrame, last_of: dict[str, float]) -> np.ndarray:
    """(len,) bool: rows that are earlier than the row of the same vehicle before them in the file."""
    vehicle = block["vehicle"].astype("category")
    codes, names = vehicle.cat.codes.to_numpy(), vehicle.cat.categories
    order = np.argsort(codes, kind="stable")
    codes, t = codes[order], block["t"].to_numpy()[order]
    first = np.flatnonzero(np.append(True, codes[1:] != codes[:-1]))
    step = np.diff(t, prepend=t[0])
    step[first] = [t[i] - last_of.get(names[codes[i]], -np.inf) for i in first]
    last_of.update({names[codes[i]]: t[i] for i in np.append(first[1:], len(t)) - 1})
    late = np.zeros(len(t), dtype=bool)
    late[order] = step < 0
    return late


def open_trajectories(spec: str | Path, **options: object) -> Source:
    """A source by its name.

    Args:
        spec: "READER:PATH", "READER:PATH?OPTION=VALUE&OPTION=VALUE", or a path whose suffix tells the reader (.xml and
            .xml.gz is fcd, .parquet, .csv).
        options: as in the spec; these win.
    Raises:
        ValueError: unknown reader or option; lists the known ones.
        FileNotFoundError: nothing there.
    """
    name, path, given = split_spec(str(spec))
    reader: type[Source] = READERS.get(name)
    known = _options_of(reader)
    values = {}
    for key, text in (given | options).items():
        if key not in known:
            raise ConfigError(f"reader {name!r} has no option {key!r}; it has {', '.join(sorted(known))}")
        values[key] = _converted(name, key, text, known[key])
    make: Callable[..., Source] = reader  # each reader has options of its own, checked above
    return make(path, **values)


def split_spec(spec: str) -> tuple[str, str, dict[str, str]]:
    """Reader, path and options of a spec; the reader of a bare path comes from its suffix.

    Raises:
        ValueError: no reader can be told.
    """
    body, _, query = spec.partition("?")
    given = dict(parse_qsl(query, keep_blank_values=True, separator="&"))
    name, colon, path = body.partition(":")
    # A single letter is a Windows drive, not a reader.
    if colon and len(name) > 1 and "/" not in name:
        return name, path, given
    suffixes = [s for s in Path(body).suffixes if s != ".gz"]
    if not suffixes or suffixes[-1] not in SUFFIXES:
        raise ConfigError(
            f"{spec!r} does not say how to read it: use READER:PATH with one of {', '.join(READERS.names())}"
        )
    return SUFFIXES[suffixes[-1]], body, given


def _options_of(reader: type[Source]) -> dict[str, object]:
    """Keyword-only arguments of a reader and those it inherits, with defaults."""
    options: dict[str, object] = {}
    for cls in reversed(reader.__mro__):
        if "__init__" in vars(cls) and cls is not object:
            parameters = inspect.signature(vars(cls)["__init__"]).parameters.values()
            options |= {p.name: p.default for p in parameters if p.kind is p.KEYWORD_ONLY}
    return options


def _converted(reader: str, key: str, value: object, default: object) -> object:
    """An option's text as the type of its default."""
    if not isinstance(value, str) or not isinstance(default, (bool, int, float)):
        return value
    try:
        if isinstance(default, bool):
            return {"1": True, "true": True, "yes": True, "0": False, "false": False, "no": False}[value.lower()]
        return type(default)(value)
    except (KeyError, ValueError) as error:
        raise ConfigError(f"reader {reader!r}: {key} is {value!r}, expected {type(default).__name__}") from error
