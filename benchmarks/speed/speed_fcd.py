"""Rows a second of readers of floating-car data, and bytes a row of a whole table, on one file of SUMO's XML.

    python -m benchmarks.speed.speed_fcd [--rows 400000] [--vehicles 100] [--turns 5]
        [--table-rows 5000000] [--record NAME]

Each reader runs in a process of its own, one after the other in every turn; seconds are of its processor, without
imports. Ours gives checked, sorted tables with speeds, lengths and lanes; the others give numbers and texts of the
attributes, unchecked. The bytes a row are those by which the process has grown at its peak, and of the table itself.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from unittest import mock

import pandas as pd

from benchmarks.common.process_memory import MEGABYTE, peak_mb
from benchmarks.speed.speed_trajectories import ROOT, write_fcd
from d2road.synthetic.traffic_incidents.sumo import sumo_home
from d2road.traffic.readers import open_trajectories
from d2road.traffic.readers.fcd_lines import VehicleLine
from d2road.utils.progress import format_progress

BYTES_A_ROW = 134.5  # as write_fcd writes them
NAMES = ("id", "type", "speed", "pos", "lane")  # in the order of the file, which sumolib asks for
NUMBERS = ("speed", "pos")


def ours(path: Path) -> int:
    """Rows that our stream of tables gives."""
    return sum(len(chunk) for chunk in open_trajectories(path).chunks(60))


def expat_alone(path: Path) -> int:
    """Rows of the same without the reading of lines as a table."""
    with mock.patch.object(VehicleLine, "first_of", return_value=None):
        return ours(path)


def sumolib_fast(path: Path) -> int:
    """Rows of sumolib's parse_fast_nested, numbers as numbers."""
    home = sumo_home()
    assert home is not None, "needs SUMO: pip install eclipse-sumo"
    sys.path.append(str(home / "tools"))
    from sumolib.xml import parse_fast_nested

    rows = 0
    for step, vehicle in parse_fast_nested(str(path), "timestep", ["time"], "vehicle", list(NAMES)):
        float(step.time), float(vehicle.speed), float(vehicle.pos)
        rows += 1
    return rows


def element_tree(path: Path) -> int:
    """Rows of Python's own incremental parser, numbers as numbers."""
    return len(list(_elements(path)))


def _elements(path: Path) -> Iterator[tuple]:
    time_s = 0.0
    for event, element in ElementTree.iterparse(path, ("start", "end")):
        if event == "start" and element.tag == "timestep":
            time_s = float(element.get("time", "nan"))
        elif event == "end" and element.tag == "vehicle":
            values = [float(element.get(name, "nan")) if name in NUMBERS else element.get(name) for name in NAMES]
            yield time_s, *values
        elif event == "end" and element.tag == "timestep":
            element.clear()


def pandas_xml(path: Path) -> int:
    """Rows of pandas.read_xml, which gives no times: they are of the element around."""
    return len(pd.read_xml(path, iterparse={"vehicle": list(NAMES)}, parser="etree"))


def pandas_table(path: Path) -> int:
    """Rows of Python's own incremental parser, as a table of pandas."""
    return len(pd.DataFrame(_elements(path), columns=["time", *NAMES]))


READERS: dict[str, Callable[[Path], int]] = {
    "this project": ours,
    "this project, expat alone": expat_alone,
    "sumolib, parse_fast_nested": sumolib_fast,
    "xml.etree, iterparse": element_tree,
    "xml.etree into pandas": pandas_table,
    "pandas.read_xml": pandas_xml,
}


def measure(name: str, path: Path) -> dict[str, float]:
    """One reader in this process."""
    before, start = peak_mb(), time.process_time()
    if name != "table":
        return {"rows": READERS[name](path), "seconds": time.process_time() - start, "peak_mb": peak_mb()}
    table = open_trajectories(path).table()
    bytes_a_row = (peak_mb() - before) * MEGABYTE / len(table)
    own = int(table.frame.memory_usage(deep=True).sum()) / len(table)
    return {"rows": len(table), "peak_bytes_a_row": bytes_a_row, "table_bytes_a_row": own}


def run_child(name: str, path: Path) -> dict[str, float]:
    """`measure` in a process of its own."""
    command = [sys.executable, "-W", "ignore", "-m", "benchmarks.speed.speed_fcd", "--child", name, str(path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def compared(turns: dict[str, list[dict[str, float]]]) -> dict[str, dict]:
    """Rows a second of each reader, and how many times as fast ours is, turn by turn; printed as well."""
    own = [turn["seconds"] for turn in turns["this project"]]
    metrics = {}
    for name, found in turns.items():
        seconds = [turn["seconds"] for turn in found]
        ratios = [other / first for other, first in zip(seconds, own)]
        metrics[name] = {
            "rows_per_processor_second": found[0]["rows"] / statistics.median(seconds),
            "ours_is_times_as_fast": statistics.median(ratios),
            "from_to": [min(ratios), max(ratios)],
            "peak_mb": statistics.median(turn["peak_mb"] for turn in found),
        }
        print(f"{name}: {metrics[name]}", flush=True)
    return metrics


def main(argv: Sequence[str] | None = None) -> int:
    """All readers in turns, then the whole table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=400_000, help="of the file that is read (default 400000)")
    parser.add_argument("--vehicles", type=int, default=100, help="at any time (default 100)")
    parser.add_argument("--turns", type=int, default=5, help="of every reader (default 5)")
    parser.add_argument("--table-rows", type=int, default=5_000_000, help="of the whole table (default 5000000)")
    parser.add_argument("--record", metavar="NAME", help="keep the figures as benchmarks/results/benchmark/NAME.json")
    parser.add_argument("--child", nargs=2, help=argparse.SUPPRESS)
    args = parser.parse_args(argv)
    if args.child:
        print(json.dumps(measure(args.child[0], Path(args.child[1]))))
        return 0
    begin = time.perf_counter()
    turns: dict[str, list[dict[str, float]]] = {name: [] for name in READERS}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "fcd.xml"
        write_fcd(path, args.rows * BYTES_A_ROW, args.vehicles)
        for turn in range(args.turns):
            for name, found in turns.items():
                found.append(run_child(name, path))
            print(format_progress("turn", turn + 1, args.turns, time.perf_counter() - begin), flush=True)
        write_fcd(path, args.table_rows * BYTES_A_ROW, args.vehicles)
        table = run_child("table", path)
    metrics: dict = {"table": table, **compared(turns)}
    print(
        f"table of {table['rows']} rows: {table['table_bytes_a_row']:.1f} bytes a row, "
        f"{table['peak_bytes_a_row']:.1f} at the peak"
    )
    if args.record:
        keys = {name: getattr(args, name) for name in ("rows", "vehicles", "turns", "table_rows")}
        options = " ".join(f"--{key.replace('_', '-')} {value}" for key, value in keys.items())
        command, seconds = f"python -m benchmarks.speed.speed_fcd {options}", time.perf_counter() - begin
        # Here, for it loads torch, whose memory would be that of every reader.
        from benchmarks.common.records import write_record

        write_record("benchmark", args.record, metrics=metrics, command=command, config=keys, seed=0, seconds=seconds)
    return 0


if __name__ == "__main__":
    sys.exit(main())
