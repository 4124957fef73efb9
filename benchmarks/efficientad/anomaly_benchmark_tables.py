"""Tables of the benchmarks of EfficientAD, made from their records; what has no record is left out.

python -m benchmarks.efficientad.anomaly_benchmark_tables  benchmarks/results/efficientad_{screw,loco,mvtec}/table.md,
    and the curves of screw
"""

import argparse
from collections.abc import Container, Sequence
from pathlib import Path

import numpy as np

from benchmarks.common.markdown import table, write_page
from benchmarks.efficientad.anomaly_tables import (
    SEG_F1,
    Comparison,
    Entry,
    by_variant,
    compare,
    conclude,
    describe,
    groups,
    is_trained,
    load_entries,
    mean_cell,
    results_page,
    value,
    with_interval,
)
from benchmarks.efficientad.training_curves import draw_curves, points

SCREW, LOCO, MVTEC = "efficientad_screw", "efficientad_loco", "efficientad_mvtec"
LINEAR, CONV, BASELINE = "linear_attention", "conv", "memory_bank"
PATCHCORE = "patchcore"
AIM = 0.80  # image AUROC on screws
NAMES = {
    "image_auroc": "image AUROC",
    "pixel_auroc": "pixel AUROC",
    "aupro": "AU-PRO",
    "auspro/mean/0.05": "sPRO at 0.05",
    "auspro/logical_anomalies/0.05": "sPRO at 0.05, logical",
    "auspro/structural_anomalies/0.05": "sPRO at 0.05, structural",
    "image_auroc_by_type/mean": "image AUROC",
    "image_auroc_by_type/logical_anomalies": "image AUROC, logical",
    "image_auroc_by_type/structural_anomalies": "image AUROC, structural",
}
MVTEC_METRICS = {
    "image_auroc": "image AUROC",
    "image_auroc_by_type/logical_anomalies": "image AUROC, logical",
    "image_auroc_by_type/structural_anomalies": "image AUROC, structural",
    "pixel_auroc": "pixel AUROC",
    "aupro": "AU-PRO",
    "aupro@0.05": "AU-PRO at 0.05",
    "auspro/mean/0.05": "sPRO at 0.05",
    "f1_max": "F1",
    "f1_at_good_threshold": "F1, threshold of good images",
    "pixel_f1_max": "pixel F1",
    SEG_F1: "SegF1: pixel F1, threshold of good images",
}
LOCO_METRICS = [name for name in NAMES if "/" in name]
SAID = {
    BASELINE: "memory bank, no training",
    "memory_bank_whitened": "memory bank, whitened, no training",
    CONV: "convolution",
    PATCHCORE: "PatchCore",
    "padim": "PaDiM",
    "pca": "PCA",
    "anomalib_patchcore": "anomalib's PatchCore",
    "anomalib_padim": "anomalib's PaDiM",
}
INTERVALS = (
    "Intervals: 95 %, bootstrap over the test images (1000 draws); for means over seeds every draw also takes seeds, "
    "with replacement, which with so few of them says little of other trainings. In brackets: lowest and highest seed."
)


def label(variant: str) -> str:
    """A variant in words: "linear attention, bottleneck 64"."""
    variant, plus, own = variant.partition("+")
    name, _, bottleneck = variant.partition("-")
    words = SAID.get(name, name.replace("_", " "))
    words += {"": "", "0": ", no bottleneck"}.get(bottleneck, f", bottleneck {bottleneck}")
    return words + (f" (own keys, {own})" if plus else "")


# --- screw ---


def write_screw_tables() -> Path:
    """Write benchmarks/results/efficientad_screw/table.md and its curves; returns the path of the page."""
    page, entries = results_page(SCREW), load_entries(SCREW)
    sections = [["# EfficientAD on screws of MVTec AD", "", INTERVALS] if entries else ["No record yet."]]
    for (teacher, steps), members in groups(entries).items():
        sections.append([f"## {teacher.replace('_', ' ')}, {steps} steps", "", describe(members)])
        sections += [screw_runs(members), screw_types(members), screw_differences(members), screw_words(members)]
        sections.append(screw_bits(members))
        if any(is_trained(entry) for entry in members):
            image = page.with_name(f"curve_{teacher}_{steps}steps.png")
            draw_curves(members, image, label)
            sections += [screw_curve(members), [f"![Image AUROC over steps]({image.name})"]]
    return write_page(page, sections)


def screw_runs(entries: Sequence[Entry]) -> list[str]:
    """A row a run."""
    rows = []
    for entry in entries:
        m = entry.metrics
        losses = " / ".join(value(m, f"losses/loss_{k}", 2) for k in ("hard", "autoencoder", "student_autoencoder"))
        rows.append(
            [label(entry.variant), str(entry.seed)]
            + [with_interval(m, key) for key in ("image_auroc", "aupro")]
            + [value(m, key) for key in ("pixel_auroc", "f1_max", "f1_at_good_threshold")]
            + [losses if is_trained(entry) else "-", value(m, "seconds_per_step", 2)]
        )
    head = ["", "seed", "image AUROC", "AU-PRO", "pixel AUROC", "F1, best threshold", "F1, threshold of good images"]
    head += ["last losses: hard / autoencoder / student-autoencoder", "s a step"]
    return table("Runs", "", head, rows)


