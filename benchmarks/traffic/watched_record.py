"""The record of a watch with a real detector: how far it came, in what time, and its alarms.

python -m benchmarks.traffic.watched_record --folder output/watched --name watched_file --command "d2road watch ..."

Reads the folder that `d2road watch` left; writes benchmarks/results/video/NAME.json.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from benchmarks.common.records import write_record
from d2road.report.video_run import read_video_run
from d2road.utils.errors import DataError, report_errors

COUNTS = (
    "state", "frames", "video_seconds", "detections", "tracks", "windows", "processor_seconds", "stage_seconds", "notes"
)  # fmt: skip


def main(argv: Sequence[str] | None = None) -> None:
    """Read and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, required=True, help="of the watch")
    parser.add_argument("--name", required=True, help="of the record")
    parser.add_argument("--command", required=True, help="that was typed, on paths that others have")
    args = parser.parse_args(argv)
    run = read_video_run(args.folder)
    if not run.watch:
        raise DataError(f"{args.folder} is no folder of a watch: it has no watch.json")
    scores = args.folder / "scores.csv"
    windows = pd.read_csv(scores)[["t0", "t1", "score"]].round(3).to_numpy().tolist() if scores.is_file() else []
    write_record(
        "video", args.name, command=args.command, config=run.watch["settings"]["config_file"], seed=0,
        seconds=run.watch["wall_seconds"],
        metrics={
            **{name: run.watch.get(name) for name in COUNTS},
            "threshold": run.watch["rules"]["threshold"],
            "windows_t0_t1_score": windows,
            "alarms": [{name: one[name] for name in ("t", "start", "end", "score", "sentence")} for one in run.alarms],
        },
    )  # fmt: skip


if __name__ == "__main__":
    sys.exit(report_errors(main)())
