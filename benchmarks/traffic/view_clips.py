"""Filmed incidents, tracked: clips of test cameras in which something happens, for `benchmarks.traffic.view_events`.

python -m benchmarks.traffic.view_clips --output output/clips_incidents --seed 6 --count 24
python -m benchmarks.traffic.view_clips --output output/clips_incidents --seed 6 --count 24 --minutes 20    what fits

Clip i is test clip i of `d2road make-data traffic-video --test N --seed SEED`. Those without an incident are passed
over, and speeding too, which from 45 m/s on is not two seconds in a view of 60 m; others are driven and not filmed
where it turns out that nothing can be seen for two seconds. The rest is rendered as that command does and tracked by
`d2road track --stride 2`, as the rendered hour of good traffic was: OUTPUT/test/NAME, OUTPUT/tracked/NAME. What is
there is not made again.
"""

import argparse
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

import pandas as pd

from benchmarks.traffic.clip_predictions import CONFIG
from benchmarks.traffic.view_cameras import LEAST_VIEW_S, InView, stay_in_view
from benchmarks.traffic.view_rendered import exact_table, site_of
from d2road.cli import track
from d2road.data.roadside_camera_files import CAMERA_FILE
from d2road.synthetic.traffic_incidents.control import NotPossibleError
from d2road.synthetic.traffic_incidents.incident_kinds import Incident
from d2road.synthetic.traffic_incidents.incident_windows import visible_incident
from d2road.synthetic.traffic_video.clip_job import ClipJob, drive_clip, incident_records, make_clip, set_up
from d2road.synthetic.traffic_video.clip_labels import ground_tracks
from d2road.synthetic.traffic_video.clip_plan import ClipPlan
from d2road.synthetic.traffic_video.clip_traffic import clip_scenario
from d2road.synthetic.traffic_video.vehicle_sizes import SIZES
from d2road.traffic.seeing.camera_site import CameraSite
from d2road.traffic.tracking.track_files import PARQUET
from d2road.utils.errors import DataError, report_errors
from d2road.utils.output_files import make_folder
from d2road.utils.values import integer_option, number_option

SECONDS = 60.0
SHORT = ("speeding",)  # at 45 m/s and more 60 m take 1.3 s
STRIDE = 2  # frames of the video, at ten a second, from one that is looked at to the next


def incident_plans(seed: int, number: int) -> list[ClipPlan]:
    """The first so many test clips of a seed that show an incident for long enough."""

    def wanted() -> Iterator[ClipPlan]:
        for index in count():
            plan = ClipPlan("test", index, seed, SECONDS, SIZES[0])
            if plan.incident and plan.incident not in SHORT:
                yield plan

    return [plan for plan, _ in zip(wanted(), range(number))]


@dataclass(frozen=True)
class ClipEvent:
    """An incident of a clip in view: kind, severity, the culprit's id, and when and where it is there."""

    kind: str
    severity: str
    culprit: int
    stay: InView

    @property
    def series(self) -> pd.Series:
        """As `event_metrics.contains` asks for it."""
        stay = self.stay
        return pd.Series({"onset": stay.start, "end": stay.end, "s_low": stay.s_low, "s_high": stay.s_high})


def event_in_view(
    plan: ClipPlan, incidents: Sequence[Mapping[str, Any]], truth: pd.DataFrame, site: CameraSite
) -> ClipEvent | None:
    """The incident of a clip; None where its culprit is in view for less than LEAST_VIEW_S, while it can be seen.

    Args:
        incidents: as incidents.json has them. truth: tracks.csv.
    """
    (told,) = incidents
    if not told["ids"]:
        return None
    (culprit,) = told["ids"]
    incident = Incident(told["kind"], told["severity"], str(culprit), told["start_s"], told["end_s"], told["level"])
    table = exact_table(truth, site.camera, plan.name, every_s=None, beside=True)  # as ghost drivers on the shoulder
    if incident.kind != "lane_changes":  # those were counted on the whole road, when they were driven
        try:
            incident = visible_incident(table, incident, clip_scenario(plan.scenario, plan.limit, plan.sizes))
        except NotPossibleError:
            return None
    own = table.select(vehicles=[incident.vehicle]).frame
    own = own[own["t"].between(incident.onset - 0.05, incident.end + 0.05)]
    middle = own["s"].to_numpy() - own["length"].to_numpy(float) / 2
    stay = stay_in_view(own["t"].to_numpy(), middle, 0.0, site.view)
    if stay is None or stay.end - stay.start < LEAST_VIEW_S:
        return None
    return ClipEvent(incident.kind, incident.severity, culprit, stay)


def shows_event(plan: ClipPlan) -> bool:
    """Whether a clip would show its incident for long enough; it is driven, and not filmed.

    Raises:
        FileNotFoundError, RuntimeError: SUMO is not installed, or fails.
    """
    with tempfile.TemporaryDirectory(prefix="view_clips.") as work:
        traffic = drive_clip(plan, Path(work))
    camera, _ = set_up(plan, traffic)
    truth = ground_tracks(traffic, camera)
    told = incident_records(plan, traffic, camera, truth)
    return event_in_view(plan, told, truth, site_of(camera.model)) is not None


def tracked_folder(out: Path, plan: ClipPlan) -> Path:
    """Where the tracks of a clip are."""
    return out / "tracked" / plan.name


def is_tracked(out: Path, plan: ClipPlan) -> bool:
    """Whether a clip has its tracks."""
    return (tracked_folder(out, plan) / PARQUET).is_file()


def passed_over(out: Path, plan: ClipPlan) -> Path:
    """The file that says that a clip shows no event for long enough."""
    return out / "passed_over" / plan.name


def make_one(out: Path, plan: ClipPlan) -> None:
    """Render and track a clip, as far as it is not there, or note that it shows no event.

    Raises:
        DataError: the tracker did not come to the end of the clip.
    """
    job, folder = ClipJob(str(out), plan), tracked_folder(out, plan)
    if not job.record.is_file():
        if not shows_event(plan):
            make_folder(passed_over(out, plan).parent)
            passed_over(out, plan).touch()
            return
        make_folder(job.record.parent)
        make_clip(job)
    shutil.rmtree(folder, ignore_errors=True)  # of a run that was killed
    words = ["--input", str(job.folder / "video.mp4"), "--calib", str(job.folder / CAMERA_FILE), "--no-video"]
    words += ["--config-file", CONFIG, "--stride", str(STRIDE), "--output", str(folder)]
    if track.main(words):
        raise DataError(f"{plan.name} was not tracked to its end: see above")


def main(argv: Sequence[str] | None = None) -> None:
    """Make what is not there, as long as there is time."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=Path("output/clips_incidents"))
    parser.add_argument("--seed", type=integer_option(0), default=6, help="of the clips; 6")
    parser.add_argument("--count", type=integer_option(1), default=24, help="of clips; 24")
    parser.add_argument("--minutes", type=number_option(0), default=1e6, help="begin no clip after so many")
    args = parser.parse_args(argv)
    end = time.monotonic() + 60 * args.minutes
    for plan in incident_plans(args.seed, args.count):
        if is_tracked(args.output, plan) or passed_over(args.output, plan).is_file():
            continue
        if time.monotonic() > end:
            print(f"{args.minutes:g} minutes are over: the same command goes on", flush=True)
            return
        start = time.process_time()
        make_one(args.output, plan)
        print(f"{plan.name}, {plan.incident}: {time.process_time() - start:.0f} s of processor", flush=True)


if __name__ == "__main__":
    sys.exit(report_errors(main)())