def screw_types(entries: Sequence[Entry]) -> list[str]:
    """Image AUROC by type of defect, mean over seeds."""
    kinds = sorted({k for e in entries for k in e.metrics if k.startswith("image_auroc_by_type/")})
    rows = [[label(v), *(mean_cell(seeds, kind) for kind in kinds)] for v, seeds in by_variant(entries).items()]
    head = ["", *(kind.partition("/")[2].replace("_", " ") for kind in kinds)]
    return table("Image AUROC by type of defect", "Mean over seeds.", head, rows)


def screw_curve(entries: Sequence[Entry]) -> list[str]:
    """Image AUROC and AU-PRO of the checkpoints."""
    rows = []
    for entry in filter(is_trained, entries):
        for steps, m in points(entry).items():
            rows.append([label(entry.variant), str(entry.seed), str(steps)])
            rows[-1] += [with_interval(m, key) for key in ("image_auroc", "aupro")]
    note = "Checkpoints on the way, each calibrated on the validation images. They chose nothing."
    return table("Over steps", note, ["", "seed", "steps", "image AUROC", "AU-PRO"], rows)


def screw_comparisons(entries: Sequence[Entry], metric: str) -> list[Comparison]:
    """Linear attention against all others, then the others against the baseline."""
    variants = by_variant(entries)
    pairs = [(LINEAR, other) for other in variants if other != LINEAR]
    pairs += [(v, _baseline_of(v, variants)) for v in variants if v not in (LINEAR, _baseline_of(v, variants))]
    found = [compare(variants[a], variants[b], metric) for a, b in pairs if a in variants and b in variants]
    return [comparison for comparison in found if comparison]


def _baseline_of(variant: str, variants: Container[str]) -> str:
    """The baseline with the keys of a variant, where there is one."""
    _, plus, keys = variant.partition("+")
    return BASELINE + plus + keys if BASELINE + plus + keys in variants else BASELINE


def screw_differences(entries: Sequence[Entry]) -> list[str]:
    """Paired differences."""
    rows = [
        [NAMES[metric], f"{label(c.first)} - {label(c.second)}", c.cell(), c.verdict]
        for metric in ("image_auroc", "aupro")
        for c in screw_comparisons(entries, metric)
    ]
    return table("Differences", "Paired: the same images for both.", ["", "difference", "", "the first is"], rows)


def screw_words(entries: Sequence[Entry]) -> list[str]:
    """Whether the aims are met, and whether linear attention is best."""
    variants = by_variant(entries)
    lines = ["## In words", ""]
    for name, seeds in variants.items():
        if is_trained(seeds[0]):
            reached = np.mean([entry.metrics["image_auroc"] for entry in seeds]) >= AIM
            lines.append(
                f"- {label(name)}: image AUROC {mean_cell(seeds, 'image_auroc')}, seeds {len(seeds)}; the aim of "
                f"{AIM:.2f} is {'reached' if reached else 'not reached'}."
            )
    for metric in ("image_auroc", "aupro"):
        found = screw_comparisons(entries, metric)
        lines += [
            f"- {NAMES[metric]} of {label(c.first)} less that of {label(c.second)}: {c.cell()}, {c.verdict}."
            for c in found
            if c.second.partition("+")[0] == BASELINE
        ]
        if LINEAR in variants:
            trained = [c for c in found if c.first == LINEAR and c.second.partition("+")[0] != BASELINE]
            lines.append(f"- {conclude('linear attention', NAMES[metric], trained, label)}")
    return lines if len(variants) > 1 else []


def screw_bits(entries: Sequence[Entry]) -> list[str]:
    """What lower precision in testing costs the same trained models."""
    rows = []
    for entry in filter(is_trained, entries):
        for precision, narrow in entry.narrower.items():
            rows.append([label(entry.variant), str(entry.seed), precision])
            for metric in ("image_auroc", "aupro"):
                comparison = compare([narrow], [entry], metric)
                rows[-1] += [value(narrow.metrics, metric), comparison.cell() if comparison else "-"]
    note = "The final checkpoints, calibrated and tested in fewer bits; differences to float32, paired."
    head = ["", "seed", "precision", "image AUROC", "difference", "AU-PRO", "difference"]
    return table("In fewer bits", note, head, rows) if rows else []


# --- loco ---


