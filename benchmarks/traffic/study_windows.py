"""Windows of simulated validation hours, good ones and one of each incident, drawn in several ways.

They are cut from the tables that `benchmarks.traffic.rules_benchmark --seed 1000 --keep-tables` leaves behind; or, for
a smaller study, the good ones from those of traffic_incidents that are no test.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd

from benchmarks.traffic.rules_windows import Piece, list_pieces
from d2road.synthetic.traffic_incidents.incident_windows import DURATION_S, PANELS, STRETCH_M, VIEWS
from d2road.synthetic.traffic_incidents.incident_writer import META, all_jobs
from d2road.synthetic.traffic_incidents.noise import SECOND_NAME
from d2road.synthetic.traffic_incidents.recordings import TABLES
from d2road.synthetic.traffic_incidents.scenarios import SCENARIOS
from d2road.traffic.table import Trajectories
from d2road.traffic.time_space.traffic_window import TrafficWindow
from d2road.utils.errors import DataError
from d2road.utils.input_files import read_json

SEED, FIT_HOURS, HOURS, INCIDENTS = 1000, 6, 5, 96
# Windows of each good recording: to train on, to compare with, to test.
COUNTS = {"train": 12, "compare": 6, "good": 6}
# Of each recording of traffic_incidents, which are shorter; the first share of its training recordings is learned from.
SMALL_COUNTS = {"train": 8, "compare": 5, "good": 5}
LEARNED_SHARE = 0.6
REACH_M = 200.0  # of the traffic that a vehicle's speed is compared with
RELATIVE_MIDDLE, RELATIVE_GAIN, LEAST_SPEED = 20.0, 2.0, 1.0  # m/s, 1, m/s
CULPRIT_S = 2.0  # around a gap in a track


@dataclass(frozen=True, eq=False)
class StudyWindow:
    """A window, with what it is for ("train", "compare", "good", "incident") and what happens in it.

    kind: "good" or that of the incident; culprits: names of its vehicle; interval: s, of the incident.
    """

    window: TrafficWindow
    part: str
    kind: str = "good"
    culprits: tuple[str, ...] = ()
    interval: tuple[float, float] = (0.0, 0.0)

    def render(self, view: str, relative: bool = False) -> np.ndarray:
        """(H, W, 3) uint8, RGB; relative: speed is drawn as the difference to the traffic around."""
        window, renderer = self.window, VIEWS[view]
        table = relative_speeds(window.table) if relative else window.table
        return renderer.render(table, window.t0, window.s0, 1, lanes_of(view))

    def mask(self, view: str) -> np.ndarray:
        """The pixels of the culprit, (H, W) bool."""
        window, renderer = self.window, VIEWS[view]
        return renderer.mask(
            window.table, window.t0, window.s0, self.culprits, self.interval, 1, lanes_of(view), dilate=3
        )


def lanes_of(view: str) -> tuple[str, ...] | None:
    """Panels of a view."""
    return PANELS if view == "stacked" else None


def relative_speeds(table: Trajectories) -> Trajectories:
    """The table with speeds relative to the mean of those within REACH_M at the same instant, about the scale's middle.

    A vehicle as fast as the others is drawn as one at RELATIVE_MIDDLE, whatever that speed is.
    """
    frame = table.frame
    speed, s = frame["speed"].to_numpy(float), frame["s"].to_numpy(float)
    relative = np.zeros(len(frame))
    for places in frame.groupby("t", sort=False).indices.values():
        near = np.abs(s[places][:, None] - s[places]) <= REACH_M
        np.fill_diagonal(near, False)
        count = near.sum(axis=1)
        mean = np.where(count > 0, near @ speed[places] / np.maximum(count, 1), speed[places])
        relative[places] = speed[places] - mean
    drawn = np.clip(RELATIVE_MIDDLE + RELATIVE_GAIN * relative, LEAST_SPEED, 2 * RELATIVE_MIDDLE)
    return Trajectories.from_frame(frame.assign(speed=drawn))


def read_study(pieces: Sequence[Piece] | None = None) -> list[StudyWindow]:
    """All windows, in the order of their recordings; they depend on SEED alone.

    Raises:
        DataError: tables are missing.
    """
    found: list[StudyWindow] = []
    for piece in list_pieces(SEED, SEED, FIT_HOURS, HOURS, INCIDENTS) if pieces is None else pieces:
        if not piece.table_path.is_file():
            raise DataError(
                f"{piece.table_path} is not there: python -m benchmarks.traffic.rules_benchmark --seed {SEED} "
                f"--fit-hours {FIT_HOURS} --hours {HOURS} --incidents {INCIDENTS} --keep-tables simulates it"
            )
        rng = np.random.default_rng(np.random.SeedSequence([SEED, *map(ord, piece.job.name)]))
        table = Trajectories.from_parquet(piece.table_path)
        if piece.part == "incidents":
            found.append(incident_window(piece, table, rng))
        else:
            part = {"fit": "train", "threshold": "compare", "rate": "good"}[piece.part]
            found += good_windows(piece, table, rng, part, COUNTS[part])
    return found


def read_small_study(root: Path, incidents: Sequence[Piece]) -> list[StudyWindow]:
    """Good windows of the training and validation recordings of traffic_incidents, and windows of incidents of SEED.

    Args:
        root: of the data set. incidents: recordings with their tables.
    Raises:
        DataError: tables are missing.
    """
    meta = read_json(root / META, "parameters", "Make it with d2road make-data traffic-incidents")
    counts = {group: meta[group] for group in ("train", "validation")} | {"good": 0, "incidents": 0}
    jobs = list(all_jobs(str(root), meta["seed"], counts, 0, (), False))
    learned = LEARNED_SHARE * sum(job.group == "train" for job in jobs)
    found: list[StudyWindow] = []
    for job in jobs:
        part = "good" if job.group == "validation" else "train" if job.index < learned else "compare"
        path = root / TABLES / f"{job.name}.parquet"
        if not path.is_file():
            raise DataError(f"{path} is not there: make-data traffic-incidents has not made it yet")
        rng = np.random.default_rng(np.random.SeedSequence([meta["seed"], *map(ord, job.name)]))
        table = Trajectories.from_parquet(path)
        found += good_windows(Piece(job, part), table, rng, part, SMALL_COUNTS[part])
    return found + read_study(incidents)


def good_windows(
    piece: Piece, table: Trajectories, rng: np.random.Generator, part: str, count: int
) -> list[StudyWindow]:
    """Windows spread over a good recording, each at a place of its own."""
    low, high = SCENARIOS[piece.job.scenario].observed
    starts = np.linspace(table.span[0] + 2, table.span[1] - DURATION_S - 2, count)
    places = rng.uniform(low, high - STRETCH_M, count)
    return [StudyWindow(cut(piece, table, t0, s0), part) for t0, s0 in zip(starts, places)]


def incident_window(piece: Piece, table: Trajectories, rng: np.random.Generator) -> StudyWindow:
    """The window of an incident, as the data set cuts it: mostly its onset, the culprit near the middle."""
    event = read_json(piece.event_path, "event", "Simulate it again")
    onset, end = float(event["onset"]), float(event["end"])
    names, interval = find_culprit(table, event)
    frame = table.select(vehicles=names).between(*interval).frame
    latest = max(onset - 3.0, 0.5 * (onset + end) - 0.5 * DURATION_S)
    t0 = float(min(rng.uniform(onset - 12.0, latest), table.span[1] - DURATION_S))
    t = frame["t"].to_numpy()
    seen = frame["s"].to_numpy(float)[(t >= t0) & (t < t0 + DURATION_S)]
    if not len(seen):
        raise DataError(f"{piece.job.name}: the culprit is not in its window")
    low, high = SCENARIOS[piece.job.scenario].observed
    s0 = 0.5 * (seen.min() + seen.max()) - rng.uniform(0.3, 0.7) * STRETCH_M
    window = cut(piece, table, t0, float(np.clip(s0, low, high - STRETCH_M)))
    return StudyWindow(window, "incident", piece.job.kind, tuple(names), interval)


def find_culprit(table: Trajectories, event: dict) -> tuple[list[str], tuple[float, float]]:
    """Names of the vehicle whose stretch during an event is that of the record, and when it is to be looked at."""
    onset, end = float(event["onset"]), float(event["end"])
    if event["kind"] == "lost_track":
        again = [name for name in table.vehicles if name.endswith(SECOND_NAME)]
        return [again[0].removesuffix(SECOND_NAME), again[0]], (onset - CULPRIT_S, end + CULPRIT_S)
    rows = table.between(onset, end + 0.05).frame
    its = rows.groupby(rows["vehicle"].astype(str)).agg(low=("s", "min"), high=("s", "max"), count=("t", "size"))
    # Who is there from the onset to the end, but for samples that the sensor lacks.
    its = its[its["count"] >= 0.9 * 10 * (end - onset)]
    error = (its["low"] - event["s_low"]).abs() + (its["high"] - event["s_high"]).abs()
    return [str(error.idxmin())], (onset, end)


def cut(piece: Piece, table: Trajectories, t0: float, s0: float) -> TrafficWindow:
    """A window of a recording, with the rows around it."""
    margin = VIEWS["overlay"].margin
    near = table.between(t0 - margin, t0 + DURATION_S + margin)
    name = f"{piece.job.name}"
    return TrafficWindow(name, t0, t0 + DURATION_S, s0, s0 + STRETCH_M, near)


def grid_windows(piece: Piece, one: StudyWindow) -> list[StudyWindow]:
    """The windows of the stream's grid in which the culprit of an incident is seen."""
    table = Trajectories.from_parquet(piece.table_path)
    rows = table.select(vehicles=one.culprits).between(*one.interval).frame
    t, s = rows["t"].to_numpy(float), rows["s"].to_numpy(float)
    places = pd.read_csv(piece.path)[["t0", "s0"]].itertuples(index=False)
    return [
        replace(one, window=cut(piece, table, t0, s0))
        for t0, s0 in places
        if ((t >= t0) & (t < t0 + DURATION_S) & (s >= s0) & (s < s0 + STRETCH_M)).any()
    ]
