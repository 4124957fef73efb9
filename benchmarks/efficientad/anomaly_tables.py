"""What the tables of the benchmarks of EfficientAD have in common: records, cells, comparisons and their statement."""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np

from benchmarks.common.records import RESULTS, read_record
from benchmarks.efficientad.anomaly_results import FINAL, MAP_THRESHOLD, NARROWER
from benchmarks.efficientad.bootstrap_draws import (
    DRAW_SEED,
    Draws,
    difference,
    flat,
    mean_of_seeds,
    read_draws,
    verdict,
)
from benchmarks.efficientad.memory_bank_baseline import BASELINE, WHITENED
from d2road.utils.aliases import present_record_name
from d2road.utils.bootstrap import percentile_interval

SEG_F1 = "pixel_f1_at_good_threshold"
RUN_NAME = re.compile(r"(.+)_seed(\d+)(?:_(\d+)steps)?")


@dataclass(frozen=True)
class Entry:
    """A finished run: steps is 0 of what is not trained, category "" where a benchmark has but one."""

    bench: str
    teacher: str
    variant: str
    seed: int
    steps: int
    category: str
    name: str
    test: str = FINAL  # which test of the final checkpoint

    @cached_property
    def record(self) -> dict:
        record = read_record(self.bench, f"{self.name}/{self.test}")
        return record and {present_record_name(key): value for key, value in record.items()}

    @property
    def narrower(self) -> dict[str, "Entry"]:
        """The tests of the same checkpoint in lower precision that have a record."""
        entries = {name: replace(self, test=f"{FINAL}_{name}") for name in NARROWER}
        return {name: entry for name, entry in entries.items() if entry.record is not None}

    @cached_property
    def metrics(self) -> dict[str, float]:
        """Metrics that have a value, by path, as "auspro/mean/0.05", "intervals/aupro".

        Without pixel F1 of records whose threshold was that of scores: it is none of maps where the two differ.
        """
        found = flat(self.record["metrics"])
        return {key: one for key, one in found.items() if key != SEG_F1 or MAP_THRESHOLD in self.record}

    @cached_property
    def draws(self) -> Draws:
        return read_draws(RESULTS / self.bench / self.name / f"{self.test}.npz")


def load_entries(bench: str) -> list[Entry]:
    """All finished runs of a benchmark, by variant and seed."""
    root, found = RESULTS / bench, []
    for path in root.glob(f"teacher_*/**/{FINAL}.json"):
        teacher, run, *rest = path.parent.relative_to(root).parts
        parts = RUN_NAME.fullmatch(run)
        if parts:
            name = path.parent.relative_to(root).as_posix()
            category = "/".join(rest)
            variant, plus, own = parts[1].partition("+")
            variant = present_record_name(variant) + plus + own
            found.append(Entry(bench, teacher, variant, int(parts[2]), int(parts[3] or 0), category, name))
    return sorted(found, key=lambda e: (e.teacher, e.steps, e.variant, e.seed, e.category))


def groups(entries: Iterable[Entry]) -> dict[tuple[str, int], list[Entry]]:
    """Runs that may be compared, by teacher and steps; untrained ones belong to all of their teacher."""
    entries = list(entries)
    keys = sorted({(e.teacher, e.steps) for e in entries if e.steps})
    keys += sorted({(e.teacher, 0) for e in entries} - {(teacher, 0) for teacher, _ in keys})
    return {key: [e for e in entries if e.teacher == key[0] and e.steps in (0, key[1])] for key in keys}


def by_variant(entries: Iterable[Entry]) -> dict[str, list[Entry]]:
    """Runs of each variant, its seeds."""
    found: dict[str, list[Entry]] = {}
    for entry in entries:
        found.setdefault(entry.variant, []).append(entry)
    return found


def describe(entries: Sequence[Entry]) -> str:
    """Teacher, steps, images and machines of runs that may be compared."""
    record, steps = entries[-1].record, max(entry.steps for entry in entries)
    share = 100 * steps / record["published_steps"]
    trained = f" {steps} steps, {share:.1f} % of the published {record['published_steps']}" if steps else ""
    trained += ": far from convergence." if 0 < share < 50 else "." if steps else ""
    images = ", ".join(f"{record[f'{split}_images']} {split}" for split in ("train", "validation", "test"))
    machines = "; ".join(sorted({entry.record["machine"] for entry in entries}))
    return (
        f"Teacher: {record['teacher']}, file sha256 {record['teacher_sha256'] or '-'}.{trained} Penalty images: "
        f"{record['penalty_images']}. Images: {images}. Machine: {machines}."
    )


