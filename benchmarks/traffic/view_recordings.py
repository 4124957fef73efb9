"""Recordings of the benchmark of the view: simulated once; kept is what passes near its cameras, exactly.

Good traffic has four cameras a recording, in the four quarters of the road; an incident has one, from which its culprit
is at least two seconds in view. What whole-road rules say of a recording is kept too; the rest is forgotten.
"""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from benchmarks.traffic.rules_windows import PIECES_AN_HOUR, list_jobs
from benchmarks.traffic.traffic_streams import StreamRecording, grid_of
from benchmarks.traffic.view_cameras import place_at_culprit, place_in_stretch, sample_camera
from d2road.synthetic.traffic_incidents.control import NotPossibleError
from d2road.synthetic.traffic_incidents.incident_windows import culprit_rows, visible_incident
from d2road.synthetic.traffic_incidents.recordings import ATTEMPTS, GROUPS, HOURS_PIECE_S, Job
from d2road.synthetic.traffic_incidents.scenarios import find_scenario
from d2road.synthetic.traffic_incidents.simulate import SimulatedRecording, simulate_good, simulate_incident
from d2road.traffic.baselines.lasting_rules import window_density
from d2road.traffic.baselines.road_tracks import DescribedTracks, Place, RoadTracks
from d2road.traffic.baselines.track_surprise import TrackSurprise
from d2road.traffic.seeing.camera_site import CameraSite
from d2road.traffic.seeing.seen_tracks import MARGIN_M, keep_frames
from d2road.traffic.table import Trajectories
from d2road.traffic.time_space.render import TimeSpaceRenderer
from d2road.traffic.time_space.traffic_window import TrafficWindow
from d2road.utils.input_files import read_json
from d2road.utils.output_files import make_folder, write_json

FOLDER = Path("output/bench/camera_view")
FIT_SEED, THRESHOLD_SEED, TEST_SEED = 1000, 10, 20
CAMERAS = 4  # a recording of good traffic
CAMERA_SEED = 77
FRAME_S = 0.2
LOST_TRACK = "lost_track"  # a failure of a sensor, which no camera sees
RENDERER = TimeSpaceRenderer()


@dataclass(frozen=True)
class ViewPiece:
    """One recording; `part` is what it is for: fit, threshold, test or incidents."""

    job: Job
    part: str

    @property
    def name(self) -> str:
        """Of its files."""
        return f"seed{self.job.seed}_{self.job.name}"

    @property
    def about(self) -> Path:
        """What was recorded; written last."""
        return FOLDER / f"{self.name}.json"

    @property
    def whole(self) -> Path:
        """Scores of whole-road rules, or, of the hours to fit on, the whole table."""
        return FOLDER / f"{self.name}.whole.{'parquet' if self.part == 'fit' else 'csv'}"

    def near(self, camera: int) -> Path:
        """What passes near a camera, exactly."""
        return FOLDER / f"{self.name}.near{camera}.parquet"

    def rng(self, camera: int) -> np.random.Generator:
        """Of a camera and its view, by the recording alone."""
        job = self.job
        return np.random.default_rng([CAMERA_SEED, job.seed, GROUPS.index(job.group), job.index, camera])


