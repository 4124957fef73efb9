"""The data set traffic_incidents on disk: made by several processes, resumable, the same whatever their number.

Recording i of a group depends on (seed, group, i) alone. Each finished recording leaves a record under OUT/.recordings,
written last and atomically; a later run with the same parameters makes only what has no record.
"""

import math
import subprocess
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from d2road.synthetic.traffic_incidents import sumo
from d2road.synthetic.traffic_incidents.drivers import IDM, POPULATIONS
from d2road.synthetic.traffic_incidents.incident_kinds import INCIDENT_KINDS, SEVERITIES
from d2road.synthetic.traffic_incidents.incident_windows import CATEGORIES, VIEWS
from d2road.synthetic.traffic_incidents.recordings import (
    FCD,
    FOLDERS,
    HOURS_PIECE_S,
    PIXEL_VALUES,
    RECORDS,
    TABLES,
    WINDOWS_EACH,
    Job,
    make_recording,
)
from d2road.synthetic.traffic_incidents.scenarios import DEFAULT_ROAD, ROADS, SCENARIOS
from d2road.utils.errors import ConfigError
from d2road.utils.output_dir import output_dir
from d2road.utils.output_files import atomic_write, write_json
from d2road.utils.parallel import run_recorded
from d2road.utils.registry import unknown_name

META, WINDOWS_CSV, RECORDINGS_CSV = "traffic_incidents.json", "meta.csv", "recordings.csv"
# Raised whenever the same seed would give other data, so that an old folder is not continued.
VERSION = 1


def make_traffic_incidents(
    out: str | Path,
    seed: int = 0,
    train: int = 600,
    validation: int = 100,
    good: int = 100,
    incidents: int = 200,
    good_hours: float = 0.0,
    views: Sequence[str] = tuple(VIEWS),
    fcd: bool = True,
    workers: int = 2,
    overwrite: bool = False,
    road: str = DEFAULT_ROAD,
    drivers: str = IDM,
) -> dict[str, Any]:
    """Make the data set, or finish one that an earlier run began.

    Args:
        out: folder to make; each view becomes a category in it.
        seed: >= 0; decides everything.
        train, validation, good, incidents: number of windows; the last two are the test. Kinds of incidents take turns.
        good_hours: good traffic as tables alone, besides; in whole recordings of 15 minutes.
        views: of `windows.VIEWS`.
        fcd: keep SUMO's own files.
        workers: processes; 0 or 1 works in this one.
        overwrite: replace a data set of other parameters that is there.
        road, drivers: of scenarios.ROADS and drivers.POPULATIONS.
    Returns:
        {"made": recordings of this run, "seconds": ..., "summary": text with the counts}.
    Raises:
        ValueError: negative counts, fewer than two training windows, an unknown view, road or population, or `out`
            holds other parameters or files.
        FileNotFoundError: SUMO is not installed.
        PermissionError: `out` cannot be written.
        RuntimeError: SUMO fails.
    """
    counts = {"train": train, "validation": validation, "good": good, "incidents": incidents}
    _refuse({**counts, "seed": seed, "workers": workers, "good-hours": good_hours}, views)
    of_road = road_options(road, drivers)
    out, version = Path(out), sumo_version()
    meta = {"version": VERSION, "seed": seed, **counts, "good_hours": good_hours, "views": list(views), "fcd": fcd}
    meta |= of_road
    folders = [f"{CATEGORIES[v]}/{folder}" for v in views for group, folder in FOLDERS.items() if counts[group]]
    folders += [RECORDS, TABLES, *([FCD] if fcd else [])]
    # Another version of SUMO drives differently.
    with output_dir(
        out, META, {**meta, "sumo": version}, folders, (RECORDS, TABLES, FCD, *CATEGORIES.values()), overwrite
    ):
        jobs = list(all_jobs(str(out), seed, counts, good_hours, tuple(views), fcd, of_road))
        start = time.monotonic()
        todo, records = run_recorded(make_recording, jobs, workers, "simulate")
        seconds = time.monotonic() - start
        windows = [row for record in records for row in record["windows"]]
        write_csv(out / RECORDINGS_CSV, [record["recording"] for record in records])
        write_csv(out / WINDOWS_CSV, windows)
        # Last, for they say that the categories are complete.
        for view in views:
            write_json(out / CATEGORIES[view] / "defects_config.json", defect_types())
        return {"made": len(todo), "seconds": seconds, "summary": summarize(windows, records)}