def value(metrics: Mapping[str, float], key: str, digits: int = 3) -> str:
    """A figure as text, "-" where there is none."""
    return f"{metrics[key]:.{digits}f}" if key in metrics else "-"


def with_interval(metrics: Mapping[str, float], key: str) -> str:
    """ "0.812 (0.690 to 0.921)", with the record's interval."""
    interval = metrics.get(f"intervals/{key}")
    return value(metrics, key) + (
        f" ({span(interval)})" if key in metrics and interval and None not in interval else ""
    )


def span(interval: Sequence[float], sign: str = "") -> str:
    """ "0.690 to 0.921"."""
    return f"{interval[0]:{sign}.3f} to {interval[1]:{sign}.3f}"


def mean_cell(entries: Sequence[Entry], key: str) -> str:
    """Mean over seeds with its interval, and the range of the seeds: "0.812 (0.690 to 0.921) [0.801, 0.823]"."""
    values = [entry.metrics[key] for entry in entries if key in entry.metrics]
    if not values:
        return "-"
    draws = [entry.draws for entry in entries if key in entry.draws.metrics]
    text = f"{np.mean(values):.3f}"
    if draws:
        text += f" ({span(percentile_interval(mean_of_seeds(draws, key, np.random.default_rng(DRAW_SEED))))})"
    return text + (f" [{min(values):.3f}, {max(values):.3f}]" if len(values) > 1 else "")


@dataclass(frozen=True)
class Comparison:
    """`first` less `second`: difference of the means over seeds and its 95 % interval."""

    first: str
    second: str
    metric: str
    difference: float
    interval: list[float]

    @property
    def verdict(self) -> str:
        """Of the first: "better", "worse" or "not distinguishable"."""
        return verdict(self.interval)

    def cell(self) -> str:
        """ "+0.021 (-0.010 to +0.055)"."""
        return f"{self.difference:+.3f} ({span(self.interval, '+')})"


def compare(first: Sequence[Entry], second: Sequence[Entry], metric: str) -> Comparison | None:
    """Compare two variants, each by its seeds; None where one of them has not the metric."""
    interval = difference([e.draws for e in second], [e.draws for e in first], metric)
    if interval is None or any(metric not in e.metrics for e in (*first, *second)):
        return None
    means = [np.mean([entry.metrics[metric] for entry in side]) for side in (first, second)]
    return Comparison(first[0].variant, second[0].variant, metric, float(means[0] - means[1]), interval)


def conclude(what: str, metric: str, comparisons: Sequence[Comparison], name: Callable[[str], str]) -> str:
    """A sentence from intervals: whether the first side of the comparisons is best.

    Args:
        what: how to call the first side; metric: likewise.
        name: how to call a variant.
    """
    if not comparisons:
        return f"{metric}: nothing to compare {what} with yet."
    sides = {v: [c for c in comparisons if c.verdict == v] for v in ("better", "worse", "not distinguishable")}
    listed = {v: "; ".join(f"{name(c.second)} {c.cell()}" for c in found) for v, found in sides.items()}
    if len(sides["better"]) == len(comparisons):
        return f"{metric}: **{what} is best**: better than {listed['better']}."
    if len(sides["not distinguishable"]) == len(comparisons):
        return f"{metric}: **{what} cannot be told from the others**: {listed['not distinguishable']}."
    opening = {
        (True, True): f"{what} is better than some, worse than others",
        (True, False): f"{what} is better than some, and not worse than any",
        (False, True): f"{what} is not best",
    }[bool(sides["better"]), bool(sides["worse"])]
    words = {"better": "better than", "worse": "worse than", "not distinguishable": "not distinguishable from"}
    return f"{metric}: **{opening}**: " + "; ".join(f"{words[v]} {text}" for v, text in listed.items() if text) + "."


def is_trained(entry: Entry) -> bool:
    """Whether a run is no baseline."""
    return entry.variant.partition("+")[0] not in (BASELINE, WHITENED)


def results_page(bench: str) -> Path:
    """Where the tables of a benchmark go."""
    return RESULTS / bench / "table.md"
