"""Paired differences of the benchmark of transports: from matches of single rows to intervals in a record."""

import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from benchmarks.common.records import read_record, write_record
from benchmarks.diffusion_det.transport_evaluation import matches_path
from benchmarks.diffusion_det.transport_questions import Arm, Comparison
from benchmarks.diffusion_det.transport_statistics import ap_draws, crossed_interval, image_draws
from benchmarks.diffusion_det.transport_variants import BENCH
from d2road.evaluation.roadside_evaluator import read_matches


def model_name(variant: str, seed: int, views: int) -> str:
    """Of the record of all rows of a trained model."""
    return f"{variant}_seed{seed}/views{views}"


@dataclass
class ArmDraws:
    """AP of rows on the same draws of images, read from matches once.

    Args:
        views: number of images; draws: of the bootstrap; bench: folder of the records.
    """

    views: int
    draws: int = 1000
    bench: str = BENCH
    _kept: dict[tuple[Arm, int], np.ndarray | None] = field(default_factory=dict)

    def __post_init__(self) -> None:
        # The first draw has every image once: the figure on all images.
        self.weights = np.concatenate([np.ones((1, self.views)), image_draws(self.views, self.draws)])

    def of(self, arm: Arm, seed: int) -> np.ndarray | None:
        """(1 + R,) AP in percent on all images, then on each draw; None if the row has no matches."""
        if (arm, seed) not in self._kept:
            self._kept[arm, seed] = self._read(arm, seed)
        return self._kept[arm, seed]

    def _read(self, arm: Arm, seed: int) -> np.ndarray | None:
        path = matches_path(model_name(arm.variant, seed, self.views), arm.row, self.bench)
        if not path.is_file():
            return None
        tables, _ = read_matches(path)
        kinds = {name.split()[0] for name in tables}
        kind = arm.kind if arm.kind in kinds else "union"  # of one step both are the same
        own = {name.removeprefix(f"{kind} "): table for name, table in tables.items() if name.startswith(f"{kind} ")}
        return ap_draws(own, self.weights)["AP"]


def interval(comparison: Comparison, draws: ArmDraws, seeds: Iterable[int]) -> dict[str, Any] | None:
    """Difference and interval over the seeds that all rows of a comparison have; None if none has."""
    rows = []
    for seed in seeds:
        arms = [(sign, draws.of(arm, seed)) for sign, arm in comparison.terms]
        if all(values is not None for _, values in arms):
            rows.append(sum(sign * values for sign, values in arms))
    if not rows:
        return None
    table = np.stack(rows)
    return crossed_interval(table[:, 1:], table[:, 0])


def write_differences(
    comparisons: Iterable[Comparison],
    seeds: Iterable[int],
    views: int,
    *,
    name: str,
    config: str,
    command: str,
    bench: str = BENCH,
) -> dict[str, Any]:
    """Intervals of all comparisons that have matches; those of an earlier record stay where they have more seeds.

    Args:
        name, config, command, bench: of the record.
    Returns:
        the intervals by key.
    """
    start, draws, seeds = time.perf_counter(), ArmDraws(views, bench=bench), list(seeds)
    before = read_record(bench, name)
    found = {one.key: interval(one, draws, seeds) for one in comparisons}
    kept = dict(before["metrics"]) if before else {}
    for key, value in found.items():
        if value and value["seeds"] >= kept.get(key, value)["seeds"]:
            kept[key] = value
    write_record(
        bench, name, metrics=kept, config=config, seed=0, seconds=time.perf_counter() - start, command=command,
        draws=draws.draws,
    )  # fmt: skip
    return kept
