"""What a calibration keeps of its good traffic, to tell by it whether a stream still looks like that.

Two quantities of each window are kept: its score, and the mean speed of its vehicles. Each is ranked among the windows
of nearest density, so that an hour of day alone is no drift, and averaged over blocks of 5 minutes, since windows that
overlap and vehicles that follow each other tell one thing many times. `drift_watch` compares blocks.

Letters: N windows, B blocks, Q quantities.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from d2road.traffic.baselines.usual_values import UsualValues
from d2road.traffic.time_space.traffic_window import TrafficWindow
from d2road.utils.errors import DataError
from d2road.utils.values import as_integer, as_list, number_rows
from d2road.utils.values import field as value_of

VERSION = 1
QUANTITIES = ("score", "speed")
BLOCK_S = 300.0
HALF_S = 3600.0  # of one half of a calibration before the other one goes on
LEAST_BLOCKS = 40  # of a calibration; fewer could never pay enough
MOST_WINDOWS = 4000  # of a calibration that are kept, spread evenly
DECIMALS = 4


def describe_conditions(window: TrafficWindow) -> tuple[float, float]:
    """Vehicles per km of a window and the mean of their speeds in m/s; 0 and 0 of an empty one."""
    frame = window.inside().frame
    if not len(frame):
        return 0.0, 0.0
    density = len(frame) / frame["t"].nunique() / (window.s1 - window.s0) * 1000
    return float(density), float(np.abs(frame["speed"].to_numpy(float)).mean())


@dataclass(frozen=True)
class DriftReference:
    """What a calibration keeps of its good traffic.

    steps: instants at which windows begin, to a block; windows: (N, 2 + Q), half, density and quantities; blocks:
    (B, Q), mean ranks. Blocks of one half, whole hours in turn, are ranked among the windows of the other one, as a
    stream is that has no part in either.
    """

    steps: int
    windows: np.ndarray
    blocks: np.ndarray

    @classmethod
    def fit(cls, starts: Sequence[tuple[str, float]], values: npt.ArrayLike, stride: float) -> "DriftReference | None":
        """From good windows in the order of the stream; None where they are too few.

        Args:
            starts: recording and t0 of each. values: (N, 1 + Q), density and quantities. stride: s, from one instant
                at which windows begin to the next.
        """
        steps = max(round(BLOCK_S / stride), 1)
        values = np.asarray(values, dtype=float).reshape(-1, 1 + len(QUANTITIES))
        changes = [a != b for a, b in zip(starts, [None, *starts])]
        step = np.cumsum(changes) - 1
        block, last = step // steps, (step[-1] + 1) // steps if len(step) else 0
        half = (block * BLOCK_S // HALF_S).astype(int) % 2
        keep = (values[:, 0] > 0) & (block < last)
        table = np.round(np.column_stack([half, values])[keep], DECIMALS)
        block, used = block[keep], np.unique(block[keep])
        halves = [np.flatnonzero(table[:, 0] == one) for one in (0, 1)]
        if len(used) < LEAST_BLOCKS or not all(map(len, halves)):
            return None
        ranks = np.zeros((len(table), len(QUANTITIES)))
        for own, other in (halves, halves[::-1]):
            ranks[own] = usual_quantities(table[other]).ranks(table[own, 1], table[own, 2:])
        blocks = np.stack([ranks[block == number].mean(axis=0) for number in used])
        if len(table) > MOST_WINDOWS:
            table = table[np.linspace(0, len(table) - 1, MOST_WINDOWS).round().astype(int)]
        return cls(steps, table, np.round(blocks, DECIMALS))

    def to_json(self) -> dict[str, Any]:
        """For `from_json`."""
        plain = {"windows": self.windows.tolist(), "blocks": self.blocks.tolist()}
        return {"version": VERSION, "quantities": list(QUANTITIES), "steps": self.steps, **plain}

    def digest(self) -> str:
        """Sixteen hexadecimal digits that tell references apart."""
        return hashlib.sha256(json.dumps(self.to_json()).encode()).hexdigest()[:16]

    @classmethod
    def from_json(cls, values: Mapping[str, Any], source: str) -> "DriftReference":
        """What `to_json` wrote; source: where it stands, for messages.

        Raises:
            DataError: it is no such reference, or of another version.
        """
        version = value_of(values, "version", as_integer, source)
        names = value_of(values, "quantities", as_list, source)
        if version != VERSION or names != list(QUANTITIES):
            raise DataError(f"{source} is of version {version} and {names}, expected {VERSION}: calibrate anew")
        width = len(QUANTITIES)
        windows = np.array(number_rows(values, "windows", 2 + width, source), dtype=float).reshape(-1, 2 + width)
        blocks = np.array(number_rows(values, "blocks", width, source), dtype=float).reshape(-1, width)
        if len(blocks) < LEAST_BLOCKS or set(np.unique(windows[:, 0])) != {0.0, 1.0}:
            raise DataError(f"{source} holds {len(blocks)} blocks, expected {LEAST_BLOCKS} and windows of both halves")
        return cls(value_of(values, "steps", as_integer, source, 1), windows, blocks)


def usual_quantities(windows: np.ndarray) -> UsualValues:
    """Quantities of windows by density; windows: (N, 2 + Q), see DriftReference."""
    return UsualValues(windows[:, 1], windows[:, 2:], np.ones(len(QUANTITIES)))
