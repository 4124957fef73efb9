"""Tables of the toy benchmark of grounding, made from its records; what has no record is left out.

python -m benchmarks.mono3dvg.grounding_toy --table      benchmarks/results/mono3dvg_toy/table.md
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.common.markdown import table, write_page
from benchmarks.common.records import RESULTS, read_record
from benchmarks.mono3dvg.grounding_variants import BENCH, VARIANTS
from d2road.utils.aliases import present_record_name

GROUPS = ("st_w_d", "st_wo_d", "mt", "zt_w_d", "zt_wo_d")
OVERLAPS = ("0.25", "0.5")
RECORDS = ("test", "val", "true_boxes", "best_choice", "train")

# By (variant, seed): the records test, val, true_boxes, best_choice and train, each None where it is missing.
Runs = dict[tuple[str, int], dict[str, Any]]


def write_tables() -> Path:
    """Write benchmarks/results/mono3dvg_toy/table.md from all records and return its path.

    Raises:
        ValueError: a file among the records is none.
    """
    runs = load_runs()
    sections = [
        ["# Grounding on the toy roadside benchmark", "", *about(runs)],
        headline(runs), ceiling(runs), by_kind(runs), singles(runs), micro(runs), by_distance(runs), by_tag(runs),
    ]  # fmt: skip
    return write_page(RESULTS / BENCH / "table.md", sections)


def load_runs() -> Runs:
    """Records of all runs with a test, in the order of VARIANTS."""
    found: Runs = {}
    for variant in VARIANTS:
        for folder in sorted((RESULTS / BENCH).glob(f"{variant}_seed*")):
            parts = re.fullmatch(re.escape(variant) + r"_seed(\d+)", folder.name)
            records = {
                n: read_record(BENCH, f"{folder.name}/{n}")
                for n in ("test", "val", "true_boxes", "best_choice", "train")
            }
            if parts and records["test"] is not None:
                found[variant, int(parts[1])] = records
    return found


def about(runs: Runs) -> list[str]:
    """What was trained from what, and where."""
    lines = [
        "Test views have cameras and scenes never seen in training, 30 % of their sentences words never trained on. "
        "The score threshold is chosen on validation views. F1, accuracies and recall in percent, of true 3D overlaps.",
    ]
    for (variant, seed), records in runs.items():
        pretrained = {present_record_name(k): v for k, v in records["test"].get("pretrained", {}).items()}
        names = [present_record_name(name) for name in pretrained.get("stages", ())]
        stages = [f"{name}{_duration(read_record(BENCH, f'{name}/train'))}" for name in names]
        lines.append(
            f"- {VARIANTS[variant]}, seed {seed}{_duration(records['train'])}; "
            f"stages before: {'; '.join(stages) or 'none'}; trained before these: text "
            f"{pretrained.get('text', '?')}, image {pretrained.get('image') or 'none'}; "
            f"{records['test']['machine']}"
        )
    return lines


def _duration(record: dict[str, Any] | None) -> str:
    return f", {record['metrics']['steps']} steps in {record['seconds'] / 60:.0f} minutes" if record else ""


def headline(runs: Runs) -> list[str]:
    """What the benchmark aims at."""
    head = ["model", "seed", "vehicles F1@0.25", "F1@0.5", "people F1@0.25", "zero targets", "true boxes: all right",
            "top-1", "all sentences F1@0.25", "F1@0.5"]  # fmt: skip
    rows = []
    for (variant, seed), records in runs.items():
        m, on_true = records["test"]["metrics"], (records["true_boxes"] or {}).get("metrics", {})
        kinds = m["by_category"]
        cells = [
            *(kinds.get("vehicles", {}).get(o) for o in OVERLAPS), kinds.get("people", {}).get("0.25"), m["n_acc"],
            on_true.get("accuracy"), on_true.get("top1"), *(m["mean_f1"][o]["overall"] for o in OVERLAPS),
        ]  # fmt: skip
        rows.append([VARIANTS[variant], str(seed), *map(cell, cells)])
    note = (
        "Vehicles, people: mean F1 of sentences with one or more targets, all of them vehicles or pedestrians and "
        "cyclists. Zero targets: answered by nothing. True boxes: labelled boxes as candidates, all right if exactly "
        "those meant are at 0.5 and more; top-1 of single-target sentences."
    )
    return table("Overview", note, head, rows)


def ceiling(runs: Runs) -> list[str]:
    """What no choice among the candidates of a model can exceed."""
    head = ["model", "seed", *(f"{name} @{o}" for o in OVERLAPS for name in ("vehicles", "people", "all sentences"))]
    rows = []
    for (variant, seed), records in runs.items():
        if records["best_choice"] is None:
            continue
        by_overlap, cells = records["best_choice"]["metrics"], []
        for o in OVERLAPS:
            kinds = by_overlap[o]["by_category"]
            cells += [kinds.get("vehicles", {}).get(o), kinds.get("people", {}).get(o)]
            cells.append(by_overlap[o]["mean_f1"][o]["overall"])
        rows.append([VARIANTS[variant], str(seed), *map(cell, cells)])
    note = (
        "Mean F1 if each sentence is answered by those of the model's own candidates that overlap its targets by as "
        "much as is counted: what the words cannot mend."
    )
    return table("The best choice among the candidates", note, head, rows)


def by_kind(runs: Runs) -> list[str]:
    """Mean F1 by number of targets and distractors."""
    head = ["model", "seed", *(f"{g} @{o}" for o in OVERLAPS for g in GROUPS), "T-acc"]
    rows = [
        [VARIANTS[v], str(s), *(cell(r["test"]["metrics"]["mean_f1"][o][g]) for o in OVERLAPS for g in GROUPS),
         cell(r["test"]["metrics"]["t_acc"])]
        for (v, s), r in runs.items()
    ]  # fmt: skip
    note = "st single, mt several, zt zero targets; w_d with, wo_d without other objects of the class."
    return table("Mean F1 by kind", note, head, rows)


def singles(runs: Runs) -> list[str]:
    """Top-1 accuracy of single targets, under both overlaps."""
    modes = {"rotated": "true", "mono3dvg": "as published"}
    head = ["model", "seed", *(f"{label} Acc@{o}" for label in modes.values() for o in OVERLAPS), "true mIoU"]
    rows = []
    for (variant, seed), records in runs.items():
        acc = records["test"]["metrics"]["acc"]
        cells = [acc[mode]["overall"][o] for mode in modes for o in OVERLAPS] + [acc["rotated"]["overall"]["miou"]]
        rows.append([VARIANTS[variant], str(seed), *map(cell, cells)])
    return table("Single targets: the best box", "Overlaps as docs/grounding_data.md defines them.", head, rows)


def micro(runs: Runs) -> list[str]:
    """Precision, recall, F1 of all boxes together."""
    overlaps = ("0.25", "0.5", "0.7")
    head = ["model", "seed", *(f"{name} @{o}" for o in overlaps for name in ("P", "R", "F1"))]
    rows = [
        [VARIANTS[v], str(s), *(cell(r["test"]["metrics"]["micro"][o][n]) for o in overlaps
                                for n in ("precision", "recall", "f1"))]
        for (v, s), r in runs.items()
    ]  # fmt: skip
    return table("All boxes together", "", head, rows)


def by_distance(runs: Runs) -> list[str]:
    """Recall of targets by their distance."""
    places = list(dict.fromkeys(p for r in runs.values() for p in r["test"]["metrics"]["recall_by_distance"]))
    head = ["model", "seed", *(f"{p} m @{o}" for p in places for o in OVERLAPS)]
    rows = [
        [VARIANTS[v], str(s), *(cell(r["test"]["metrics"]["recall_by_distance"].get(p, {}).get(o)) for p in places
                                for o in OVERLAPS)]
        for (v, s), r in runs.items()
    ]  # fmt: skip
    return table("Recall by distance", "", head, rows)


def by_tag(runs: Runs) -> list[str]:
    """Mean F1@0.25 by tag of the sentences, a column a run."""
    tags = sorted({tag for r in runs.values() for tag in r["test"]["metrics"]["by_tag"]})
    head = ["tag", "sentences", *(f"{VARIANTS[v]}, seed {s}" for v, s in runs)]
    rows = []
    for tag in tags:
        parts = [r["test"]["metrics"]["by_tag"].get(tag, {}) for r in runs.values()]
        count = next((p["expressions"] for p in parts if p), 0)
        rows.append([tag, str(count), *(cell(p.get("0.25")) for p in parts)])
    return table("Mean F1@0.25 by tag", "", head, rows)


def cell(value: float | Mapping | None) -> str:
    """One decimal; a dash for what was not measured."""
    return "-" if not isinstance(value, (int, float)) or value != value else f"{value:.1f}"
