"""Data of figures: curves, matrices and histograms as plain numbers, from which they are drawn again at any time.

    Lines         curves over one axis, with bands and marks: precision-recall, ROC, a metric over iterations
    Panels        several of them: losses of a training, errors of depth, size and heading over range
    Matrix        counts of two namings of the same things: a confusion matrix
    Histogram     counts over one axis, such as scores of good and of anomalous images with the threshold
    Reliability   share that is right against the score that was given, with the counts behind it

`figure_as_json` and `figure_of_json` are the form in files; `d2road.visualization.figure_drawing` draws them.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, ClassVar

import numpy as np

from d2road.utils.errors import DataError

Numbers = Sequence[float] | np.ndarray
Range = tuple[float, float] | None
DIGITS = 6  # significant ones in files
ITERATION = "iteration"  # an x axis of whole numbers


@dataclass(frozen=True)
class Series:
    """A curve: x and y of equal length, in the order in which they are joined; NaN leaves a gap.

    Args:
        low, high: a band around it, or None.
    Raises:
        DataError: columns of different lengths.
    """

    name: str
    x: Numbers
    y: Numbers
    low: Numbers | None = None
    high: Numbers | None = None

    def __post_init__(self) -> None:
        for name in ("x", "y", "low", "high"):
            column = getattr(self, name)
            object.__setattr__(self, name, None if column is None else _numbers(column, f"{self.name}: {name}"))
        lengths = {len(column) for column in (self.x, self.y, self.low, self.high) if column is not None}
        if len(lengths) != 1:
            raise DataError(f"curve {self.name!r} has columns of {sorted(lengths)} values, expected equal lengths")


@dataclass(frozen=True)
class Mark:
    """A named place on the x axis, such as a threshold."""

    name: str
    x: float


@dataclass(frozen=True)
class Lines:
    """Curves over one axis.

    Args:
        diagonal: what the line from corner to corner is called, "" for none.
        points: mark each point.
    """

    kind: ClassVar[str] = "lines"
    title: str
    x_label: str
    y_label: str
    series: Sequence[Series]
    x_range: Range = None
    y_range: Range = None
    diagonal: str = ""
    marks: Sequence[Mark] = ()
    points: bool = False


@dataclass(frozen=True)
class Panels:
    """Figures of lines in rows, over the same x axis."""

    kind: ClassVar[str] = "panels"
    title: str
    panels: Sequence[Lines]
    columns: int = 1


@dataclass(frozen=True)
class Matrix:
    """Counts (rows x columns), shaded by their share of the column.

    Raises:
        DataError: not as many rows and columns as names.
    """

    kind: ClassVar[str] = "matrix"
    title: str
    x_label: str
    y_label: str
    columns: Sequence[str]
    rows: Sequence[str]
    counts: Sequence[Numbers]

    def __post_init__(self) -> None:
        object.__setattr__(self, "counts", tuple(_numbers(row, self.title) for row in self.counts))
        if len(self.counts) != len(self.rows) or any(len(row) != len(self.columns) for row in self.counts):
            raise DataError(f"{self.title}: expected {len(self.rows)} rows of {len(self.columns)} counts")


@dataclass(frozen=True)
class Histogram:
    """Counts between edges, by name, of the same bins.

    Raises:
        DataError: not one count between each two edges.
    """

    kind: ClassVar[str] = "histogram"
    title: str
    x_label: str
    y_label: str
    edges: Numbers
    counts: Mapping[str, Numbers]
    marks: Sequence[Mark] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "edges", _numbers(self.edges, self.title))
        object.__setattr__(self, "counts", {name: _numbers(row, name) for name, row in self.counts.items()})
        if any(len(row) != len(self.edges) - 1 for row in self.counts.values()):
            raise DataError(f"{self.title}: expected {len(self.edges) - 1} counts between {len(self.edges)} edges")


@dataclass(frozen=True)
class Reliability:
    """Reliability diagram of scores between 0 and 1, by bins of equal width.

    Args:
        scores: mean score in each bin, NaN where it is empty.
        shares: share that is right in each bin, NaN where it is empty.
        counts: of each bin.
    """

    kind: ClassVar[str] = "reliability"
    title: str
    x_label: str
    y_label: str
    edges: Numbers
    scores: Numbers
    shares: Numbers
    counts: Numbers

    def __post_init__(self) -> None:
        for name in ("edges", "scores", "shares", "counts"):
            object.__setattr__(self, name, _numbers(getattr(self, name), name))
        if {len(self.scores), len(self.shares), len(self.counts)} != {len(self.edges) - 1}:
            raise DataError(f"{self.title}: expected a score, a share and a count between each two edges")


Figure = Lines | Panels | Matrix | Histogram | Reliability
KINDS: dict[str, type] = {kind.kind: kind for kind in (Lines, Panels, Matrix, Histogram, Reliability)}


def figure_as_json(figure: Figure) -> dict[str, Any]:
    """A figure as JSON holds it: "kind" and its fields, six digits of numbers, null for what is not finite."""
    return {"kind": figure.kind, **{field.name: _plain(getattr(figure, field.name)) for field in fields(figure)}}


def figure_of_json(raw: Any) -> Figure:
    """The figure of what `figure_as_json` gave.

    Raises:
        DataError: something else.
    """
    kind = KINDS.get(raw.get("kind", "")) if isinstance(raw, Mapping) else None
    if kind is None:
        raise DataError(f"no figure of a known kind ({', '.join(KINDS)}): was it written by a newer version?")
    values = {key: value for key, value in raw.items() if key != "kind"}
    try:
        if kind is Panels:
            values["panels"] = tuple(figure_of_json(panel) for panel in values["panels"])
        if kind is Lines:
            values["series"] = tuple(Series(**row) for row in values["series"])
        if "marks" in values:
            values["marks"] = tuple(Mark(**mark) for mark in values["marks"])
        for name in ("x_range", "y_range"):
            if values.get(name) is not None:
                low, high = _numbers(values[name], name)
                values[name] = (low, high)
        return kind(**values)
    except (TypeError, KeyError, AttributeError, ValueError) as error:
        raise DataError(f"figure of kind {raw['kind']!r} cannot be read: {error}") from error


def _numbers(values: Any, where: str) -> tuple[float, ...]:
    """Plain floats; None, as JSON has it, is NaN."""
    try:
        return tuple(math.nan if value is None else float(value) for value in values)
    except (TypeError, ValueError) as error:
        raise DataError(f"{where}: expected a list of numbers ({error})") from error


def _plain(value: Any) -> Any:
    if isinstance(value, bool) or value is None or isinstance(value, str):
        return value
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (tuple, list)):
        return [_plain(item) for item in value]
    if hasattr(type(value), "__dataclass_fields__"):
        if isinstance(value, tuple(KINDS.values())):
            return figure_as_json(value)
        return {field.name: _plain(getattr(value, field.name)) for field in fields(value)}
    number = float(value)
    if not math.isfinite(number):
        return None
    short = float(f"{number:.{DIGITS}g}")
    return int(short) if short.is_integer() and abs(short) < 1e15 else short
