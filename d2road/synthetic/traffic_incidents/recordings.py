"""One recording of the data set: simulated, observed, cut into windows and written; several processes do several."""

import gzip
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from d2road.synthetic.traffic_incidents import incident_windows as windows
from d2road.synthetic.traffic_incidents.control import NotPossibleError
from d2road.synthetic.traffic_incidents.drivers import IDM
from d2road.synthetic.traffic_incidents.incident_kinds import INCIDENT_KINDS, SEVERITIES, Incident
from d2road.synthetic.traffic_incidents.incident_windows import DURATION_S, VIEWS, Cut
from d2road.synthetic.traffic_incidents.noise import lose_track, observe
from d2road.synthetic.traffic_incidents.scenarios import DEFAULT_ROAD, Scenario, find_scenario
from d2road.synthetic.traffic_incidents.simulate import (
    AFTER_S,
    BEFORE_S,
    SimulatedRecording,
    simulate_good,
    simulate_incident,
)
from d2road.traffic.table import Trajectories
from d2road.utils.output_files import atomic_write, make_folder, write_json, write_small

RECORDS, TABLES, FCD = ".recordings", "recordings", "fcd"
# Parts of the data set; their order is part of the seed.
FOLDERS = {"train": "train/good", "validation": "validation/good", "good": "test/good", "incidents": "test"}
GROUPS = (*FOLDERS, "hours")
# Windows of a good recording, and seconds of one that is only a table.
WINDOWS_EACH = {"train": 10, "validation": 5, "good": 5}
HOURS_PIECE_S = 900.0
LOST_TRACK_S = 150.0  # of a recording in which a track is lost
ATTEMPTS = 40  # to draw traffic in which an incident is possible
# Values of a mask's pixels, by kind; LOCO's begin at 255 too.
PIXEL_VALUES = {kind: 255 - number for number, kind in enumerate(INCIDENT_KINDS)}


@dataclass(frozen=True)
class Job:
    """A recording to make.

    index: of the recording in its group; first, count: numbers of its windows in their folder, and how many of them
    there are; kind, severity: "" in good traffic; views: to draw; fcd: whether SUMO's file is kept; road, drivers: of
    scenarios.ROADS and drivers.POPULATIONS.
    """

    out: str
    seed: int
    group: str
    index: int
    first: int
    count: int
    scenario: str
    kind: str = ""
    severity: str = ""
    views: tuple[str, ...] = tuple(VIEWS)
    fcd: bool = True
    road: str = DEFAULT_ROAD
    drivers: str = IDM

    @property
    def name(self) -> str:
        """Of the recording; that of an incident has the number of its window."""
        return f"{self.kind}_{self.first:03d}" if self.kind else f"{self.group}_{self.index:03d}"

    @property
    def record(self) -> Path:
        """The file that says that the recording is complete."""
        return Path(self.out) / RECORDS / f"{self.name}.json"

    def window(self, number: int) -> str:
        """The path of a window below its category, without suffix."""
        folder = f"{FOLDERS[self.group]}/{self.kind}" if self.kind else FOLDERS[self.group]
        return f"{folder}/{self.first + number:03d}"


@dataclass(frozen=True)
class Observed:
    """A recording, what the sensor has of it, and what is to see of the incident, if there is one."""

    recording: SimulatedRecording
    seen: Trajectories
    incident: Incident | None
    cuts: list[Cut]


def make_recording(job: Job) -> None:
    """Simulate and write one recording; its record comes last.

    Raises:
        FileNotFoundError: SUMO is not installed.
        RuntimeError: SUMO fails, or in no traffic that was drawn the incident is possible.
    """
    with observed_recording(job) as observed:
        rows = [_write_window(job, observed, number, cut) for number, cut in enumerate(observed.cuts)]
        recording = _write_tables(job, observed)
    write_json(job.record, {"recording": recording, "windows": rows}, indent=None)


@contextmanager
def observed_recording(job: Job, twin: bool = True) -> Iterator[Observed]:
    """One recording as the sensor has it, with nothing written; SUMO's own files are there inside of the context.

    Args:
        twin: drive the traffic of an incident without it too, for what it causes; what is seen is the same either way.
    Raises:
        FileNotFoundError, RuntimeError: as `make_recording`.
    """
    scenario, reason = find_scenario(job.scenario, job.road, job.drivers), ""
    for attempt in range(ATTEMPTS):
        rng = np.random.default_rng(np.random.SeedSequence([job.seed, GROUPS.index(job.group), job.index, attempt]))
        with tempfile.TemporaryDirectory(prefix="traffic_incidents.") as folder:
            try:
                observed = _observe(job, scenario, rng, folder, twin)
            except NotPossibleError as error:
                reason = str(error)
                continue
            yield observed
        return
    raise RuntimeError(f"{job.name}: {ATTEMPTS} times the traffic of {job.scenario} did not allow it, last: {reason}")


def _observe(job: Job, scenario: Scenario, rng: np.random.Generator, folder: str, twin: bool) -> Observed:
    if job.kind:
        return _observe_incident(job, scenario, rng, folder, twin)
    return _observe_good(job, scenario, rng, folder)


