"""The page of the benchmark of transports: answers, differences, rows of every model, and what is missing."""

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.common.markdown import table, write_page
from benchmarks.common.records import RESULTS, read_record
from benchmarks.diffusion_det.transport_differences import model_name, write_differences
from benchmarks.diffusion_det.transport_evaluation import passes_for
from benchmarks.diffusion_det.transport_questions import QUESTIONS, Comparison, comparisons, verdicts, word
from benchmarks.diffusion_det.transport_variants import BENCH, PLANNED, SCHEDULES

HEAD = ("start, steps x boxes", "AP, last step", "AP, union", "AP50, union", "ceiling, last step",
        "ceiling, union", "seeds", "G multiply-adds", "decoder, ms")  # fmt: skip
READING = (
    "AP in percent on {views} views. A row is steps x boxes; `noise` is one step, `restart` an ensemble of one-step "
    "runs of fresh noise, `kept` draws no box anew, `grid`, `sobol` and `queries` start from fixed or learned "
    "boxes. Differences are paired, with 95 % intervals of a bootstrap over images and seeds; no correction is made "
    "for their number, so that of a hundred some five are expected to exclude 0 by chance. With few seeds the "
    "intervals are rather too narrow. The ceiling is the AP of perfect boxes, of which an image may have as many as "
    "the last step or the union reports. Multiply-adds and processor time are of the decoder and of one image; time "
    "with one thread on a busy machine."
)

# What the trainings of a page begin with, where the reader must know.
BEGINNING = {
    "imagenet": "",
    "imagenet_long": " All trainings have the schedule of the shipped detector.",
    "detector": " All trainings begin with backbone and pyramid of the shipped detector and a new decoder; the "
    "backbone stays as it is. These features were learned with a diffusion decoder, which may favour it: the "
    "trainings from ImageNet show which signs hold without.",
}


def write_table(views: int, start: str = "imagenet") -> Path:
    """table_views<N>.md from all records of trainings that begin so, and the record of differences before it."""
    schedule, planned = SCHEDULES[start], PLANNED[start]
    bench = schedule.bench
    seeds = sorted({seed for variant in planned for seed in seeds_of(variant, bench)})
    command = f"python -m benchmarks.diffusion_det.transports --table --views {views} --start {start}"
    chosen = [one for one in comparisons() if all(arm.variant in planned for _, arm in one.terms)]
    found = write_differences(
        chosen, seeds, views, name=f"differences_views{views}", config=schedule.config, command=command, bench=bench
    )
    sections: list[Sequence[str]] = [["# Transports", "", READING.format(views=views) + BEGINNING[start]]]
    sections += [*answers(found), *difference_tables(chosen, found)]
    sections += [rows_table(variant, views, bench) for variant in planned]
    gone = list(missing(views, start))
    sections.append(["## Missing", "", *(f"- {line}" for line in gone)] if gone else [])
    return write_page(RESULTS / bench / f"table_views{views}.md", sections)


def answers(found: Mapping[str, Mapping[str, Any]]) -> list[list[str]]:
    """A section of sentences for each question that has an interval."""
    said = {title: verdicts(question, found) for question, title in QUESTIONS.items()}
    return [[f"## {title}", "", *(f"- {line}" for line in lines)] for title, lines in said.items() if lines]


def difference_tables(chosen: Sequence[Comparison], found: Mapping[str, Mapping[str, Any]]) -> list[list[str]]:
    """A table of intervals for each question."""
    head = ("b against a", "boxes", "AP", "95 % interval", "says")
    return [
        table(f"Differences: {title}", "", head, [
            _difference(one.claim, one.boxes, found[one.key])
            for one in chosen if one.question == question and one.key in found
        ])
        for question, title in QUESTIONS.items()
    ]  # fmt: skip


def rows_table(variant: str, views: int, bench: str = BENCH) -> list[str]:
    """All rows of a training, means over its seeds."""
    return table(f"Rows: {variant}", "", HEAD, _rows(variant, views, bench))


def _difference(claim: str, boxes: str, interval: Mapping[str, Any]) -> list[str]:
    limits = f"{interval['low']:+.1f} to {interval['high']:+.1f}"
    return [claim, boxes.removesuffix(" boxes"), f"{interval['difference']:+.1f}", limits, word(interval)]


def seeds_of(variant: str, bench: str = BENCH) -> list[int]:
    """Seeds of a training that have records."""
    found = (re.fullmatch(rf"{variant}_seed(\d+)", path.name) for path in (RESULTS / bench).glob(f"{variant}_seed*"))
    return sorted(int(match[1]) for match in found if match)


def _records(variant: str, views: int, bench: str) -> dict[int, dict[str, Any]]:
    records = {seed: read_record(bench, model_name(variant, seed, views)) for seed in seeds_of(variant, bench)}
    return {seed: record for seed, record in records.items() if record}


def _rows(variant: str, views: int, bench: str) -> Iterator[list[str]]:
    """Means over the seeds that have a row."""
    records = _records(variant, views, bench)
    ceilings = {int(n): ap for record in records.values() for n, ap in record["ceilings"].items()}
    first: dict[str, dict[str, Any]] = {row: m for record in records.values() for row, m in record["metrics"].items()}
    for row, entry in sorted(first.items(), key=lambda item: (item[1]["boxes"], item[1]["steps"], item[0])):
        own = [record["metrics"][row] for record in records.values() if row in record["metrics"]]
        mean = lambda *keys, own=own: float(np.mean([_at(m, keys) for m in own]))  # noqa: E731
        limits = (ceilings[entry["boxes"]], ceilings[entry["boxes"] * entry["steps"]])
        yield [
            row.replace("_", " "), f"{mean('last', 'AP'):.1f}", f"{mean('union', 'AP'):.1f}",
            f"{mean('union', 'AP50'):.1f}", *(f"{limit:.1f}" for limit in limits), str(len(own)),
            f"{entry['multiply_adds'] / 1e9:.3f}", f"{mean('decoder_ms'):.1f}",
        ]  # fmt: skip


def _at(metrics: Mapping[str, Any], keys: Sequence[str]) -> float:
    value: Any = metrics
    for key in keys:
        value = value[key]
    return value


def missing(views: int, start: str) -> Iterator[str]:
    """What the benchmark asks for and no record has."""
    bench = SCHEDULES[start].bench
    for variant in PLANNED[start]:
        seeds = seeds_of(variant, bench)
        if not seeds:
            yield f"{variant}: no training"
        records = _records(variant, views, bench)
        wanted = {one.row(report) for one in passes_for(variant) for report in one.reports}
        for seed in seeds:
            left = wanted - set(records[seed]["metrics"]) if seed in records else wanted
            if len(left) == len(wanted):
                yield f"{variant}, seed {seed}: no evaluation"
            elif left:
                yield f"{variant}, seed {seed}: {len(left)} of {len(wanted)} rows: {', '.join(sorted(left))}"
