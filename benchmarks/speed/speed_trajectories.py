"""Time-space images a second, and what reading floating-car data of any size costs.

    python -m benchmarks.speed.speed_trajectories [--gb 2] [--vehicles 100] [--windows 400] [--workers 2] [--folder DIR]
        [--record NAME]

Writes a file of SUMO's FCD (three lanes, 10 Hz) of so many GB, reads it in a process of its own as a stream and prints
rows a second and the peak of memory; then draws windows of dense traffic in some processes at once. --gb 0 only draws.
Seconds of processor do not depend on what else the machine does. --record keeps benchmarks/results/benchmark/NAME.json.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from d2road.traffic.table import Trajectories
from d2road.traffic.time_space.render import LAYOUTS, TimeSpaceRenderer
from d2road.utils.parallel import run_jobs
from d2road.utils.progress import format_progress

# Rows, processor seconds and peak of memory in MB of a process that only reads.
CHILD = (
    "import sys, time; from benchmarks.common.process_memory import peak_mb; "
    "from d2road.traffic.readers import open_trajectories; "
    "loaded = time.process_time(); "
    "rows = sum(len(chunk) for chunk in open_trajectories(sys.argv[1]).chunks(60)); "
    "print(rows, time.process_time() - loaded, peak_mb())"
)
ROOT = Path(__file__).parents[2]
SPEED, HEADWAY = 20.0, 20.0  # m/s, m; one vehicle enters a second


def write_fcd(path: Path, size: float, vehicles: int) -> None:
    """FCD of `size` bytes at least, with so many vehicles at any time, 20 m apart."""
    line = (
        '        <vehicle id="flow.{}" x="{:.2f}" y="-1.60" angle="90.00" type="car" speed="20.00" pos="{:.2f}" '
        'lane="main_{}" slope="0.00"/>\n'
    )
    start, step, last = time.monotonic(), 0, time.monotonic()
    with open(path, "w") as file:
        file.write('<?xml version="1.0" encoding="UTF-8"?>\n<fcd-export>\n')
        while file.tell() < size:
            t, rows = step / 10, []
            for i in range(vehicles):
                number = int(t) + i
                s = SPEED * (t - int(t)) + HEADWAY * (vehicles - 1 - i)
                rows.append(line.format(number, s, s, number % 3))
            file.write(f'    <timestep time="{t:.2f}">\n{"".join(rows)}    </timestep>\n')
            step += 1
            if time.monotonic() - last > 5:
                last = time.monotonic()
                print(format_progress("writing MB", file.tell() >> 20, int(size) >> 20, last - start), flush=True)
        file.write("</fcd-export>\n")


def read_stream(path: Path) -> dict[str, float]:
    """What reading the file costs."""
    start = time.monotonic()
    command = [sys.executable, "-c", CHILD, str(path.resolve())]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    rows, processor, peak = map(float, result.stdout.split()[-3:])
    return {
        "gb": path.stat().st_size / 1e9,
        "rows": rows,
        "seconds": time.monotonic() - start,
        "processor_seconds": processor,
        "peak_mb": peak,
    }


def dense_traffic(seconds: float = 60.0) -> Trajectories:
    """Three lanes of 512 m with 45 vehicles a km and lane, at 10 Hz."""
    tracks = []
    for lane in range(3):
        for k in range(int((512 + 15 * seconds) / 22)):
            t = np.round(np.arange(0, seconds, 0.1), 1)
            s = 512 - 22.0 * k + 15 * t
            inside = (s > 0) & (s < 520)
            row = {"recording": "a", "vehicle": f"{lane}.{k}", "cls": "car", "t": t[inside], "s": s[inside]}
            row |= {"lane": lane, "direction": 1, "speed": 15.0, "acceleration": 0.0, "length": 4.5, "width": 1.8}
            tracks.append(pd.DataFrame(row))
    return Trajectories.from_frame(pd.concat(tracks))


def draw_windows(job: tuple[str, int]) -> tuple[float, float]:
    """Windows of a lane layout a second, and a second of processor, of so many that are drawn."""
    layout, count = job
    table, renderer = dense_traffic(), TimeSpaceRenderer(lane_layout=layout)
    lanes = ["0"] if layout == "per_lane" else ["0", "1", "2"]
    start, processor = time.monotonic(), time.process_time()
    for i in range(count):
        renderer.render(table, 3 + 0.05 * (i % 600), 0, lanes=lanes)
    return count / (time.monotonic() - start), count / (time.process_time() - processor)


def main(argv: Sequence[str] | None = None) -> int:
    """Run both parts."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gb", type=float, default=2.0, help="size of the FCD file (default 2)")
    parser.add_argument("--vehicles", type=int, default=100, help="at any time in the FCD file (default 100)")
    parser.add_argument("--windows", type=int, default=400, help="to draw in each layout and process (default 400)")
    parser.add_argument("--workers", type=int, default=2, help="processes that draw (default 2)")
    parser.add_argument("--folder", type=Path, help="for the FCD file; a temporary one if not given")
    parser.add_argument("--record", metavar="NAME", help="keep the figures as benchmarks/results/benchmark/NAME.json")
    args = parser.parse_args(argv)
    begin, metrics = time.perf_counter(), {}
    if args.gb > 0:
        with tempfile.TemporaryDirectory(dir=args.folder) as folder:
            path = Path(folder) / "fcd.xml"
            write_fcd(path, args.gb * 1e9, args.vehicles)
            metrics["read"] = read = read_stream(path)
        print(
            f"{read['gb']:.2f} GB, {read['rows']:.0f} rows: {read['seconds']:.0f} s ({read['processor_seconds']:.0f} s "
            f"of processor), {read['rows'] / read['seconds']:.0f} rows/s, peak {read['peak_mb']:.0f} MB",
            flush=True,
        )
    for layout in LAYOUTS:
        jobs = [(layout, args.windows)] * max(args.workers, 1)
        rates, of_processor = map(sum, zip(*run_jobs(draw_windows, jobs, args.workers)))
        metrics[layout] = {"windows_per_second": rates, "windows_per_processor_second": of_processor / len(jobs)}
        print(
            f"{layout}: {rates:.0f} windows/s in {len(jobs)} processes, {of_processor / len(jobs):.0f} a second of "
            "processor",
            flush=True,
        )
    if args.record:
        keys = {"gb": args.gb, "vehicles": args.vehicles, "windows": args.windows, "workers": args.workers}
        command = " ".join(
            ["python -m benchmarks.speed.speed_trajectories", *(f"--{k} {v:g}" for k, v in keys.items())]
        )
        seconds = time.perf_counter() - begin
        # Here, for it loads torch.
        from benchmarks.common.records import write_record

        write_record("benchmark", args.record, metrics=metrics, command=command, config=keys, seed=0, seconds=seconds)
    return 0


if __name__ == "__main__":
    sys.exit(main())