def _observe_good(job: Job, scenario: Scenario, rng: np.random.Generator, folder: str) -> Observed:
    count = WINDOWS_EACH.get(job.group, 0)
    recording = simulate_good(Path(folder), scenario, rng, count * DURATION_S if count else HOURS_PIECE_S)
    seen = observe(recording.table, rng)
    # All of them, so that a smaller data set is the beginning of a larger one.
    cuts = windows.good_cuts(rng, scenario, recording.start, count)[: job.count]
    return Observed(recording, seen, None, cuts)


def _observe_incident(job: Job, scenario: Scenario, rng: np.random.Generator, folder: str, twin: bool) -> Observed:
    if INCIDENT_KINDS[job.kind].act is None:
        recording = simulate_good(Path(folder), scenario, rng, LOST_TRACK_S)
        seconds = INCIDENT_KINDS[job.kind].levels[SEVERITIES.index(job.severity)]
        start, end = recording.start + BEFORE_S, recording.end - AFTER_S - seconds
        seen, incident = lose_track(observe(recording.table, rng), rng, seconds, start, end)
        incident = replace(incident, severity=job.severity, level=seconds)
    else:
        recording = simulate_incident(Path(folder), scenario, rng, job.kind, job.severity, twin)
        seen = observe(recording.table, rng)
        assert recording.incident is not None, "simulate_incident lets one happen"
        incident = windows.visible_incident(recording.table, recording.incident, scenario)
    cut = windows.incident_cut(rng, recording.table, incident, scenario.observed, recording.end)
    return Observed(recording, seen, incident, [cut])


def _write_window(job: Job, observed: Observed, number: int, cut: Cut) -> dict[str, Any]:
    """Draw a window in every view; returns its row of meta.csv."""
    name, table, incident = job.window(number), observed.recording.table, observed.incident
    moved = Trajectories.empty()
    without, caused = observed.recording.without, observed.recording.incident
    if without is not None and caused is not None:
        moved = windows.affected(table, without, caused.onset)
    for view_name in job.views:
        view, root = VIEWS[view_name], Path(job.out) / windows.CATEGORIES[view_name]
        _write_png(root / f"{name}.png", windows.render(view, observed.seen, cut)[:, :, ::-1])
        if incident is None:
            continue
        mask = windows.culprit_mask(view, table, incident, cut)
        ignore = windows.ignore_mask(view, moved, mask, cut)
        file = f"{job.kind}/{Path(name).name}"
        _write_png(root / "ground_truth" / f"{file}_mask.png", mask * np.uint8(PIXEL_VALUES[job.kind]))
        if ignore.any():
            _write_png(root / "ignore" / f"{file}_ignore.png", ignore * np.uint8(255))
    per_km, speed = windows.density_and_speed(table, cut, len(observed.recording.scenario.road.lanes))
    row = {
        "window": name,
        "recording": job.name,
        "scenario": job.scenario,
        "t0": cut.t0,
        "t1": round(cut.t1, 1),
        "s0": cut.s0,
        "s1": round(cut.s1, 1),
        "direction": 1,
        "density": round(per_km, 2),
        "speed": round(speed, 2),
    }
    return {**row, **incident_columns(table, incident)}


def incident_columns(table: Trajectories, incident: Incident | None) -> dict[str, Any]:
    """What meta.csv says of an incident; nothing, but the kind "good", without one."""
    empty = dict.fromkeys(("severity", "level", "onset", "end", "vehicle", "s_low", "s_high"), "")
    if incident is None:
        return {"kind": "good", **empty}
    s = windows.culprit_rows(table, incident)["s"]
    told = {name: value for name, value in asdict(incident).items() if name != "kind"}
    return {
        "kind": incident.kind,
        **{name: told.get(name, "") for name in empty},
        "s_low": round(float(s.min()), 1),
        "s_high": round(float(s.max()), 1),
    }


def _write_tables(job: Job, observed: Observed) -> dict[str, Any]:
    """Write what the sensor has and, if asked for, SUMO's own file; returns the recording's row of recordings.csv."""
    out, recording = Path(job.out), observed.recording
    frame = observed.seen.frame
    Trajectories.from_frame(frame.assign(recording=job.name)).to_parquet(out / TABLES / f"{job.name}.parquet")
    if job.fcd:
        with (
            open(recording.fcd, "rb") as source,
            atomic_write(out / FCD / f"{job.name}.csv.gz") as file,
            # Without a time in its header the same content gives the same bytes.
            gzip.GzipFile("", "wb", 1, file, mtime=0) as packed,
        ):
            shutil.copyfileobj(source, packed)
    return {
        "recording": job.name,
        "group": job.group,
        "scenario": job.scenario,
        "start": recording.start,
        "stop": round(recording.end, 1),
        "low": recording.scenario.observed[0],
        "high": recording.scenario.observed[1],
        "vehicles": len(observed.seen.vehicles),
        "rows": len(observed.seen),
        "collisions": recording.collisions,
        **incident_columns(recording.table, observed.incident),
    }


def _write_png(path: Path, image: np.ndarray) -> None:
    make_folder(path.parent)
    ok, encoded = cv2.imencode(".png", np.ascontiguousarray(image))
    assert ok, "an 8-bit image can always be encoded"
    write_small(path, encoded.tobytes())