def list_view_pieces(hours: int, fit_hours: int, incidents: int) -> list[ViewPiece]:
    """Recordings in the order in which they are made: whenever it ends, parts stand in the same relation.

    Args:
        hours: simulated for thresholds, and as many for the test. incidents: of the test's seed.
    """
    pieces = [ViewPiece(job, "fit") for job in list_jobs(FIT_SEED, 0, fit_hours)]
    good = [[ViewPiece(job, part) for job in list_jobs(seed, 0, hours)]
            for seed, part in ((THRESHOLD_SEED, "threshold"), (TEST_SEED, "test"))]  # fmt: skip
    jobs = [job for job in list_jobs(TEST_SEED, incidents, 0) if job.kind != LOST_TRACK]
    events, done = [ViewPiece(job, "incidents") for job in jobs], 0
    for hour in range(hours):
        for part in good:
            pieces += part[hour * PIECES_AN_HOUR : (hour + 1) * PIECES_AN_HOUR]
        due = -(-len(events) * (hour + 1) // hours)
        pieces += events[done:due]
        done = due
    return pieces


@contextmanager
def exact_recording(job: Job) -> Iterator[SimulatedRecording]:
    """The recording that a job describes, without the noise of a sensor.

    Raises:
        FileNotFoundError, RuntimeError: SUMO is not installed, or fails.
    """
    scenario = find_scenario(job.scenario, job.road, job.drivers)
    for attempt in range(ATTEMPTS):
        rng = np.random.default_rng(np.random.SeedSequence([job.seed, GROUPS.index(job.group), job.index, attempt]))
        with tempfile.TemporaryDirectory(prefix="camera_view.") as folder:
            try:
                if job.kind:
                    found = simulate_incident(Path(folder), scenario, rng, job.kind, job.severity, twin=False)
                    assert found.incident is not None, "one was asked for"
                    found = replace(found, incident=visible_incident(found.table, found.incident, scenario))
                else:
                    found = simulate_good(Path(folder), scenario, rng, HOURS_PIECE_S, FRAME_S)
            except NotPossibleError:
                continue
            yield found
        return
    raise RuntimeError(f"{job.name}: {ATTEMPTS} times the traffic of {job.scenario} did not allow it")


def make_view_piece(piece: ViewPiece, rules: TrackSurprise | None) -> None:
    """Simulate a recording and keep what its cameras may see; rules: whole-road ones, None for hours to fit on."""
    make_folder(FOLDER)
    with exact_recording(piece.job) as recording:
        table = keep_frames(recording.table, FRAME_S)
        observed, event = recording.scenario.observed, None
        count = CAMERAS if recording.incident is None else 1
        sites = [sample_camera(piece.rng(number), recording.scenario.road) for number in range(count)]
        if recording.incident is not None:
            found = _place_at_event(piece, sites[0], recording)
            sites, event = ([], None) if found is None else ([found[0]], found[1])
        else:
            borders = np.linspace(*observed, CAMERAS + 1)
            sites = [
                replace(site, origin_s=place_in_stretch(piece.rng(100 + n), site, *stretch))
                for n, (site, stretch) in enumerate(zip(sites, pairwise(borders)))
            ]
        for number, site in enumerate(sites):
            Trajectories.from_frame(
                site.crop(table, MARGIN_M).frame.assign(recording=f"{piece.name}@{number}")
            ).to_parquet(piece.near(number))
        whole = Trajectories.from_frame(table.frame.assign(recording=piece.name))
        if piece.part == "fit":
            whole.to_parquet(piece.whole)
        elif rules is not None:
            score_whole(rules, piece, whole).to_csv(piece.whole, index=False)
        write_json(piece.about, {
            "origins": [site.origin_s for site in sites], "event": event,
            "seconds": recording.end - recording.start, "collisions": recording.collisions,
        })  # fmt: skip


def _place_at_event(
    piece: ViewPiece, site: CameraSite, recording: SimulatedRecording
) -> tuple[CameraSite, dict[str, Any]] | None:
    incident = recording.incident
    assert incident is not None, "asked for incidents alone"
    rows = culprit_rows(recording.table, incident)
    t, s = rows["t"].to_numpy(), rows["s"].to_numpy() - rows["length"].to_numpy(float) / 2
    found = place_at_culprit(piece.rng(100), site, t, s, recording.scenario.observed)
    if found is None:
        return None
    origin, stay = found
    whole = {"whole_s_low": float(s.min()), "whole_s_high": float(s.max())}
    event = {**asdict(stay), "kind": incident.kind, "vehicle": incident.vehicle, "severity": incident.severity,
             "onset": incident.onset, **whole, "whole_end": incident.end}  # fmt: skip
    return replace(site, origin_s=origin), event


def site_of(piece: ViewPiece, camera: int) -> CameraSite:
    """A camera of a recording, at its place."""
    scenario = find_scenario(piece.job.scenario, piece.job.road, piece.job.drivers)
    origins = read_json(piece.about, "recording")["origins"]
    return sample_camera(piece.rng(camera), scenario.road, origins[camera])


def describe_whole(piece: ViewPiece, table: Trajectories) -> tuple[RoadTracks, pd.DataFrame]:
    """Tracks of a whole recording, and its windows: recording, t0, t1, s0, s1, density."""
    scenario = find_scenario(piece.job.scenario, piece.job.road, piece.job.drivers)
    stream = StreamRecording(piece.name, "", piece.job.scenario, 0.0, scenario.observed, Path())
    rows = []
    for one in grid_of(stream, RENDERER).over([table]):
        window = TrafficWindow.unrendered(one, RENDERER)
        rows.append((piece.name, window.t0, window.t1, window.s0, window.s1, window_density(window)))
    windows = pd.DataFrame(rows, columns=["recording", "t0", "t1", "s0", "s1", "density"])
    start, end = table.span
    low, high = scenario.observed
    return RoadTracks.of(TrafficWindow(piece.name, start, end + FRAME_S, low, high, table)), windows


def places_of(windows: pd.DataFrame) -> list[Place]:
    """The windows as places."""
    return [Place(*values) for values in windows[["t0", "t1", "s0", "s1", "density"]].itertuples(index=False)]


def score_whole(rules: TrackSurprise, piece: ViewPiece, table: Trajectories) -> pd.DataFrame:
    """Windows of a whole recording with the scores of whole-road rules."""
    tracks, windows = describe_whole(piece, table)
    scores = rules.scores_described(DescribedTracks(((tracks, tuple(places_of(windows))),)))
    return windows.assign(score=scores)
