"""Tables of the benchmark of fused maps, made from its records; what has no record is left out.

python -m benchmarks.efficientad.fusion_tables      benchmarks/results/efficientad_fusion/table.md
"""

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.common.markdown import table, write_page
from benchmarks.common.records import RESULTS, read_record
from benchmarks.efficientad.anomaly_tables import (
    Comparison,
    Entry,
    by_variant,
    describe,
    load_entries,
    results_page,
    with_interval,
)
from benchmarks.efficientad.bootstrap_draws import DRAW_SEED, verdict
from benchmarks.efficientad.fusion_settings import BENCH, FUSIONS, PARTS
from benchmarks.efficientad.patchcore_selection import METRICS, merit
from d2road.utils.bootstrap import percentile_interval

HEAD = {
    "image_auroc": "image AUROC",
    "image_auroc_by_type/logical_anomalies": "logical",
    "image_auroc_by_type/structural_anomalies": "structural",
    "aupro": "AU-PRO",
    "aupro@0.05": "AU-PRO at 0.05",
    "pixel_auroc": "pixel AUROC",
}


PLAIN = {"padim": "PaDiM", "pca": "PCA"}


def label(variant: str) -> str:
    """A variant in words."""
    return PLAIN.get(variant, variant.replace("_", " "))


def pasted_records() -> dict[int, dict[str, Mapping[str, Any]]]:
    """Records of pasted defects: seed -> name of the data set, with the steps of the student -> record."""
    found: dict[int, dict[str, Mapping[str, Any]]] = {}
    for path in sorted((RESULTS / BENCH).glob("*/pasted.json")):
        record = read_record(BENCH, f"{path.parent.name}/pasted")
        if record is not None:
            category, rest = path.parent.name.rsplit("_seed", 1)
            seed, steps = rest.removesuffix("steps").split("_")
            found.setdefault(int(seed), {})[f"{category} ({steps} steps)"] = record
    return found


def selection_rows(records: Mapping[str, Mapping[str, Any]]) -> list[list[str]]:
    """A row a setting, the best fusion in bold."""
    merits = {name: merit([record["metrics"][name] for record in records.values()]) for name in PARTS | FUSIONS}
    best = max(FUSIONS, key=merits.__getitem__)
    rows = []
    for name, (combine, weights) in (PARTS | FUSIONS).items():
        figures = [f"{record['metrics'][name][key]:.3f}" for record in records.values() for key in METRICS]
        shares = " : ".join(f"{weight:g}" for weight in weights)
        said = label(name)
        rows.append([f"**{said}**" if name == best else said, f"{combine} {shares}", *figures, f"{merits[name]:.4f}"])
    return rows


def progress_table(records: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """The student at its checkpoints, see `student_progress`."""
    keys = ("student_error", "student_train_error", "squared_auroc", "student_auroc")
    rows = [
        [name, at, *(f"{record[key][at]:.3f}" for key in keys)]
        for name, record in records.items()
        for at in record["student_error"]
    ]
    note = (
        "Mean squared error on good images, in shares of the target's variance; image AUROC on pasted defects of the "
        "student's map alone, of mean squares and as the model has it."
    )
    head = ["data", "steps", "error, held out", "error, trained on", "AUROC, mean squares", "AUROC"]
    return table("Student over steps", note, head, rows)


def pooled(entries: Mapping[str, Sequence[Entry]], first: str, second: str, metric: str) -> Comparison | None:
    """Mean over data sets of the difference of two variants, with its paired interval; None where one lacks a record.

    Draws of different data sets are independent of each other, in an order of their own each, so that their means are
    draws of the mean.
    """
    pairs = {}
    for entry in (*entries.get(first, ()), *entries.get(second, ())):
        if metric in entry.metrics and metric in entry.draws.metrics:
            pairs.setdefault((entry.category, entry.seed), {})[entry.variant] = entry
    whole = [pair for pair in pairs.values() if {first, second} <= set(pair)]
    if not whole or len(whole) < len(pairs):
        return None
    generator = np.random.default_rng(DRAW_SEED)
    own = [pair[first].draws.metrics[metric] - pair[second].draws.metrics[metric] for pair in whole]
    draws = np.mean([generator.permutation(of_data) for of_data in own], axis=0)
    value = float(np.mean([pair[first].metrics[metric] - pair[second].metrics[metric] for pair in whole]))
    return Comparison(first, second, metric, value, percentile_interval(draws))


def differences(entries: Sequence[Entry]) -> list[str]:
    """The chosen fusion less all others, each data set and all together."""
    variants, rows = by_variant(entries), []
    chosen = next((entry.record["chosen"] for entry in entries), "")
    categories = sorted({entry.category for entry in entries})
    for second in variants:
        for metric in ("image_auroc", "aupro", "image_auroc_by_type/logical_anomalies"):
            for name in (*categories, "together"):
                own = [e for e in entries if name in ("together", e.category)]
                found = pooled(by_variant(own), chosen, second, metric) if second != chosen else None
                if found is not None:
                    row = [f"{label(chosen)} - {label(second)}", HEAD[metric], name, found.cell()]
                    rows.append([*row, verdict(found.interval)])
    note = "Paired: the same images for both. Together is the mean over data sets."
    return table("Differences", note, ["", "", "data", "difference", "the chosen fusion is"], rows)


def write_fusion_tables() -> Path:
    """Write benchmarks/results/efficientad_fusion/table.md from the records and return its path."""
    sections = [["# Student on frozen features, autoencoder, memory bank and their fusion"]]
    for seed, records in pasted_records().items():
        head = ["", "maps", *(f"{name}, {metric}" for name in records for metric in ("image AUROC", "AU-PRO")), "mean"]
        counts = [f"{r['data']}: {r['train_images']} to train, {r['test_images']} tested" for r in records.values()]
        title = f"Chosen on pasted defects, seed {seed}"
        sections.append(table(title, f"{'; '.join(counts)}.", head, selection_rows(records)))
        sections.append(progress_table(records))
    entries = load_entries(BENCH)
    for name in sorted({entry.category for entry in entries}):
        own = [entry for entry in entries if entry.category == name]
        keys = {key: head for key, head in HEAD.items() if any(key in entry.metrics for entry in own)}
        rows = [[label(e.variant), *(with_interval(e.metrics, key) for key in keys)] for e in own]
        sections.append(table(f"Test, {name}", describe(own), ["", *keys.values()], rows))
    if entries:
        sections.append(differences(entries))
    return write_page(results_page(BENCH), sections)


def main() -> None:
    """Write the tables."""
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    print(write_fusion_tables())


if __name__ == "__main__":
    main()