def _refuse(numbers: Mapping[str, float], views: Sequence[str]) -> None:
    """Raise ConfigError for options that cannot be."""
    for name, value in numbers.items():
        if value < 0:
            raise ConfigError(f"--{name} is {value}, expected 0 or more")
    if numbers["train"] < 2:
        raise ConfigError(f"--train is {numbers['train']}: at least 2 windows are needed to train on")
    for view in views:
        if view not in VIEWS:
            raise ConfigError(unknown_name("view", view, VIEWS))


def road_options(road: str, drivers: str) -> dict[str, str]:
    """What a job says of its road and drivers; nothing of the usual ones, which earlier folders do not name.

    Raises:
        ConfigError: there are no such ones.
    """
    for what, name, known in (("road", road, ROADS), ("population", drivers, POPULATIONS)):
        if name not in known:
            raise ConfigError(unknown_name(what, name, known))
    usual = {"road": DEFAULT_ROAD, "drivers": IDM}
    return {key: name for key, name in (("road", road), ("drivers", drivers)) if name != usual[key]}


def all_jobs(
    out: str,
    seed: int,
    counts: dict[str, int],
    good_hours: float,
    views: tuple[str, ...],
    fcd: bool,
    of_road: Mapping[str, str] | None = None,
) -> Iterator[Job]:
    """The recordings: scenarios take turns, and so do kinds of incidents with their severities and scenarios.

    Args:
        of_road: "road" and "drivers" where they are not the usual ones.
    """
    names, more = list(SCENARIOS), dict(of_road or {})
    for group, each in WINDOWS_EACH.items():
        for i in range(math.ceil(counts[group] / each)):
            count = min(each, counts[group] - i * each)
            yield Job(out, seed, group, i, i * each, count, names[i % len(names)], views=views, fcd=fcd, **more)
    for i in range(counts["incidents"]):
        number, place = divmod(i, len(INCIDENT_KINDS))
        kind = list(INCIDENT_KINDS)[place]
        turn, severity = divmod(number, len(SEVERITIES))
        scenarios = INCIDENT_KINDS[kind].scenarios
        # Shifted by the severity, so that a few of a kind have several scenarios already.
        scenario = scenarios[(turn + severity) % len(scenarios)]
        yield Job(out, seed, "incidents", i, number, 1, scenario, kind, SEVERITIES[severity], views, fcd, **more)
    for i in range(math.ceil(good_hours * 3600 / HOURS_PIECE_S)):
        yield Job(out, seed, "hours", i, 0, 0, names[i % len(names)], views=views, fcd=False, **more)


def sumo_version() -> str:
    """What SUMO calls itself, "1.28.0".

    Raises:
        FileNotFoundError: it is not installed.
    """
    path = sumo.program_path("sumo")
    said = subprocess.run([str(path), "--version"], capture_output=True, text=True).stdout.splitlines()
    return said[0].rpartition(" ")[2] if said else "unknown"


def defect_types() -> list[dict[str, Any]]:
    """The content of defects_config.json: every kind has to be found whole."""
    return [
        {"defect_name": kind, "pixel_value": value, "saturation_threshold": 1.0, "relative_saturation": True}
        for kind, value in PIXEL_VALUES.items()
    ]


def write_csv(path: Path, rows: list[dict[str, Any]]) -> None:
    """Rows of equal keys as a table, whole or not at all."""
    with atomic_write(path, "w") as file:
        pd.DataFrame(rows).to_csv(file, index=False, lineterminator="\n")


def summarize(windows: list[dict[str, Any]], records: list[dict[str, Any]]) -> str:
    """Windows by folder and by scenario, and hours of traffic."""
    lines = []
    for folder in (*list(FOLDERS.values())[:3], *(f"test/{kind}" for kind in INCIDENT_KINDS)):
        inside = [row for row in windows if row["window"].rpartition("/")[0] == folder]
        counts = Counter(row["scenario"] for row in inside)
        listed = ", ".join(f"{name} {counts[name]}" for name in SCENARIOS if counts[name])
        lines.append(f"{folder}: {len(inside)} windows" + (f": {listed}" if listed else ""))
    recordings = [record["recording"] for record in records]
    hours = sum(row["stop"] - row["start"] for row in recordings) / 3600
    alone = sum(row["stop"] - row["start"] for row in recordings if row["group"] == "hours") / 3600
    lines.append(f"{len(recordings)} recordings, {hours:.2f} h, {alone:.2f} h of them good traffic as tables alone")
    return "\n".join(lines)
