"""Checks of rows in order of time: units, signs, and tracks that are torn; what they find goes to a QualityReport."""

from functools import partial

import numpy as np
import pandas as pd

from d2road.traffic.continuity import is_reachable
from d2road.traffic.data_quality import QualityReport

MAX_SPEED, MAX_LENGTH, MAX_WIDTH, MAX_ACCELERATION = 100.0, 50.0, 4.0, 50.0  # m/s, m, m, m/s^2
USUAL_LENGTH = (1.5, 12.0)  # m, of the median vehicle; a car's in feet, or its metres taken for feet, is outside
# Of speed against change of position. Feet for metres is 3.28, km/h for m/s 3.6, mph 2.24.
MAX_RATIO = 1.6
# So many rows say what a source's usual values are.
SAMPLE = 20000


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
        # A train has the length of its class, which is no slip of units.
        assumed = frame["assumed"].to_numpy(dtype=bool)
        self._check_signs(frame, rate)
        what = np.full(len(frame), "", dtype=object)
        for name, most, unit in (
            ("speed", MAX_SPEED, "m/s"),
            ("length", MAX_LENGTH, "m"),
            ("width", MAX_WIDTH, "m"),
            ("acceleration", MAX_ACCELERATION, "m/s^2"),
        ):
            values = np.abs(frame[name].to_numpy(dtype=float))
            over = values > most
            if name == "length":
                over &= ~assumed
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
        self.lengths.append(frame["length"].to_numpy(dtype=float)[~beyond & ~assumed])
        if self.rows >= SAMPLE:
            self.check_medians()

    def check_medians(self) -> None:
        """Judge the first rows by their medians: lengths, and speeds against changes of position; once."""
        if self.checked or not self.rows:
            return
        self.checked = True
        lengths = np.concatenate(self.lengths)
        length = float(np.median(lengths)) if len(lengths) else np.nan
        if len(lengths) and not USUAL_LENGTH[0] <= length <= USUAL_LENGTH[1]:
            text = f"the median length is {length:.3g} m, expected {USUAL_LENGTH[0]:g} to {USUAL_LENGTH[1]:g}"
            self._all_wrong(text)
            return
        speeds, rates = np.concatenate(self.speeds), np.concatenate(self.rates)
        # Also rows whose position hardly changes: degrees and kilometres do not.
        moving = (speeds > 1) | (rates > 5)
        if moving.sum() < 20:
            return
        ratio = float(np.median(speeds[moving] / np.maximum(rates[moving], 1e-9)))
        if not 1 / MAX_RATIO < ratio < MAX_RATIO:
            text = (
                f"speed is {ratio:.{2 if ratio < 100 else 0}f} times the change of s per second, the median of "
                f"{int(moving.sum())} rows from here on: one of them is in other units, or t is"
            )
            if ratio > 100:
                text += "; s may be in kilometres, or in degrees of longitude or latitude"
            self._all_wrong(text)

    def _check_signs(self, frame: pd.DataFrame, rate: np.ndarray) -> None:
        """Speeds that are against the change of position."""
        speed = frame["speed"].to_numpy(dtype=float)
        size, change = np.abs(speed), np.abs(rate)
        against = (speed * rate < 0) & (size > 2) & (change > size / MAX_RATIO) & (change < size * MAX_RATIO)
        if against.any():
            speed, rate = speed[against], rate[against]
            rows = frame["row"].to_numpy()[against]
            text = partial(_sign_text, speed, rate)
            self.problems.add("sign", self.file, rows, text, wrong=True)

    def _all_wrong(self, text: str) -> None:
        self.problems.add("units", self.file, [self.first_row], text, wrong=True, count=self.rows)


def _sign_text(speed: np.ndarray, rate: np.ndarray, i: int) -> str:
    return f"speed is {speed[i]:.3g} m/s where s changes by {rate[i]:.3g} m/s"


class GapCheck:
    """Tracks that end and begin again; frames come in order of time.

    A vehicle is missing for longer than usual between two of its rows, or further on than it can have driven.
    """

    def __init__(self, file: str, problems: QualityReport):
        self.file, self.problems = file, problems
        self.interval: float | None = None
        # Of each vehicle: t, s, speed and direction.
        self.last: dict[str, np.ndarray] = {}

    def add(self, frame: pd.DataFrame) -> None:
        """Check rows that are sorted by t."""
        if not len(frame):
            return
        vehicle = frame["vehicle"].astype("category")
        codes, names = vehicle.cat.codes.to_numpy(), vehicle.cat.categories
        order = np.argsort(codes, kind="stable")
        row, codes = frame["row"].to_numpy()[order], codes[order]
        here = frame[["t", "s", "speed", "direction"]].to_numpy(dtype=float)[order]
        begins = np.append(True, codes[1:] != codes[:-1])
        first = np.flatnonzero(begins)
        before = np.roll(here, 1, axis=0)
        unknown = np.full(4, np.nan)
        before[first] = [self.last.get(names[c], unknown) for c in codes[first]]
        step = here[:, 0] - before[:, 0]
        if self.interval is None and (~begins).any():
            self.interval = float(np.median(step[~begins]))
        ends = np.append(first[1:], len(here)) - 1
        now = float(here[:, 0].max())
        # Vehicles that left long ago are forgotten: a name that comes back is another vehicle.
        self.last = {v: at for v, at in self.last.items() if at[0] > now - 300}
        self.last.update({names[codes[e]]: here[e] for e in ends})
        if self.interval is None:
            return
        late = step > 1.5 * self.interval
        speeds = np.stack([before[:, 2], here[:, 2]])
        moved = here[:, 1] - before[:, 1]
        jump = ~is_reachable(step, moved, speeds.min(0), speeds.max(0)) & (here[:, 3] == before[:, 3]) & (step > 0)
        gap = np.flatnonzero(late | jump)

        def text(i: int) -> str:
            name, seconds = names[codes[gap[i]]], step[gap[i]]
            if late[gap[i]]:
                return f"vehicle {name} is missing for the {seconds:.3g} s before"
            return f"vehicle {name} is {moved[gap[i]]:.4g} m from where it was {seconds:.3g} s before"

        self.problems.add("gap", self.file, row[gap], text)
