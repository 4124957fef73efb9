"""Image AUROC over training steps, from the records of checkpoints, as numbers and as an image."""

import io
from collections.abc import Callable, Sequence
from pathlib import Path

import matplotlib
from matplotlib.figure import Figure

from benchmarks.common.records import RESULTS, read_record
from benchmarks.efficientad.anomaly_results import FINAL
from benchmarks.efficientad.anomaly_tables import Entry, by_variant, is_trained
from benchmarks.efficientad.bootstrap_draws import flat
from d2road.utils.output_files import atomic_write

COLORS = matplotlib.colormaps["tab10"].colors
MARKERS = "osD^v<>"


def points(entry: Entry) -> dict[int, dict[str, float]]:
    """Metrics of a run's checkpoints by step, the final one last."""
    found = {}
    for path in (RESULTS / entry.bench / entry.name).glob("*.json"):
        if path.stem.startswith("steps") or path.stem == FINAL:
            record = read_record(entry.bench, f"{entry.name}/{path.stem}")
            found[record["steps"]] = flat(record["metrics"])
    return dict(sorted(found.items()))


def draw_curves(entries: Sequence[Entry], path: Path, label: Callable[[str], str]) -> None:
    """Write a PNG: image AUROC over steps with its 95 % interval, a colour a variant; baselines as dashed lines."""
    figure = Figure(figsize=(8, 5), dpi=100, layout="constrained")
    axes = figure.add_subplot(xlabel="training steps", ylabel="image AUROC")
    for color, (variant, seeds) in zip(COLORS * 3, by_variant(entries).items()):
        for marker, entry in zip(MARKERS * 3, seeds):
            words = f"{label(variant)}, seed {entry.seed}"
            if not is_trained(entry):
                axes.axhline(entry.metrics["image_auroc"], color=color, linestyle="--", label=words)
                continue
            curve = points(entry)
            values = [m["image_auroc"] for m in curve.values()]
            bounds = [m["intervals/image_auroc"] for m in curve.values()]
            axes.plot(list(curve), values, color=color, marker=marker, label=words)
            axes.fill_between(list(curve), *zip(*bounds), color=color, alpha=0.08, linewidth=0)
    axes.grid(alpha=0.3)
    axes.legend(fontsize="small")
    content = io.BytesIO()
    figure.savefig(content, format="png")
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(path) as file:
        file.write(content.getvalue())
