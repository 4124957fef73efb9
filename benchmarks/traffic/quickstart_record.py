"""The record of a `d2road quickstart --video`: what each step took, and its tracks and alarms against the truth.

python -m benchmarks.traffic.quickstart_record --folder output/demo_video

Reads the folder of a finished one; writes benchmarks/results/video/quickstart.json.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks.common.records import write_record
from d2road.cli._quickstart_video import CLIP, CONFIG, GOOD, TIMES
from d2road.report.video_run import read_video_run
from d2road.report.video_truth import compare_with_truth
from d2road.utils.errors import DataError, report_errors
from d2road.utils.input_files import read_json

COMMAND = "d2road quickstart --video"


def main(argv: Sequence[str] | None = None) -> None:
    """Read, compare, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=Path("output/demo_video"), help="OUTPUT of the quickstart")
    args = parser.parse_args(argv)
    times = read_json(args.folder / TIMES, "times")
    run = read_video_run(args.folder / "watched")
    if run.camera is None or run.state() != "complete":
        raise DataError(f"{args.folder}/watched is {run.state()}: let `{COMMAND}` end first")
    found = compare_with_truth(
        args.folder / "clips" / "val" / CLIP, run.tracks, run.camera, run.alarms, run.seconds, run.is_watch
    )
    rules = read_json(args.folder / "rules.json", "rules")
    pieces = [read_json(path, "piece") for path in sorted((args.folder / "good").glob("piece_*.json"))]
    timed = [one["processor_seconds"] for one in pieces if "processor_seconds" in one]
    mean = sum(timed) / len(timed)  # stands for those that were made without a clock
    others = sum(step["processor_seconds"] for name, step in times.items() if name != GOOD)
    write_record(
        "video", "quickstart", command=COMMAND, config=CONFIG, seed=0,
        seconds=sum(step["seconds"] for step in times.values()),
        metrics={
            "steps": times,
            "pieces_of_good_traffic": len(pieces),
            "pieces_timed": len(timed),
            "processor_seconds_of_a_piece": round(mean, 2),
            "processor_seconds": round(others + len(pieces) * mean, 1),
            "threshold": {name: rules[name] for name in ("threshold", "rate", "hours", "false_alarms", "windows")},
            "against_the_truth": dict(found.figures),
            "incidents": found.incidents,
            "alarms": [{name: one[name] for name in ("t", "start", "end", "score", "sentence")} for one in run.alarms],
            "frames_per_second": run.record["frames_per_second"],
        },
    )  # fmt: skip


if __name__ == "__main__":
    sys.exit(report_errors(main)())
