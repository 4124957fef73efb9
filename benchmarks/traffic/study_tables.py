"""Tables of the experiments on why networks lose to rules."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.common.markdown import table, write_page
from benchmarks.common.records import RESULTS, read_record

BENCH = "network_study"
WITHOUT_TRAINING = ("rules", "bank-overlay", "bank-overlay-relative", "bank-stacked", "bank-stacked-relative")
PROBES = ("probe-overlay", "probe-stacked")
STUDENTS = ("student", "student-hard", "student-penalty")


def write_tables() -> Path:
    """All tables of what has a record."""
    records = {name: read_record(BENCH, name) for name in (*WITHOUT_TRAINING, *PROBES, *STUDENTS, "cut")}
    there = {name: record["metrics"] for name, record in records.items() if record is not None}
    kinds = sorted(there["rules"]["relative"]["by_kind"]) if "rules" in there else []
    rows = [
        [name, _auroc(there[name]["raw"]), _auroc(there[name]["relative"]),
         *(f"{there[name]['relative']['by_kind'][kind]:.2f}" for kind in kinds)]
        for name in WITHOUT_TRAINING if name in there
    ]  # fmt: skip
    probes = [
        [name, f"{there[name]['mean']:.3f}", *(f"{there[name]['by_kind'][kind]:.2f}" for kind in kinds)]
        for name in PROBES if name in there
    ]  # fmt: skip
    steps = [
        [name, step, f"{one['good_error']:.3f}", f"{one['culprit_error']:.3f}",
         f"{one['culprit_error'] / one['good_error']:.2f}", _auroc(one["raw"]), _auroc(one["relative"])]
        for name in STUDENTS if name in there for step, one in there[name].items()
    ]  # fmt: skip
    cuts = [
        [name, _auroc(one["raw"]), _auroc(one["relative"])]
        for name, one in there.get("cut", {}).items() if isinstance(one, Mapping)
    ]  # fmt: skip
    sections = [
        ["# Why networks lose to rules on images of traffic", "", "Validation windows of seed 1000; AUROC (95 %)."],
        table("Without training", "By kind: relative to density.", ["", "raw", "relative to density", *kinds], rows),
        table("Supervised probes of the features", "One for each kind, cross-validated: no detectors.",
              ["", "mean", *kinds], probes),
        table("Students while they learn", "Mean squared errors in units of the features' variance.",
              ["", "step", "good vehicles", "culprits", "ratio", "raw", "relative to density"], steps),
        table("Where an incident lies in its window", "", ["", "raw", "relative to density"], cuts),
    ]  # fmt: skip
    return write_page(RESULTS / BENCH / "table.md", sections)


def _auroc(one: Mapping[str, Any]) -> str:
    low, high = one["interval"]
    return f"{one['auroc']:.3f} ({low:.3f} to {high:.3f})"
