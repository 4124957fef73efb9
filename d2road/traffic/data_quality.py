"""What is wrong with a source of trajectories: counted, with file and row, and fatal past a limit."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from d2road.utils.errors import DataError

# What is done about each kind of problem.
PROBLEM_KINDS = {
    "not a number": "rows dropped",
    "ragged row": "rows with too few or too many fields dropped",
    "persons and containers": "left out; vehicles alone are read",
    "duplicate row": "later row of the same vehicle and instant dropped",
    "time backwards": "rows of a file in order of time dropped; of others, sorted",
    "time leap": "rows of a single instant far from those around it dropped",
    "gap": "missing for a time, or further on than it can have driven: kept; nothing is drawn in between",
    "unknown lane": "kept where their position is known, else dropped",
    "off the road": "rows dropped",
    "no speed": "single samples without neighbours to take a speed from, dropped",
    "assumed length": "no length there: the usual one of the class is taken",
    "sign": "kept; speed rises in the direction in which s does: give speeds a sign, or rows a direction",
    "units": "kept; the unit of the column is probably another one",
    "cut off": "the file ends in the middle; complete rows kept",
}
# Those of rows that are left out.
DROPPED = (
    *("not a number", "ragged row", "persons and containers", "duplicate row", "time backwards", "time leap"),
    *("unknown lane", "off the road", "no speed"),
)
NOTES = {"assumed length"}  # usual, and no fault of the data
EXAMPLES = 5


@dataclass(frozen=True)
class Example:
    """A row that shows a problem; row counts lines of the file, the first is 1."""

    file: str
    row: int
    text: str

    def __str__(self) -> str:
        return f"{self.file}, row {self.row}: {self.text}"


@dataclass
class QualityReport:
    """Counts and first examples by kind.

    Attributes:
        rows: all rows that were read.
        wrong: rows that were dropped or are of a wrong unit: if they are too many, the source is not what it is
            taken for.
        kept: rows of the table.
        left_out: names of what was left out (edges, classes), and how many rows of each, by what they are.
        hints: what else there is to say.
    """

    rows: int = 0
    wrong: int = 0
    kept: int = 0
    counts: Counter = field(default_factory=Counter)
    examples: dict[str, list[Example]] = field(default_factory=dict)
    left_out: dict[str, Counter] = field(default_factory=dict)
    hints: dict[str, str] = field(default_factory=dict)
    positions: np.ndarray | None = None  # (2, 2) lowest and highest x and y
    times: np.ndarray | None = None  # (2,) first and last of those left out

    def add(
        self,
        kind: str,
        file: str,
        rows: Sequence[int],
        text: str | Callable[[int], str],
        wrong: bool = False,
        count: int | None = None,
    ) -> None:
        """Count a problem of some rows.

        Args:
            kind: of PROBLEM_KINDS.
            rows: lines in the file.
            text: what is wrong; or a function that tells it of rows[i] by i.
            wrong: they count against the limit.
            count: rows concerned, where they are more than `rows`.
        """
        assert kind in PROBLEM_KINDS, kind
        count = len(rows) if count is None else count
        if not count:
            return
        self.counts[kind] += count
        self.wrong += count * wrong
        kept = self.examples.setdefault(kind, [])
        for i in range(min(EXAMPLES - len(kept), len(rows))):
            kept.append(Example(file, int(rows[i]), text(i) if callable(text) else text))

    def report(self) -> str:
        """Lines for people: each kind, how often, what was done, and the first rows; what is no problem as a note."""
        kinds = [(kind, count) for kind, count in self.counts.most_common() if kind not in NOTES]
        lines = [f"{self.rows} rows read"]
        for kind in NOTES & self.counts.keys():
            texts = dict.fromkeys(example.text for example in self.examples[kind])
            lines.append(f"note: {kind} of {self.counts[kind]} rows ({PROBLEM_KINDS[kind]}): {', '.join(texts)}")
        for kind, count in kinds:
            lines.append(f"{kind}: {count} ({PROBLEM_KINDS[kind]})")
            lines += [f"    {example}" for example in self.examples[kind]]
        lines += [f"{what} left out: {_listed(names)}" for what, names in self.left_out.items()]
        return "\n".join([*lines, *self.hints.values()])

    def leave_out(self, what: str, names: Sequence[str] | np.ndarray) -> None:
        """Count rows that are left out by the edge, class, ... that they are of; names: one for each row."""
        self.left_out.setdefault(what, Counter()).update(map(str, names))

    def note_positions(self, points: np.ndarray) -> None:
        """Take points (N, 2) into the range of positions, for messages."""
        points = points[np.isfinite(points).all(1)]
        if len(points):
            both = np.stack([points.min(0), points.max(0)])
            held = both if self.positions is None else self.positions
            self.positions = np.stack([np.minimum(both[0], held[0]), np.maximum(both[1], held[1])])

    def note_times(self, t: np.ndarray) -> None:
        """Take instants that are left out into the range that is told, should none be left."""
        if len(t):
            held = (t.min(), t.max()) if self.times is None else self.times
            self.times = np.array([min(t.min(), held[0]), max(t.max(), held[1])])

    def reasons(self) -> str:
        """Why no row may be left: what the file has, and where."""
        parts = [f"The file has the {what} {_listed(names)}." for what, names in self.left_out.items()]
        if self.positions is not None:
            (x0, y0), (x1, y1) = self.positions
            parts.append(f"Its positions are x {x0:.10g} to {x1:.10g}, y {y0:.10g} to {y1:.10g}.")
            parts += [self.hints["axis"]] if "axis" in self.hints else []
        if self.times is not None:
            parts.append(f"t is {self.times[0]:g} to {self.times[1]:g} s: none of it is between start and end.")
        return " ".join(parts)

    def as_dict(self) -> dict:
        """For JSON: {"rows": ..., "wrong": ..., "kinds": {kind: {"count": ..., "examples": [...]}}}."""
        kinds = {k: {"count": n, "examples": [str(e) for e in self.examples[k]]} for k, n in self.counts.items()}
        return {"rows": self.rows, "wrong": self.wrong, "kinds": kinds}

    def raise_above(self, limit: float) -> None:
        """Give up on a source most of which is wrong.

        Raises:
            ValueError: more than this share of the rows is wrong; with the report.
        """
        if self.rows and self.wrong > limit * self.rows:
            raise DataError(
                f"{self.wrong} of {self.rows} rows are wrong, more than the share of {limit:g} that `limit` allows; "
                f"check reader, columns and units.\n{self.report()}"
            )


def _listed(names: Counter, most: int = 20) -> str:
    """Names and how many rows of each, the most frequent first."""
    text = ", ".join(f"{name} ({count} rows)" for name, count in names.most_common(most))
    return text + (f" and {len(names) - most} more" if len(names) > most else "")


def drop_not_numbers(frame: pd.DataFrame, names: Sequence[str], file: str, problems: QualityReport) -> pd.DataFrame:
    """The rows at which all columns `names` are finite; the others are counted."""
    finite = np.isfinite(frame[list(names)].to_numpy(dtype=float, na_value=np.nan))
    bad = ~finite.all(axis=1)
    if not bad.any():
        return frame
    finite = finite[bad]

    def text(i: int) -> str:
        return ", ".join(name for name, ok in zip(names, finite[i]) if not ok) + " is missing or no number"

    problems.add("not a number", file, frame["row"].to_numpy()[bad], text, wrong=True)
    return frame[~bad]


def drop_duplicates(frame: pd.DataFrame, file: str, problems: QualityReport) -> pd.DataFrame:
    """One row for each vehicle and instant, the first in the file; frame is sorted by t and row."""
    bad = frame.duplicated(["vehicle", "t"]).to_numpy()
    if not bad.any():
        return frame
    again = frame[bad]

    def text(i: int) -> str:
        return f"vehicle {again['vehicle'].iloc[i]} at t = {again['t'].iloc[i]:g} s again"

    problems.add("duplicate row", file, again["row"].to_numpy(), text, wrong=True)
    return frame[~bad]
