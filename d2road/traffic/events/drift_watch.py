"""Drift detection: a sequential test of whether a stream still looks like the traffic of its calibration.

A threshold holds for traffic like that which it was counted on. Mean ranks of each block of 5 minutes (`drift`) have
conformal p-values, on both sides, among the blocks of the calibration and those of the stream before it, and each
p-value is bet against (Vovk et al., Algorithmic Learning in a Random World, 2022, ch. 8). The bets from all earlier
blocks on are summed, as Shiryaev and Roberts do: if blocks are exchangeable the sum grows by at most 1 a block in the
mean, so it exceeds n / a within n blocks with a probability of at most a (an e-detector: Shin, Ramdas and Rinaldo, New
England J. of Statistics in Data Science, 2024). n is a day and a is 0.05.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from d2road.traffic.events.drift import BLOCK_S, DECIMALS, QUANTITIES, DriftReference, usual_quantities
from d2road.traffic.events.stream_options import StreamOptions, read_calibration
from d2road.utils.errors import DataError
from d2road.utils.values import as_integer, as_list, as_number, as_object, as_text, number_rows
from d2road.utils.values import field as value_of

# The probability of a false report, and the time that it is for.
FALSE_REPORT, FALSE_REPORT_S = 0.05, 86400.0
LIMIT = FALSE_REPORT_S / BLOCK_S / FALSE_REPORT  # of the summed bets
POWER = 0.3  # bets pay POWER * p ** (POWER - 1), whose mean is 1 under uniform p-values
MOST_BLOCKS = 4032  # of the stream that others are compared with: two weeks
QUIET_BLOCKS = 288  # after a report, before the next one: a day
RECENT = 6  # blocks that a report is about


@dataclass
class DriftState:
    """Where a watch is.

    evidence: (2 * Q,) summed bets of each quantity, low and high; blocks, recent: mean ranks of the stream's blocks, to
    compare with and the last ones; digest: of the reference; told: blocks since a report, None where another may come.
    Of the block that is not over: recording, t0 of its last step, steps, ranked windows and the sums of their ranks.
    """

    evidence: list[float] = field(default_factory=lambda: [0.0] * (2 * len(QUANTITIES)))
    blocks: list[list[float]] = field(default_factory=list)
    recent: list[list[float]] = field(default_factory=list)
    told: int | None = None
    recording: str = ""
    t0: float | None = None
    digest: str = ""
    steps: int = 0
    count: int = 0
    sums: list[float] = field(default_factory=lambda: [0.0] * len(QUANTITIES))

    @classmethod
    def from_json(cls, value: Any, source: str) -> "DriftState":
        """The attributes of one, checked."""
        values = as_object(value, source)
        numbers = {
            name: [as_number(one, source, 0) for one in value_of(values, name, as_list, source)]
            for name in ("evidence", "sums")
        }
        if len(numbers["evidence"]) != 2 * len(QUANTITIES) or len(numbers["sums"]) != len(QUANTITIES):
            raise DataError(f"{source}: 'evidence' or 'sums' has another number of values")
        told, t0 = values.get("told"), values.get("t0")
        return cls(
            blocks=number_rows(values, "blocks", len(QUANTITIES), source),
            recent=number_rows(values, "recent", len(QUANTITIES), source),
            told=None if told is None else as_integer(told, source, 0),
            recording=value_of(values, "recording", as_text, source),
            digest=value_of(values, "digest", as_text, source),
            t0=None if t0 is None else as_number(t0, source),
            steps=value_of(values, "steps", as_integer, source, 0),
            count=value_of(values, "count", as_integer, source, 0),
            **numbers,
        )


@dataclass(frozen=True)
class DriftReport:
    """Drift that was found at t (s): of which quantity, whether it is higher, its mean rank in the last blocks."""

    t: float
    quantity: str
    higher: bool
    rank: float

    def __str__(self) -> str:
        what = {"score": "scores are", "speed": "speed is"}[self.quantity]
        return (
            f"{what} {'higher' if self.higher else 'lower'} than in the calibration's traffic of the same density "
            f"(mean rank {self.rank:.2f} in the last {RECENT * BLOCK_S / 60:.0f} minutes, usual 0.5): false alarms may "
            "have another rate now; look what has changed, and write another calibration with --calibrate"
        )


class DriftWatch:
    """Watches the windows of a stream, in their order.

    Args:
        reference: of the calibration.
        state: where an earlier run was; None, or that of another reference, begins anew.
    """

    def __init__(self, reference: DriftReference, state: DriftState | None = None):
        self.reference, digest = reference, reference.digest()
        # Ranks among other windows cannot be compared.
        self.state = state if state and state.digest == digest else DriftState(digest=digest)
        halves = reference.windows[:, 0]
        self.usual = [usual_quantities(reference.windows[halves == half]) for half in (0, 1)]

    @property
    def evidence(self) -> float:
        """Against traffic like that of the calibration, as a share of what a report takes."""
        return float(np.mean(self.state.evidence)) / LIMIT

    def add(self, recording: str, t0: float, density: float, values: Sequence[float]) -> DriftReport | None:
        """Take in a window; returns a report where the block that ends before it shows drift.

        Args:
            density: vehicles per km; values: (Q,) of QUANTITIES.
        """
        report, state = None, self.state
        if (recording, t0) != (state.recording, state.t0):
            if state.steps >= self.reference.steps:
                report = self._close(t0)
            state.recording, state.t0, state.steps = recording, t0, state.steps + 1
        if density > 0:
            place, row = np.array([density]), np.array([values], dtype=float)
            ranks = np.mean([usual.ranks(place, row)[0] for usual in self.usual], axis=0)
            state.sums = [a + float(b) for a, b in zip(state.sums, ranks)]
            state.count += 1
        return report

    def _close(self, t: float) -> DriftReport | None:
        """Bet on the block that is over and begin another one."""
        state = self.state
        count, sums = state.count, state.sums
        state.steps, state.count, state.sums = 0, 0, [0.0] * len(QUANTITIES)
        if not count:  # an empty road says nothing
            return None
        ranks = [round(one / count, DECIMALS) for one in sums]
        for place, (p, before) in enumerate(zip(self._p_values(ranks), state.evidence)):
            state.evidence[place] = (1 + before) * POWER * p ** (POWER - 1)
        if len(state.blocks) < MOST_BLOCKS:
            state.blocks.append(ranks)
        state.recent = [*state.recent, ranks][-RECENT:]
        state.told = None if state.told is None or state.told >= QUIET_BLOCKS else state.told + 1
        if self.evidence < 1:
            return None
        place = int(np.argmax(state.evidence))
        state.evidence = [0.0] * len(state.evidence)
        if state.told is not None:
            return None
        state.told, quantity = 0, place // 2
        rank = float(np.mean([one[quantity] for one in state.recent]))
        return DriftReport(t, QUANTITIES[quantity], bool(place % 2), rank)

    def _p_values(self, ranks: Sequence[float]) -> list[float]:
        """Conformal p-values (2 * Q,): of each quantity whether a block is low, and whether it is high."""
        known = np.concatenate([self.reference.blocks, np.array(self.state.blocks).reshape(-1, len(QUANTITIES))])
        low, high = (known <= ranks).sum(axis=0), (known >= ranks).sum(axis=0)
        return [float(1 + count) / (1 + len(known)) for pair in zip(low, high) for count in pair]


def open_watch(options: StreamOptions, state: DriftState | None) -> DriftWatch | None:
    """The watch over a stream that a calibration makes possible; says where it does not.

    Raises:
        FileNotFoundError, ConfigError: the calibration cannot be used.
    """
    if options.calibration is None:
        return None

    def check(value: Any, source: str) -> DriftReference:
        return DriftReference.from_json(as_object(value, source), source)

    reference = read_calibration(options.calibration, options.method, "drift", check, required=False)
    if reference is None:
        print(f"drift is not watched: {options.calibration} holds nothing to compare with; --calibrate writes it")
        return None
    return DriftWatch(reference, state)
