"""The video part of `d2road quickstart --video`: a rendered clip, tracks, alarms and one page of all, step by step.

Each step is a verb with the command line that is printed, so that it can be repeated by hand; one that is done is left
out. OUTPUT/times.json has what each took.
"""

from __future__ import annotations

import argparse
import os
import shlex
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from d2road.utils.environment import processor_seconds
from d2road.utils.errors import ConfigError, DataError
from d2road.utils.input_files import read_json
from d2road.utils.output_files import write_json

CONFIG = "configs/diffusion_det/toy_roadside3d/demo.yaml"
CLIP = "val_000"  # something happens in it: a vehicle drives slowly
FIT_HOURS = 2.0  # of good traffic; the rest counts false alarms
TIMES, GOOD = "times.json", "good traffic of the same view"


def run_video_quickstart(args: argparse.Namespace) -> int:
    """Render, track, watch and report; returns the exit code."""
    output: Path = args.output
    times = _Times(output / TIMES)
    with times.step("make-data traffic-video"):
        clip = render_clip(args)
    tracks = output / "tracks"
    with times.step("track"):
        code = track_clip(clip, tracks, args.device)
    if code:
        return code
    with times.step(GOOD) as took:
        good, took.elsewhere = good_traffic(args, clip)
    with times.step("threshold"):
        code, threshold = threshold_words(clip, good, output)
    if code:
        return code
    watched = output / "watched"
    with times.step("watch"):
        code = watch_tracks(clip, tracks, threshold, watched)
    if code:
        return code
    with times.step("report"):
        page = output / "report.html"
        code = _verb("report", str(watched), "--truth", str(clip), "--output", str(page))
    print(times.told())
    print(f"the page: {page}\ntracks: {tracks}\nalarms: {watched}")
    return code


def render_clip(args: argparse.Namespace) -> Path:
    """The clip's folder, rendered where it is not there yet.

    Raises:
        ConfigError: the folder holds another quickstart.
    """
    from d2road.synthetic.traffic_video import make_traffic_video

    folder = args.output / "clips"
    _say("make-data", "traffic-video", "--output", str(folder), "--seed", str(args.seed), "--train", "0", "--val", "1",
         "--test", "0", "--seconds", f"{args.seconds:g}")  # fmt: skip
    try:
        make_traffic_video(folder, args.seed, train=0, val=1, test=0, seconds=args.seconds, workers=1)
    except DataError as error:  # its cure is an option that is not here
        raise ConfigError(f"{args.output} holds another quickstart: delete it or choose another --output") from error
    return folder / "val" / CLIP


def track_clip(clip: Path, tracks: Path, device: str) -> int:
    """Track with the shipped detector, unless that is done."""
    if _is_complete(tracks / "summary.json"):
        print(f"done already: {tracks}")
        return 0
    where = ["--device", device] if device else []
    return _verb(
        "track", "--input", str(clip / "video.mp4"), "--calib", str(clip), "--config-file", CONFIG, *where,
        "--output", str(tracks), "--resume",
    )  # fmt: skip


def good_traffic(args: argparse.Namespace, clip: Path) -> tuple[list[Path], float]:
    """Hours of good traffic in the same view, as detector and tracker would see them; see `make_seen_traffic`."""
    from d2road.synthetic.traffic_video.clip_writer import CLIPS
    from d2road.synthetic.traffic_video.seen_traffic import make_seen_traffic
    from d2road.traffic.seeing.shipped_detector import SHIPPED_DETECTOR

    clips = args.output / "clips" / CLIPS
    (about,) = read_json(clips, "list of clips")
    print(f"simulating {args.hours:g} h of good traffic of this view, through the model of seeing of the detector")
    folder, workers = args.output / "good", min(2, os.cpu_count() or 1)
    return make_seen_traffic(folder, clip, about, SHIPPED_DETECTOR, args.hours, args.seed, workers)


def threshold_words(clip: Path, good: list[Path], output: Path) -> tuple[int, list[str]]:
    """Exit code, and the words of `d2road watch` that say by which rules and threshold it alarms.

    From FIT_HOURS and LEAST_HOURS of good traffic on, rules are fitted on the first of both and false alarms are
    counted on the rest; with less, all fits the rules and the threshold is extrapolated.
    """
    from d2road.synthetic.traffic_video.seen_traffic import PIECE_S
    from d2road.traffic.events.alarms import LEAST_HOURS
    from d2road.traffic.table import Trajectories, concat

    count = round(FIT_HOURS * 3600 / PIECE_S)
    if (len(good) - count) * PIECE_S < LEAST_HOURS * 3600:
        return 0, _good_words(good)
    rules, counted = output / "rules.json", output / "good" / "counted.parquet"
    if not rules.is_file():
        concat([Trajectories.from_parquet(path) for path in good[count:]]).to_parquet(counted)
        code = _verb(
            "watch", "--input", str(counted), "--calib", str(clip), *_good_words(good[:count]),
            "--calibrate", str(rules), "--output", str(output / "calibration"),
        )  # fmt: skip
        if code:
            return code, []
    return 0, ["--calibration", str(rules)]


def _good_words(good: list[Path]) -> list[str]:
    return [word for path in good for word in ("--good", str(path))]


def watch_tracks(clip: Path, tracks: Path, threshold: list[str], watched: Path) -> int:
    """Alarms of the tracks, by the rules and the threshold of `threshold_words`."""
    if _is_complete(watched / "watch.json"):
        print(f"done already: {watched}")
        return 0
    if watched.exists():  # of a run that was killed, whose alarms would come twice
        shutil.rmtree(watched)
    return _verb(
        "watch", "--input", str(tracks), "--calib", str(clip), "--video", str(clip / "video.mp4"), *threshold,
        "--scores", str(watched / "scores.csv"), "--output", str(watched),
    )  # fmt: skip


def _is_complete(record: Path) -> bool:
    return record.is_file() and read_json(record, "record", nan=True).get("state") == "complete"


def _say(*words: str) -> None:
    print(f"$ d2road {shlex.join(words)}", flush=True)


def _verb(*words: str) -> int:
    """Run a verb; returns its exit code."""
    from d2road.cli.__main__ import main

    _say(*words)
    return main(list(words))


@dataclass
class _Step:
    """A step while it runs; elsewhere: seconds of processor that it used in processes that nobody here waits for."""

    elsewhere: float = 0.0


class _Times:
    """Seconds by the clock and of processor that each step took in all calls, kept in a file."""

    def __init__(self, path: Path, clock: Callable[[], float] = time.monotonic):
        self.path, self.clock = path, clock
        self.steps: dict[str, dict[str, Any]] = read_json(path, "times") if path.is_file() else {}

    @contextmanager
    def step(self, name: str) -> Iterator[_Step]:
        """Count the block."""
        print(f"\n{name}", flush=True)
        start, processor, one = self.clock(), processor_seconds(), _Step()
        yield one
        before = self.steps.get(name, {"seconds": 0.0, "processor_seconds": 0.0})
        self.steps[name] = {
            "seconds": round(before["seconds"] + self.clock() - start, 1),
            "processor_seconds": round(
                before["processor_seconds"] + processor_seconds() - processor + one.elsewhere, 1
            ),
        }
        write_json(self.path, self.steps)

    def told(self) -> str:
        """A line a step."""
        lines = [f"{name:<30} {one['seconds']:7.1f} s, {one['processor_seconds']:7.1f} s of processor"
                 for name, one in self.steps.items()]  # fmt: skip
        total = sum(one["processor_seconds"] for one in self.steps.values())
        return "\n".join(["", *lines, f"{total:.0f} s of processor in all"])
