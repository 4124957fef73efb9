"""Event recall against false alarms an hour as a curve, from the records of streams.

python -m benchmarks.traffic.rate_curves     a PNG beside each record of benchmarks/results/traffic_rules/
"""

import argparse
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.figure import Figure
from matplotlib.ticker import ScalarFormatter

from benchmarks.common.records import RESULTS, read_record
from d2road.utils.output_files import atomic_write

BENCH = "traffic_rules"
COLORS = matplotlib.colormaps["tab20"].colors
CURVE = "curve"  # of a row of metrics: recall by the rate that is realised


def draw_rates(metrics: Mapping[str, Mapping[str, Any]]) -> Figure:
    """A line for each row that has a curve, the best at one false alarm an hour first in the legend."""
    figure = Figure(figsize=(9, 5), dpi=100, layout="constrained")
    axes = figure.add_subplot(
        xlabel="false alarms an hour, realised", ylabel="share of events that are found", xscale="log", ylim=(0, 1.02)
    )
    rows = {name: {float(rate): value for rate, value in one[CURVE].items()} for name, one in metrics.items()}
    for color, (name, curve) in zip(COLORS, sorted(rows.items(), key=lambda row: -row[1].get(1.0, 0.0))):
        axes.plot(list(curve), list(curve.values()), color=color, marker="o", markersize=4, label=name)
    rates = sorted({rate for curve in rows.values() for rate in curve})
    axes.set_xticks(rates)
    axes.xaxis.set_major_formatter(ScalarFormatter())
    axes.minorticks_off()
    axes.grid(alpha=0.3)
    axes.legend(fontsize="small", loc="center left", bbox_to_anchor=(1.0, 0.5))
    return figure


def write_curve(path: Path, metrics: Mapping[str, Mapping[str, Any]]) -> None:
    """Write the curves of a record as a PNG."""
    content = io.BytesIO()
    draw_rates(metrics).savefig(content, format="png", metadata={"Software": None})
    with atomic_write(path) as file:
        file.write(content.getvalue())


def main() -> None:
    """Draw the curves of all records."""
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    for path in sorted((RESULTS / BENCH).glob("*.json")):
        record = read_record(BENCH, path.stem)
        assert record is not None
        if all(CURVE in one for one in record["metrics"].values()):
            write_curve(path.with_suffix(".png"), record["metrics"])
            print(path.with_suffix(".png"))


if __name__ == "__main__":
    main()
