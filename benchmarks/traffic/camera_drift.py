"""Has a camera moved? False alarms and delays of the test of tracks and of background registration.

python -m benchmarks.traffic.camera_drift tracks --part threshold   52 h of tracks through the model of seeing
python -m benchmarks.traffic.camera_drift tracks --part test        26 others, opened once the limit is chosen
python -m benchmarks.traffic.camera_drift frames --clips output/clips_hour --tracked output/clips_hour/tracked
python -m benchmarks.traffic.camera_drift table                     the table of all records

`tracks` needs what `benchmarks.traffic.view_benchmark` keeps; `frames` clips of `d2road make-data traffic-video` and,
for the test of tracks, folders of `d2road track`, named KIND_NNN for KIND/test/test_NNN. A turned camera is simulated:
of tracks, points are re-projected; of frames, images are warped by the homography K M K^-1. What takes long is kept in
output/bench/camera_drift/.
"""

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks.common.records import RESULTS, write_record
from benchmarks.traffic.drift_frames import frames_summary, judge_clip, list_clips
from benchmarks.traffic.drift_streams import FOLDER, SEED, list_streams, read_stream
from benchmarks.traffic.drift_tables import write_table
from benchmarks.traffic.drift_tracks import judge_stream, lowest_limit, summary
from d2road.traffic.seeing.seeing_model import SeeingModel
from d2road.utils.errors import report_errors
from d2road.utils.input_files import read_json
from d2road.utils.output_files import make_folder, write_json

BENCH = "camera_drift"
SEEING = RESULTS / "camera_view" / "seeing_model.json"


def judge_tracks(part: str) -> None:
    """All streams of a part, each kept, then the record."""
    start = time.perf_counter()
    model = SeeingModel.from_json(read_json(SEEING), str(SEEING))
    rows = []
    for hour, camera in list_streams(part):
        path = FOLDER / f"{part}_{hour:02d}_{camera}.json"
        if not path.is_file():
            stream = read_stream(part, hour, camera, model, SEEING.stem)
            write_json(make_folder(FOLDER) / path.name, judge_stream(stream, 100 * hour + camera))
        rows.append(read_json(path))
        print(rows[-1]["name"], round(rows[-1]["highest"], 1), rows[-1]["false_alarms"], flush=True)
    hours = sum(row["hours"] for row in rows)
    metrics = summary(rows) | {"lowest_limit": lowest_limit(rows, hours)}
    write_record(
        BENCH, f"tracks_{part}", metrics=metrics,
        command=f"python -m benchmarks.traffic.camera_drift tracks --part {part}",
        config=str(SEEING), seed=SEED, seconds=time.perf_counter() - start,
    )  # fmt: skip
    print(metrics)


def judge_frames(clips: Path, tracked: Path) -> None:
    """All clips that are there, each kept, then the record."""
    start, rows = time.perf_counter(), []
    for kind, name in list_clips(clips):
        folder = tracked / f"{kind}_{name.removeprefix('test_')}"
        kept = make_folder(FOLDER) / f"video_{kind}_{name}.json"
        rows.append(judge_clip(kind, clips / kind / "test" / name, folder, kept))
        print(rows[-1], flush=True)
    metrics = frames_summary(rows)
    write_record(
        BENCH, "frames", metrics=metrics, command="python -m benchmarks.traffic.camera_drift frames",
        config="rendered clips of 600 s: day to dusk, dense, free, stop and go, empty; shipped detector at 5 frames/s",
        seed=SEED, seconds=time.perf_counter() - start,
    )  # fmt: skip
    print(metrics)


def main(argv: Sequence[str] | None = None) -> None:
    """Run what the arguments ask for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("tracks", "frames", "table"))
    parser.add_argument("--part", choices=("threshold", "test"), default="threshold", help="of the camera hours")
    parser.add_argument("--clips", type=Path, default=Path("output/clips_hour"), help="KIND/test/test_NNN")
    parser.add_argument("--tracked", type=Path, default=Path("output/clips_hour/tracked"), help="of d2road track")
    args = parser.parse_args(argv)
    if args.what == "tracks":
        judge_tracks(args.part)
    elif args.what == "frames":
        judge_frames(args.clips, args.tracked)
    print(write_table(BENCH))


if __name__ == "__main__":
    sys.exit(report_errors(main)())
