"""Hours of one carriageway through d2road score-stream: how many times real time, and how much memory.

python -m benchmarks.traffic.stream_benchmark --hours 24 --weights MODEL.pth  simulate (not timed, kept), score, record

The file is SUMO's CSV of a day on the motorway of traffic_incidents, without incidents; parsing, drawing, scoring and
joining alarms are timed, as in a stream whose file is there already. The record is
benchmarks/results/efficientad_stream/.
"""

import argparse
import sys
import threading
import time
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
import psutil

from benchmarks.common.records import record_path, write_record
from d2road.cli.score_stream import open_session
from d2road.synthetic.traffic_incidents import make_day
from d2road.synthetic.traffic_incidents.network import THREE_LANES
from d2road.traffic.events.stream_options import StreamOptions
from d2road.traffic.events.stream_session import StreamSession
from d2road.utils.errors import report_errors
from d2road.utils.progress import format_progress

BENCH = "efficientad_stream"
CONFIG = "configs/efficientad/traffic/linear_attention.yaml"
AIM = 20.0  # times real time
SAMPLE_S, PRINT_S = 2.0, 30.0


class Memory(threading.Thread):
    """Resident memory of this process (MB) by hours of traffic seen; says how far it is."""

    def __init__(self, session: StreamSession, hours: float):
        super().__init__(daemon=True)
        self.session, self.hours, self.done = session, hours, threading.Event()
        self.samples: list[tuple[float, float]] = []

    def run(self) -> None:
        process, start, printed = psutil.Process(), time.monotonic(), time.monotonic()
        while not self.done.wait(SAMPLE_S):
            began, seen = self.session.began, self.session.seen
            if began is None:
                continue
            self.samples.append(((seen - began) / 3600, process.memory_info().rss / 2**20))
            if time.monotonic() - printed >= PRINT_S:
                printed = time.monotonic()
                minutes = (int((seen - began) / 60), round(60 * self.hours))
                print(format_progress("minutes of traffic", *minutes, printed - start), flush=True)

    def by_quarter(self) -> list[float]:
        """The highest of each quarter of the stream, NaN where it was too fast to be seen."""
        if not self.samples:
            return [float("nan")] * 4
        hours, megabytes = np.array(self.samples).T
        edges = np.linspace(0, hours.max() + 1e-9, 5)
        parts = [megabytes[(hours >= a) & (hours < b)] for a, b in pairwise(edges)]
        return [float(part.max()) if len(part) else float("nan") for part in parts]


def time_stream(args: argparse.Namespace, path: Path) -> dict[str, float | list[float]]:
    """Score the file; figures of the run."""
    spec = f"fcd:{path}?edges={THREE_LANES.fcd_edges}"
    opts = ("TIME_SPACE.S_RANGE", str(THREE_LANES.observed), *args.opts)
    session = open_session(StreamOptions(spec, args.config_file, args.weights, opts, args.batch))
    memory = Memory(session, args.hours)
    memory.start()
    start = time.perf_counter()
    session.run()
    wall = time.perf_counter() - start
    memory.done.set()
    seconds = session.seen - session.began
    return {
        "hours": seconds / 3600,
        "times_real_time": seconds / wall,
        "windows": session.scorer.windows,
        "windows_per_second": session.scorer.windows / wall,
        "alarms": session.scorer.raised,
        "rows": session.source.problems.rows,
        "megabytes_of_file": path.stat().st_size / 2**20,
        "memory_mb_by_quarter": memory.by_quarter(),
    }


def main(argv: Sequence[str] | None = None) -> None:
    """Simulate, score, record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hours", type=float, default=24.0)
    parser.add_argument("--weights", required=True, metavar="FILE", help="of a model trained by the benchmark")
    parser.add_argument("--config-file", default=CONFIG, metavar="FILE")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("opts", nargs=argparse.REMAINDER, metavar="KEY VALUE", help="config keys that are changed")
    args = parser.parse_args(argv)
    path = Path("output/bench") / BENCH / f"day_{args.hours:g}h_seed{args.seed}.csv"
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.is_file():
        print(make_day(path, args.hours, args.seed), flush=True)
    start, name = time.perf_counter(), f"day_{args.hours:g}h"
    metrics = time_stream(args, path)
    write_record(
        BENCH, name, metrics=metrics, seed=args.seed, seconds=time.perf_counter() - start,
        command=f"python -m benchmarks.traffic.stream_benchmark --hours {args.hours:g} --weights {args.weights}",
        config={"file": args.config_file, "keys": " ".join(args.opts)},
    )  # fmt: skip
    reached = "reached" if metrics["times_real_time"] > AIM else "not reached"
    print(f"{metrics['times_real_time']:.1f} times real time, aim {AIM:g} {reached}: {record_path(BENCH, name)}")


if __name__ == "__main__":
    sys.exit(report_errors(main)())