def write_loco_tables() -> Path:
    """Write benchmarks/results/efficientad_loco/table.md and return its path."""
    entries = load_entries(LOCO)
    sections = [["# EfficientAD on generated fastener kits", "", INTERVALS] if entries else ["No record yet."]]
    for (teacher, steps), members in groups(entries).items():
        variants = by_variant(members)
        sections.append([f"## {teacher.replace('_', ' ')}, {steps} steps", "", describe(members)])
        rows = [
            [label(name), " ".join(str(entry.seed) for entry in seeds), *(mean_cell(seeds, m) for m in LOCO_METRICS)]
            for name, seeds in variants.items()
        ]
        sections.append(table("Attention and bottleneck", "", ["", "seeds", *(NAMES[m] for m in LOCO_METRICS)], rows))
        found = {metric: loco_comparisons(variants, metric) for metric in LOCO_METRICS}
        rows = [
            [NAMES[metric], f"{label(c.first)} - {label(c.second)}", c.cell(), c.verdict]
            for metric, comparisons in found.items()
            for c in comparisons
        ]
        note = "Linear attention less another autoencoder of the same bottleneck, or less the published one; paired."
        sections.append(table("Differences", note, ["", "difference", "", "linear attention is"], rows))
        sections.append(loco_words(variants, found))
    return write_page(results_page(LOCO), sections)


def loco_comparisons(variants: dict[str, list[Entry]], metric: str) -> list[Comparison]:
    """Linear attention at each bottleneck against the other kinds there, and against the published autoencoder."""
    found = []
    for first in variants:
        name, _, bottleneck = first.partition("-")
        if name != LINEAR:
            continue
        others = [v for v in variants if v != first and (v.partition("-")[2] == bottleneck or v == f"{CONV}-64")]
        found += [compare(variants[first], variants[other], metric) for other in others]
    return [comparison for comparison in found if comparison]


def loco_words(variants: dict[str, list[Entry]], found: dict[str, list[Comparison]]) -> list[str]:
    """Whether linear attention is best, bottleneck by bottleneck, by the intervals."""
    lines = ["## In words", "", "The author of the method found linear attention best. Here, by the intervals:", ""]
    for first in [name for name in variants if name.partition("-")[0] == LINEAR]:
        for metric in LOCO_METRICS:
            own = [c for c in found[metric] if c.first == first]
            lines.append(f"- {conclude(label(first), NAMES[metric], own, label)}")
    return lines if len(lines) > 4 else []


# --- mvtec ---


def write_mvtec_tables() -> Path:
    """Write benchmarks/results/efficientad_mvtec/table.md, with the mean over categories, and return its path."""
    entries = load_entries(MVTEC)
    sections = [
        ["# PatchCore, EfficientAD and baselines by category", "", INTERVALS] if entries else ["No record yet."]
    ]
    sections.append(mvtec_differences(entries))
    runs: dict[tuple, list[Entry]] = {}
    for entry in entries:
        runs.setdefault((entry.teacher, entry.steps, entry.variant, entry.seed), []).append(entry)
    for (teacher, steps, variant, seed), members in runs.items():
        keys = {key: name for key, name in MVTEC_METRICS.items() if any(key in e.metrics for e in members)}
        rows = [[e.category, *(with_interval(e.metrics, key) for key in keys)] for e in members]
        rows.append([f"**mean of {len(members)}**", *(mean_of_categories(members, key) for key in keys)])
        title = f"{label(variant)}, seed {seed}, {teacher.replace('_', ' ')}" + (f", {steps} steps" if steps else "")
        ready = [f"{e.record['seconds_to_calibrated']:.0f}" for e in members if "seconds_to_calibrated" in e.record]
        note = f"Intervals: 95 %, bootstrap. Last category: {describe(members)}"
        note += f" Seconds to a calibrated model: {', '.join(ready)}." if ready else ""
        sections.append(table(title, note, ["category", *keys.values()], rows))
    return write_page(results_page(MVTEC), sections)


def mvtec_differences(entries: Sequence[Entry]) -> list[str]:
    """PatchCore less every other variant on the same category, seed and images."""
    rows = []
    for first in [entry for entry in entries if entry.variant == PATCHCORE]:
        for second in entries:
            of_both = [(entry.record["data"], entry.seed) for entry in (first, second)]
            if second is first or of_both[0] != of_both[1]:
                continue
            for metric in ("image_auroc", "aupro"):
                found = compare([first], [second], metric)
                if found:
                    row = [first.category, f"{label(PATCHCORE)} - {label(second.variant)}", NAMES[metric], found.cell()]
                    rows.append([*row, found.verdict])
    head = ["category", "difference", "", "", "PatchCore is"]
    return table("Differences", "Paired: the same images for both.", head, rows)


def mean_of_categories(entries: Sequence[Entry], key: str) -> str:
    """Mean over the categories that have the metric; says of how many if not of all."""
    values = [entry.metrics[key] for entry in entries if key in entry.metrics]
    if not values:
        return "-"
    return f"{np.mean(values):.3f}" + (f" (of {len(values)})" if len(values) < len(entries) else "")


def main() -> None:
    """Write all tables."""
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    for write in (write_screw_tables, write_loco_tables, write_mvtec_tables):
        print(write())


if __name__ == "__main__":
    main()
