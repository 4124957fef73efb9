"""Tables of the benchmark of EfficientAD on traffic, from its records, and what they say of the author's claim.

python -m benchmarks.traffic.traffic_benchmark --table      benchmarks/results/efficientad_traffic/table.md
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from benchmarks.common.markdown import table, write_page
from benchmarks.efficientad.anomaly_tables import (
    Comparison,
    Entry,
    by_variant,
    compare,
    conclude,
    describe,
    groups,
    load_entries,
    mean_cell,
    results_page,
    span,
)
from benchmarks.efficientad.bootstrap_draws import flat
from benchmarks.traffic.event_records import RATE, RELATIVE, VEHICLE_BASED, read_events_record, recall_difference
from d2road.traffic.baselines import BASELINES

BENCH = "efficientad_traffic"
LINEAR, RULES, RULES_V2 = "linear_attention", "rules", "rules_v2"
AIM = 0.95  # image AUROC
NAMES = {"image_auroc": "image AUROC", "aupro": "AU-PRO"}
RECALL = "event recall"
VIEWS = {"overlay": "lanes over each other", "stacked": "a panel for each lane"}
# Rules learn nothing but their thresholds.
LEARNED_BASELINES = [name for name in BASELINES if name not in (RULES, RULES_V2)]
INTERVALS = (
    "Intervals: 95 %, bootstrap over test windows and over events (1000 draws); of false alarms the exact one of a "
    "Poisson count. In brackets: lowest and highest seed. Thresholds come from good streams alone, for "
    f"{RATE:g} false alarm an hour; no type of incident was used to set anything."
)


def label(variant: str) -> str:
    """A variant in words."""
    name, plus, own = variant.partition("+")
    words = {"conv": "convolution", "pca": "principal components of images", RULES: "kinematic rules"}
    words |= {RULES_V2: "kinematic rules, second version"}
    words |= {"patch_pca": "principal components of patches", "isolation_forest": "IsolationForest on vehicles"}
    return words.get(name, name.replace("_", " ")) + (f" ({own})" if plus else "")


def write_tables() -> Path:
    """Write benchmarks/results/efficientad_traffic/table.md and return its path."""
    entries = load_entries(BENCH)
    sections = [["# EfficientAD on time-space images of traffic", "", INTERVALS] if entries else ["No record yet."]]
    for (teacher, steps, view), members in by_view(entries).items():
        title = f"## {teacher.replace('_', ' ')}, {steps} steps, {VIEWS[view]}"
        for words, own in scorings(members).items():
            variants = by_variant(own)
            sections += [[f"{title}, {words}", "", describe(own)], headline(variants), by_type(variants)]
            sections += [recall_by(variants, stratum) for stratum in ("kind", "severity", "density")]
            sections += [delays(variants), in_words(variants)]
    return write_page(results_page(BENCH), sections)


def by_view(entries: Sequence[Entry]) -> dict[tuple[str, int, str], list[Entry]]:
    """Runs that may be compared: of a teacher, a number of steps and a view, which `variant` does not say any more."""
    found: dict[tuple[str, int, str], list[Entry]] = {}
    for (teacher, steps), members in groups(entries).items():
        for view in VIEWS:
            own = [plain for entry in members if (plain := in_view(entry, view)) is not None]
            if any(map(uses_images, own)) or (view == "overlay" and not any(map(uses_images, members))):
                found[teacher, steps, view] = own
    return found


def scorings(entries: Sequence[Entry]) -> dict[str, list[Entry]]:
    """The same runs by their scores as they are, and by those relative to good traffic of the same density."""
    relative = [replace(entry, test=RELATIVE) for entry in entries]
    found = {"scores as they are": list(entries)}
    if own := [entry for entry in relative if entry.record is not None]:
        found["scores relative to good traffic of the same density"] = own
    return found


def uses_images(entry: Entry) -> bool:
    """Whether a run is given images, not vehicles alone."""
    return entry.variant.partition("+")[0] not in VEHICLE_BASED


def in_view(entry: Entry, view: str) -> Entry | None:
    """A run as one of a view, None if it is of another."""
    name, plus, own = entry.variant.partition("+")
    name, _, of = name.partition("-")
    if uses_images(entry) and (of or "overlay") != view:
        return None
    return replace(entry, variant=name + plus + own)


def records_of(entries: Sequence[Entry]) -> list[dict]:
    """Records of events of the seeds of a variant."""
    found = [read_events_record(BENCH, entry.name, entry.test) for entry in entries]
    return [record for record in found if record is not None]


def cell(records: Sequence[dict], key: str, digits: int = 2, interval: str = "") -> str:
    """Mean over seeds of a figure of events, with the interval of a single seed or the range of several."""
    figures = [flat(record["metrics"]) for record in records]
    values = [figure[key] for figure in figures if figure.get(key) is not None]
    if not values:
        return "-"
    text = f"{np.mean(values):.{digits}f}"
    if len(values) > 1:
        return f"{text} [{min(values):.{digits}f}, {max(values):.{digits}f}]"
    bounds = figures[0].get(f"intervals/{interval or key}")
    if not bounds or None in bounds:
        return text
    return f"{text} ({bounds[0]:.{digits}f} to {bounds[1]:.{digits}f})"


def headline(variants: dict[str, list[Entry]]) -> list[str]:
    """A row a variant: windows, then streams."""
    rows = []
    for name, seeds in variants.items():
        records = records_of(seeds)
        rows.append(
            [label(name), " ".join(str(entry.seed) for entry in seeds)]
            + [mean_cell(seeds, key) for key in NAMES]
            + [cell(records, "recall"), cell(records, "delay_s/median", 1, "delay_s_median")]
            + [cell(records, "delay_s/p90", 1), cell(records, "false_alarms_per_hour")]
        )
    head = ["", "seeds", *NAMES.values(), f"{RECALL} at {RATE:g} false alarm/h", "median delay (s)", "90 % (s)"]
    head.append("false alarms/h in the test streams")
    return table("All incidents", "", head, rows)


def by_type(variants: dict[str, list[Entry]]) -> list[str]:
    """Image AUROC by type."""
    entries = [entry for seeds in variants.values() for entry in seeds]
    kinds = sorted({k for e in entries for k in e.metrics if k.startswith("image_auroc_by_type/")})
    rows = [[label(v), *(mean_cell(seeds, kind) for kind in kinds)] for v, seeds in variants.items()]
    head = ["", *(kind.partition("/")[2].replace("_", " ") for kind in kinds)]
    return table("Image AUROC by type", "Mean over seeds.", head, rows)


def recall_by(variants: dict[str, list[Entry]], stratum: str) -> list[str]:
    """Recall by type, severity or density."""
    of_variant = {name: records_of(seeds) for name, seeds in variants.items()}
    all_records = [record for records in of_variant.values() for record in records]
    values = sorted({v for r in all_records for v in r["metrics"].get(f"recall_by_{stratum}", {})})
    rows = [
        [label(name), *(cell(records, f"recall_by_{stratum}/{value}") for value in values)]
        for name, records in of_variant.items()
        if records
    ]
    title = {"kind": "type", "severity": "severity", "density": "density of the traffic"}[stratum]
    head = ["", *(value.replace("_", " ") for value in values)]
    return table(f"Event recall by {title}", "", head, rows)


def delays(variants: dict[str, list[Entry]]) -> list[str]:
    """Median delay by type."""
    of_variant = {name: records_of(seeds) for name, seeds in variants.items()}
    kinds = sorted({k for records in of_variant.values() for r in records for k in r["metrics"]["delay_s_by_kind"]})
    rows = [
        [label(name), *(cell(records, f"delay_s_by_kind/{kind}", 1) for kind in kinds)]
        for name, records in of_variant.items()
        if records
    ]
    note = "Seconds from the onset to the end of the first alarming window, of the events that were found."
    return table("Median delay by type", note, ["", *(kind.replace("_", " ") for kind in kinds)], rows)


def comparisons(variants: dict[str, list[Entry]], first: str, others: Sequence[str], metric: str) -> list[Comparison]:
    """`first` against others in a metric of windows, or in recall."""
    found = []
    for other in others:
        if first not in variants or other not in variants or first == other:
            continue
        if metric != RECALL:
            one = compare(variants[first], variants[other], metric)
            found += [one] if one else []
            continue
        sides = [records_of(variants[name]) for name in (other, first)]
        if all(sides):
            difference, interval = recall_difference(*sides)
            found.append(Comparison(first, other, RECALL, difference, interval))
    return found


def in_words(variants: dict[str, list[Entry]]) -> list[str]:
    """The author's claim, the aim, the baselines: held or not, by the intervals."""
    trained = [name for name in variants if name.partition("+")[0] not in BASELINES]
    of_rules = [c for metric in ("image_auroc", RECALL) for c in comparisons(variants, RULES_V2, [RULES], metric)]
    lines = ["## In words", ""]
    for c in of_rules:
        what = NAMES.get(c.metric, c.metric)
        lines.append(f"- {what} of {label(c.first)} less that of {label(c.second)}: {c.cell()}, {c.verdict}.")
    if not trained:
        return lines if of_rules else []
    others = [name for name in trained if name != LINEAR]
    for metric, words in {**NAMES, RECALL: RECALL}.items():
        found = comparisons(variants, LINEAR, others, metric)
        if found:
            held = all(c.verdict == "better" for c in found)
            lines.append(
                f"- The author's claim that linear attention is best: **{'held' if held else 'not held'}** in {words}. "
                + conclude("linear attention", words, found, label)
            )
    for name in trained:
        reached = float(np.mean([entry.metrics["image_auroc"] for entry in variants[name]]))
        lines.append(f"- {label(name)}: image AUROC {reached:.3f}, aim {AIM:.2f} {_reached(reached >= AIM)}.")
        for metric in ("image_auroc", RECALL):
            found = comparisons(variants, name, [b for b in LEARNED_BASELINES if b in variants], metric)
            cells = [f"{label(c.second)} {c.difference:+.3f} ({span(c.interval, '+')}, {c.verdict})" for c in found]
            if cells:
                best = all(c.verdict == "better" for c in found)
                lines.append(
                    f"- {label(name)} {'is' if best else 'is not'} better than every learned baseline in "
                    f"{NAMES.get(metric, metric)}: against {'; '.join(cells)}."
                )
    return [*lines, *where_rules_win(variants, trained)]


def where_rules_win(variants: dict[str, list[Entry]], trained: Sequence[str]) -> list[str]:
    """Types of which rules find more than the best of the trained models."""
    rules = records_of(variants.get(RULES, []))
    models = {name: records for name in trained if (records := records_of(variants[name]))}
    if not rules or not models:
        return []
    lines = []
    for kind, share in rules[0]["metrics"]["recall_by_kind"].items():
        of_model = {n: float(np.mean([r["metrics"]["recall_by_kind"][kind] for r in rs])) for n, rs in models.items()}
        best = max(of_model, key=of_model.get)
        if share > of_model[best]:
            lines.append(f"{kind.replace('_', ' ')} ({share:.2f} against {of_model[best]:.2f} of {label(best)})")
    return [f"- Simple rules find more events of: {', '.join(lines) if lines else 'no type'}."]


def _reached(reached: bool) -> str:
    return "reached" if reached else "not reached"
