"""Tables of the experiments on why networks lose to rules."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.common.markdown import table, write_page
from benchmarks.common.records import RESULTS, read_record

BENCH = "network_study"
WITHOUT_TRAINING = ("rules", "bank-overlay", "bank-overlay-relative", "bank-stacked", "bank-stacked-relative")
PROBES = ("probe-overlay", "probe-stacked")
STUDENTS = ("student", "student-hard", "student-penalty")
LONG_STUDENTS = tuple(f"{name}-long" for name in STUDENTS)
DENSITY_BANKS = ("bank-overlay-density", "bank-stacked-density")
DENSITY_STUDENTS = ("student-density-short", "student-density")
EXPERIMENTS = (*WITHOUT_TRAINING, *PROBES, *STUDENTS, *LONG_STUDENTS, *DENSITY_BANKS, *DENSITY_STUDENTS)
_LESS = ("raw, less without", "relative, less without")
STUDENT_HEAD = ["", "step", "good vehicles", "culprits", "ratio", "raw", "relative to density"]
DENSITY_NOTE = (
    "Of a bank one more channel, in which a standard deviation of density counts so many spreads of the features; of a "
    "student a number that scales and shifts its last hidden layer. Less the same without it, paired: the same windows."
)


def write_tables() -> Path:
    """All tables of what has a record."""
    records = {name: read_record(BENCH, name) for name in (*EXPERIMENTS, "cut")}
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
    cuts = [
        [name, _auroc(one["raw"]), _auroc(one["relative"])]
        for name, one in there.get("cut", {}).items() if isinstance(one, Mapping)
    ]  # fmt: skip
    density_note = f"{DENSITY_NOTE} {windows_note(records, (*DENSITY_STUDENTS, *DENSITY_BANKS))}".rstrip()
    sections = [
        ["# Why networks lose to rules on images of traffic", "", "Validation windows of seed 1000; AUROC (95 %)."],
        table("Without training", "By kind: relative to density.", ["", "raw", "relative to density", *kinds], rows),
        table("Supervised probes of the features", "One for each kind, cross-validated: no detectors.",
              ["", "mean", *kinds], probes),
        table("Students while they learn", "Mean squared errors in units of the features' variance.",
              STUDENT_HEAD, student_rows(there, STUDENTS)),
        table("Students that learn longer", windows_note(records, LONG_STUDENTS), STUDENT_HEAD,
              student_rows(there, LONG_STUDENTS)),
        table("Density as an input", density_note, ["", "raw", "relative to density", *_LESS],
              density_rows(there)),
        table("Where an incident lies in its window", "", ["", "raw", "relative to density"], cuts),
    ]  # fmt: skip
    return write_page(RESULTS / BENCH / "table.md", sections)


def student_rows(there: Mapping[str, Any], names: Sequence[str]) -> list[list[str]]:
    """Students while they learn."""
    return [
        [name, step, f"{one['good_error']:.3f}", f"{one['culprit_error']:.3f}",
         f"{one['culprit_error'] / one['good_error']:.2f}", _auroc(one["raw"]), _auroc(one["relative"])]
        for name in names if name in there for step, one in there[name].items()
    ]  # fmt: skip


def windows_note(records: Mapping[str, Any], names: Sequence[str]) -> str:
    """How many windows some experiments had, which may be fewer than those of other tables."""
    counts = {name: records[name]["windows"] for name in names if records.get(name)}
    said = "; ".join(f"{name}: " + ", ".join(f"{n} {part}" for part, n in one.items()) for name, one in counts.items())
    return f"Windows: {said}." if said else ""


def density_rows(there: Mapping[str, Any]) -> list[list[str]]:
    """Banks and students with density as an input, and without."""
    rows = []
    for name in DENSITY_BANKS:
        for weight, one in there.get(name, {}).items():
            rows.append([f"{name}, weight {weight}", one, one["less without"]])
    for name in DENSITY_STUDENTS:
        for step, less in there.get(name, {}).get("less without", {}).items():
            rows.append([f"{name}, {step} steps, without", there[name]["without"][step], None])
            rows.append([f"{name}, {step} steps, with", there[name]["with"][step], less])
    return [
        [name, _auroc(one["raw"]), _auroc(one["relative"]), *(_less(less, key) for key in ("raw", "relative"))]
        for name, one, less in rows
    ]


def _less(less: Mapping[str, Any] | None, key: str) -> str:
    if less is None or not any(less[key]["interval"]):
        return "-"
    low, high = less[key]["interval"]
    return f"{less[key]['auroc']:+.3f} ({low:+.3f} to {high:+.3f})"


def _auroc(one: Mapping[str, Any]) -> str:
    low, high = one["interval"]
    return f"{one['auroc']:.3f} ({low:.3f} to {high:.3f})"
