"""What the rules look at in simulated hours and incidents: simulated, described and forgotten, a file a recording.

A recording is the one that `d2road make-data traffic-incidents` makes of the same seed, whose images and tables are not
made here. What is kept of it, the highest features of each window, is a thousandth of its table.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from benchmarks.traffic.traffic_streams import StreamRecording, grid_of, vehicle_density
from d2road.synthetic.traffic_incidents.drivers import IDM
from d2road.synthetic.traffic_incidents.incident_windows import density_and_speed
from d2road.synthetic.traffic_incidents.incident_writer import all_jobs
from d2road.synthetic.traffic_incidents.recordings import Job, incident_columns, observed_recording
from d2road.synthetic.traffic_incidents.scenarios import DEFAULT_ROAD, find_scenario
from d2road.traffic.baselines.lasting_features import LASTING_FEATURES
from d2road.traffic.baselines.lasting_rules import DescribedWindows, describe_windows
from d2road.traffic.baselines.rules import KinematicRules
from d2road.traffic.baselines.vehicle_features import FEATURES
from d2road.traffic.table import Trajectories
from d2road.traffic.time_space.render import TimeSpaceRenderer
from d2road.traffic.time_space.traffic_window import TrafficWindow
from d2road.utils.input_files import read_json
from d2road.utils.output_files import atomic_write, make_folder, write_json

FOLDER = Path("output/bench/traffic_rules")
PIECES_AN_HOUR = 4  # of 15 minutes, one of each scenario
EVENT_FIELDS = ("kind", "severity", "onset", "end", "s_low", "s_high")
RENDERER = TimeSpaceRenderer()


@dataclass(frozen=True)
class Piece:
    """One recording of a seed; `job` says how it is made, `part` what it is for: fit, threshold, rate or incidents."""

    job: Job
    part: str

    @property
    def path(self) -> Path:
        """Of its windows; the event, if there is one, is beside it."""
        usual = (self.job.road, self.job.drivers) == (DEFAULT_ROAD, IDM)
        name = f"seed{self.job.seed}" + ("" if usual else f"_{self.job.road}_{self.job.drivers}")
        return FOLDER / name / f"{self.job.name}.csv"

    @property
    def table_path(self) -> Path:
        """Of its observed trajectories, where they are kept."""
        return self.path.with_suffix(".parquet")

    @property
    def event_path(self) -> Path:
        """Of its event."""
        return self.path.with_suffix(".json")


def list_pieces(seed: int, fit_seed: int, fit_hours: int, hours: int, incidents: int) -> list[Piece]:
    """All recordings in the order in which they are made: whenever it ends, parts stand in the same relation.

    Args:
        seed: of the test. fit_seed, fit_hours: of the good traffic that rules are fitted on; where it is the test's
            own seed, the other hours come behind these.
        hours: for thresholds, and as many for rates, in turn.
        incidents: as many recordings.
    """
    fit = [Piece(job, "fit") for job in list_jobs(fit_seed, 0, fit_hours)]
    before = fit_hours if seed == fit_seed else 0
    jobs = list_jobs(seed, incidents, before + 2 * hours)
    events = [Piece(job, "incidents") for job in jobs if job.kind]
    good = [job for job in jobs if not job.kind][before * PIECES_AN_HOUR :]
    pieces, done = fit, 0
    for hour in range(2 * hours):
        first = hour * PIECES_AN_HOUR
        part = ("threshold", "rate")[hour % 2]
        pieces += [Piece(job, part) for job in good[first : first + PIECES_AN_HOUR]]
        due = -(-len(events) * (hour + 1) // (2 * hours))
        pieces += events[done:due]
        done = due
    return pieces


def list_jobs(seed: int, incidents: int, hours: int, of_road: Mapping[str, str] | None = None) -> list[Job]:
    """Recordings of a seed: incidents, then good hours; of_road: see `all_jobs`."""
    counts = {"train": 0, "validation": 0, "good": 0, "incidents": incidents}
    return list(all_jobs("", seed, counts, hours, (), False, of_road))


def make_piece(piece: Piece, keep_table: bool = False) -> None:
    """Simulate and describe a recording; its windows are written last.

    Args:
        keep_table: keep what the sensor has too, 8 MB for a piece of good traffic, for what learns from trajectories.
    Raises:
        FileNotFoundError, RuntimeError: SUMO is not installed, or fails.
    """
    with observed_recording(piece.job, twin=False) as observed:
        recording = observed.recording
        event = None
        if observed.incident is not None:
            columns = incident_columns(recording.table, observed.incident)
            density = density_and_speed(recording.table, observed.cuts[0], len(recording.scenario.road.lanes))[0]
            event = {**{name: columns[name] for name in EVENT_FIELDS}, "density": density}
        seen = Trajectories.from_frame(observed.seen.frame.assign(recording=piece.job.name))
        frame = describe_recording(piece.job, seen, recording.scenario.observed)
    if keep_table:
        make_folder(piece.path.parent)
        seen.to_parquet(piece.table_path)
    write_piece(piece, frame, event)


def write_piece(piece: Piece, frame: pd.DataFrame, event: dict | None) -> None:
    """Keep what is known of a recording."""
    make_folder(piece.path.parent)
    if event is not None:
        write_json(piece.event_path, event)
    with atomic_write(piece.path, "w") as file:
        frame.to_csv(file, index=False, float_format="%.5g", lineterminator="\n")


def describe_recording(job: Job, table: Trajectories, observed: tuple[float, float]) -> pd.DataFrame:
    """A row a window: where it is, its density, and the highest features of both versions of the rules."""
    recording = StreamRecording(job.name, "", job.scenario, 0.0, observed, Path())
    lanes = len(find_scenario(job.scenario, job.road, job.drivers).road.lanes)
    rows, old, windows = [], [], []
    for one in grid_of(recording, RENDERER).over([table]):
        window = TrafficWindow.unrendered(one, RENDERER)
        density = vehicle_density(window, lanes)
        rows.append((job.name, job.scenario, window.t0, window.t1, window.s0, window.s1, density))
        old.append(KinematicRules.worst([window])[0])
        windows.append(describe_windows([window]))
    described = DescribedWindows.joined(windows)
    frame = pd.DataFrame(rows, columns=["recording", "scenario", "t0", "t1", "s0", "s1", "density"])
    first = pd.DataFrame(np.stack(old), columns=[f"v1_{name}" for name in FEATURES])
    second = pd.DataFrame(described.features, columns=[f"v2_{name}" for name in LASTING_FEATURES])
    return pd.concat([frame, first, second, pd.Series(described.density, name="v2_density")], axis=1)


def read_windows(pieces: list[Piece]) -> pd.DataFrame:
    """The windows of recordings that are there, with "group": recordings of two seeds may have one name."""
    frames = [pd.read_csv(piece.path).assign(part=piece.part) for piece in pieces if piece.path.is_file()]
    return pd.concat(frames, ignore_index=True)


def read_events(pieces: list[Piece]) -> pd.DataFrame:
    """The incidents of recordings that are there, as `event_metrics.check_events` wants them."""
    rows = [
        {"recording": piece.job.name, **read_json(piece.event_path, "event", "Delete it and the windows beside it")}
        for piece in pieces
        if piece.part == "incidents" and piece.path.is_file()
    ]
    return pd.DataFrame(rows)


def complete_hours(
    pieces: list[Piece], part: str, done: Callable[[Piece], bool] = lambda piece: piece.path.is_file()
) -> Iterator[list[Piece]]:
    """The hours of a part of which every recording is there (`done`), so that scenarios have equal shares."""
    own = [piece for piece in pieces if piece.part == part]
    for first in range(0, len(own), PIECES_AN_HOUR):
        hour = own[first : first + PIECES_AN_HOUR]
        if all(map(done, hour)):
            yield hour
