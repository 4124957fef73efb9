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
    "gap": "kept; an image shows the vehicle as missing",
    "unknown lane": "kept where their position is known, else dropped",
    "off the road": "rows dropped",
    "no speed": "single samples without neighbours to take a speed from, dropped",
    "assumed length": "length taken from the class",
    "units": "kept; the unit of the column is probably another one",
    "cut off": "the file ends in the middle; complete rows kept",
}
# Those of rows that are left out.
DROPPED = (
    *("not a number", "ragged row", "persons and containers", "duplicate row", "time backwards", "time leap"),
    *("unknown lane", "off the road", "no speed"),
)
EXAMPLES = 5
MAX_SPEED, MAX_LENGTH, MAX_WIDTH, MAX_ACCELERATION = 100.0, 50.0, 4.0, 50.0  # m/s, m, m, m/s^2
USUAL_LENGTH = (1.5, 12.0)  # m, of the median vehicle; a car's in feet, or its metres taken for feet, is outside
# Of speed against change of position. Feet for metres is 3.28, km/h for m/s 3.6, mph 2.24.
MAX_RATIO = 1.6
# So many rows say what a source's usual values are.
SAMPLE = 20000


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
    """

    rows: int = 0
    wrong: int = 0
    counts: Counter = field(default_factory=Counter)
    examples: dict[str, list[Example]] = field(default_factory=dict)

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
        """Lines for people: each kind, how often, what was done, and the first rows."""
        lines = [f"{self.rows} rows read"]
        for kind, count in self.counts.most_common():
            lines.append(f"{kind}: {count} ({PROBLEM_KINDS[kind]})")
            lines += [f"    {example}" for example in self.examples[kind]]
        return "\n".join(lines)

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


class UnitCheck:
    """Values that no vehicle has; and, once enough rows are known, whether speeds fit the changes of position."""

    def __init__(self, file: str, problems: QualityReport):
        self.file, self.problems = file, problems
        self.speeds: list[np.ndarray] = []
        self.rates: list[np.ndarray] = []
        self.lengths: list[np.ndarray] = []
        self.rows = 0
        self.first_row = 1
        self.checked = False

    def add(self, frame: pd.DataFrame, rate: np.ndarray) -> None:
        """Check rows; `rate` is the change of s in m/s, NaN where unknown."""
        beyond = np.zeros(len(frame), dtype=bool)
        what = np.full(len(frame), "", dtype=object)
        for name, most, unit in (
            ("speed", MAX_SPEED, "m/s"),
            ("length", MAX_LENGTH, "m"),
            ("width", MAX_WIDTH, "m"),
            ("acceleration", MAX_ACCELERATION, "m/s^2"),
        ):
            values = np.abs(frame[name].to_numpy(dtype=float))
            over = values > most
            what[over & ~beyond] = [f"{name} is {v:g} {unit}, above {most:g}" for v in values[over & ~beyond]]
            beyond |= over
        what = what[beyond]
        self.problems.add("units", self.file, frame["row"].to_numpy()[beyond], lambda i: what[i], wrong=True)
        if self.checked or not len(frame):
            return
        if not self.rows:
            self.first_row = int(frame["row"].iloc[0])
        # Rows that are counted already say nothing of the others.
        self.rows += int((~beyond).sum())
        known = np.isfinite(rate) & ~beyond
        self.speeds.append(np.abs(frame["speed"].to_numpy(dtype=float)[known]))
        self.rates.append(np.abs(rate[known]))
        self.lengths.append(frame["length"].to_numpy(dtype=float)[~beyond])
        if self.rows >= SAMPLE:
            self.check_medians()

    def check_medians(self) -> None:
        """Judge the first rows by their medians: lengths, and speeds against changes of position; once."""
        if self.checked or not self.rows:
            return
        self.checked = True
        length = float(np.median(np.concatenate(self.lengths)))
        if not USUAL_LENGTH[0] <= length <= USUAL_LENGTH[1]:
            text = f"the median length is {length:.3g} m, expected {USUAL_LENGTH[0]:g} to {USUAL_LENGTH[1]:g}"
            self._all_wrong(text)
            return
        speeds, rates = np.concatenate(self.speeds), np.concatenate(self.rates)
        moving = (speeds > 1) & (rates > 1)
        if moving.sum() < 20:
            return
        ratio = float(np.median(speeds[moving] / rates[moving]))
        if not 1 / MAX_RATIO < ratio < MAX_RATIO:
            text = (
                f"speed is {ratio:.2f} times the change of s per second, the median of {int(moving.sum())} rows from "
                "here on: one of them is in other units, or t is"
            )
            self._all_wrong(text)

    def _all_wrong(self, text: str) -> None:
        self.problems.add("units", self.file, [self.first_row], text, wrong=True, count=self.rows)


class GapCheck:
    """Vehicles that are missing for longer than usual between two of their rows; frames come in order of time."""

    def __init__(self, file: str, problems: QualityReport):
        self.file, self.problems = file, problems
        self.interval: float | None = None
        self.last: dict[str, float] = {}

    def add(self, frame: pd.DataFrame) -> None:
        """Check rows that are sorted by t."""
        vehicle = frame["vehicle"].astype("category")
        codes, names = vehicle.cat.codes.to_numpy(), vehicle.cat.categories
        order = np.argsort(codes, kind="stable")
        t, row, codes = frame["t"].to_numpy()[order], frame["row"].to_numpy()[order], codes[order]
        if not len(t):
            return
        begins = np.append(True, codes[1:] != codes[:-1])
        step = np.diff(t, prepend=t[0])
        first = np.flatnonzero(begins)
        step[first] = t[first] - np.array([self.last.get(names[c], np.nan) for c in codes[first]])
        if self.interval is None and (~begins).any():
            self.interval = float(np.median(step[~begins]))
        ends = np.append(first[1:], len(t)) - 1
        now = float(t.max())
        # Vehicles that left long ago are forgotten: a name that comes back is another vehicle.
        self.last = {v: at for v, at in self.last.items() if at > now - 300}
        self.last.update({names[codes[e]]: float(t[e]) for e in ends})
        if self.interval is None:
            return
        gap = np.flatnonzero(step > 1.5 * self.interval)

        def text(i: int) -> str:
            return f"vehicle {names[codes[gap[i]]]} is missing for the {step[gap[i]]:.3g} s before"

        self.problems.add("gap", self.file, row[gap], text)
