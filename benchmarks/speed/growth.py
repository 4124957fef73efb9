"""How time and memory grow with boxes, steps, sentences, words, pixels, vehicles and hours; exponents beside claims.

    python -m benchmarks.speed.growth                     measure what has no record, print the table, draw the figure
    python -m benchmarks.speed.growth --axes traffic_hours --again
    python -m benchmarks.speed.growth --table             print and draw what has been recorded

Each value runs in a process of its own on one thread; time is that of the processor, memory the highest that is
resident beyond what was there before (of a model: its weights). An exponent is the slope of logarithms, of least
squares over all values; 1 is linear, 0 flat. Records: benchmarks/results/growth/.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.common.records import read_record, write_record
from benchmarks.speed.growth_points import AXES, measure
from d2road.utils.output_files import atomic_write

BENCH = "growth"
FIGURE = Path("docs/images/growth.svg")
# The highest exponent that is linear; the largest ratio of memory that is flat, beside what an allocator keeps.
LINEAR, FLAT, NOISE_MB = 1.1, 1.25, 10.0
COLUMNS = ("system", "of what", "values", "processor s", "exponent", "MB beyond the model", "exponent", "claimed")
HEADER = f"| {' | '.join(COLUMNS)} |\n{'|---' * len(COLUMNS)}|"


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """The options; see `--help`."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.speed.growth",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    names = ", ".join(AXES)
    parser.add_argument("--axes", nargs="+", choices=tuple(AXES), default=list(AXES), metavar="NAME", help=names)
    parser.add_argument("--runs", type=int, default=3, help="of each value; the fastest counts (hours: 1)")
    parser.add_argument("--again", action="store_true", help="also what has a record")
    parser.add_argument("--table", action="store_true", help="measure nothing")
    parser.add_argument("--point", nargs=2, metavar=("NAME", "VALUE"), help=argparse.SUPPRESS)
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, record, print and draw; returns 0."""
    args = parse(argv)
    if args.point:
        print("POINT " + json.dumps(measure(AXES[args.point[0]], float(args.point[1]), args.runs)))
        return 0
    for name in () if args.table else args.axes:
        if args.again or read_record(BENCH, name) is None:
            record(name, args.runs)
    found = {name: content["metrics"] for name in AXES if (content := read_record(BENCH, name)) is not None}
    print("\n".join([HEADER, *(line(name, metrics) for name, metrics in found.items())]))
    draw(found)
    return 0


def record(name: str, runs: int) -> None:
    """Measure an axis and keep it."""
    start = time.perf_counter()
    points = [point(name, value, 1 if name == "traffic_hours" else runs) for value in AXES[name].values]
    metrics = {"points": points, "time_exponent": exponent(points, "seconds")}
    metrics |= {"memory_exponent": exponent(points, "memory_mb")}
    write_record(
        BENCH, name, metrics=metrics, command=f"python -m benchmarks.speed.growth --axes {name} --runs {runs}",
        config="see benchmarks/speed/growth_points.py", seed=0, seconds=time.perf_counter() - start,
    )  # fmt: skip


def point(name: str, value: float, runs: int) -> dict[str, Any]:
    """What a process of its own measures at a value."""
    command = [sys.executable, "-W", "ignore", "-m", "benchmarks.speed.growth", "--point", name, str(value)]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [*command, "--runs", str(runs)], check=True, stdout=subprocess.PIPE, text=True, env=environment
    )
    found = json.loads(next(row for row in done.stdout.splitlines() if row.startswith("POINT "))[6:])
    print(f"{name} {value:g}: {found['seconds']:.3f} s, {found['memory_mb']:.0f} MB", flush=True)
    return found


def exponent(points: Sequence[dict[str, Any]], what: str) -> float:
    """Slope of the logarithms by least squares; memory counts from 1 MB on."""
    x = np.log([one["value"] for one in points])
    y = np.log([max(one[what], 1.0 if what == "memory_mb" else 1e-6) for one in points])
    return float(np.polyfit(x, y, 1)[0])


def keeps(name: str, metrics: dict[str, Any]) -> str:
    """What is claimed of an axis, and whether it holds."""
    axis, said = AXES[name], []
    for what, claim in (("time", axis.time), ("memory", axis.memory)):
        if claim == "linear":
            holds = metrics[f"{what}_exponent"] <= LINEAR
        else:
            taken = [one["memory_mb"] for one in metrics["points"]]
            holds = max(taken) <= FLAT * taken[0] + NOISE_MB
        if claim:
            said.append(f"{what} {claim}{'' if holds else ', missed'}")
    return "; ".join(said)


def line(name: str, metrics: dict[str, Any]) -> str:
    """A row of the table."""
    axis, points = AXES[name], metrics["points"]

    def listed(values: Sequence[float], digits: str) -> str:
        return ", ".join(f"{value:{digits}}" for value in values)

    columns = [
        axis.system,
        axis.unit,
        listed([one["value"] for one in points], "g"),
        listed([one["seconds"] for one in points], ".3g"),
        f"{metrics['time_exponent']:.2f}",
        listed([one["memory_mb"] for one in points], ".0f"),
        f"{metrics['memory_exponent']:.2f}",
        keeps(name, metrics),
    ]
    return "| " + " | ".join(columns) + " |"


def draw(found: dict[str, dict[str, Any]]) -> None:
    """The figure: time and memory of each axis over its values, both axes logarithmic."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    if not found:
        return
    figure = Figure(figsize=(10, 4.2), layout="constrained")
    for number, (what, title) in enumerate((("seconds", "processor time"), ("memory_mb", "memory beyond the model"))):
        axes = figure.add_subplot(1, 2, number + 1)
        for name, metrics in found.items():
            points = metrics["points"]
            x = np.array([one["value"] for one in points]) / points[0]["value"]
            y = np.array([max(one[what], 1e-6) for one in points])
            axes.plot(x, y / y[0], marker="o", label=f"{AXES[name].system}: {AXES[name].unit}")
        ends = np.array([1, 64])
        axes.plot(ends, ends, color="black", linestyle=":", label="linear")
        axes.set(xscale="log", yscale="log", xlabel="times the first value", ylabel="times the first", title=title)
        axes.set_ylim(bottom=0.5)
    figure.axes[0].legend(fontsize=7)
    with rc_context({"svg.hashsalt": "growth"}), atomic_write(FIGURE) as file:
        figure.savefig(file, format="svg", metadata={"Date": None})


if __name__ == "__main__":
    sys.exit(main())
