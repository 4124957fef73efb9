"""What the folder of a tracked or watched video tells: record, camera, tracks, trajectories, alarms.

A watch of recorded tracks leaves no tracks of its own: those of its input are read.
"""

from collections.abc import Callable
from dataclasses import dataclass
from dataclasses import field as default
from pathlib import Path
from typing import Any, TypeVar

from d2road.data.roadside_camera_files import camera_of_mapping
from d2road.data.tracked_camera import SUMMARY
from d2road.structures.roadside_camera import RoadsideCamera
from d2road.traffic.table import Trajectories
from d2road.traffic.tracking.ground_tracks import GroundTracks, concat
from d2road.traffic.tracking.road_trajectories import to_trajectories
from d2road.traffic.tracking.track_files import CSV, read_track_blocks
from d2road.traffic.watch.alarm_report import ALARM, UPDATE
from d2road.traffic.watch.camera_watch import LOG
from d2road.traffic.watch.watch_record import RECORD
from d2road.utils.errors import D2RoadError, DataError
from d2road.utils.input_files import parse_json, read_json, text_lines
from d2road.utils.values import as_list, as_number, as_object, as_text, field

T = TypeVar("T")
# Parts of records by the kind that they must be of.
OBJECTS = ("settings", "stage_seconds", "environment", "rules", "camera")
NUMBERS = ("frames", "video_seconds", "frames_per_second", "wall_seconds", "processor_seconds")
LISTS = ("problems", "notes")
MOST_ROWS = 3_000_000  # of tracks; some five hours of busy road


@dataclass
class VideoRun:
    """What was read.

    Args:
        path: the folder.
        record: summary.json of the tracks; {} without.
        watch: watch.json; {} of a folder that was not watched.
        tracks_folder: where the tracks were read from.
        camera: of the run; None where no record has it.
        tracks: all rows.
        trajectories: of them, where the camera knows its road.
        alarms: records of alarms.jsonl, each with those that name it anew. others: records of other kinds in it.
        notes: what could not be read.
    """

    path: Path
    record: dict[str, Any] = default(default_factory=dict)
    watch: dict[str, Any] = default(default_factory=dict)
    tracks_folder: Path | None = None
    camera: RoadsideCamera | None = None
    tracks: GroundTracks = default(default_factory=GroundTracks.empty)
    trajectories: Trajectories | None = None
    alarms: list[dict[str, Any]] = default(default_factory=list)
    others: list[dict[str, Any]] = default(default_factory=list)
    notes: list[str] = default(default_factory=list)

    @property
    def is_watch(self) -> bool:
        """Whether it is the folder of a watch."""
        return bool(self.watch) or (self.path / LOG).is_file()

    @property
    def seconds(self) -> float:
        """Of the video, as far as it was looked at."""
        told = self.record.get("video_seconds", self.watch.get("video_seconds"))
        last = float(self.tracks.rows["t"].max()) if len(self.tracks) else 0.0
        return float(told) if isinstance(told, (int, float)) else last

    @property
    def video(self) -> Path | None:
        """The video that was tracked, where it is still there."""
        settings = self.record.get("settings") or {}
        named = (self.watch.get("video"), settings.get("input"), self.watch.get("input"))
        return next((Path(text) for text in named if isinstance(text, str) and text and Path(text).is_file()), None)

    def state(self) -> str:
        """What became of the run, in a line."""
        return str((self.watch if self.is_watch else self.record).get("state", "unknown: it left no record"))


def is_video_folder(path: Path) -> bool:
    """Whether a folder is one of `d2road track` or `d2road watch`."""
    return any((path / name).is_file() for name in (SUMMARY, RECORD, LOG))


def read_video_run(path: Path) -> VideoRun:
    """Read the folder of `d2road track` or `d2road watch`; parts that are missing or damaged become notes."""
    run = VideoRun(path)
    run.watch = _try(run, {}, lambda: _record(path / RECORD))
    run.tracks_folder = _tracks_folder(run)
    if run.tracks_folder is not None:
        folder = run.tracks_folder
        run.record = _try(run, {}, lambda: _record(folder / SUMMARY))
        run.tracks = _try(run, GroundTracks.empty(), lambda: _tracks(run, folder))
    run.camera = _try(run, None, lambda: _camera(run))
    road = None if run.camera is None else run.camera.road
    if run.camera is None:
        run.notes.append("no record has the camera, so there is neither a view from above nor a road: track anew")
    elif road is not None and len(road.directions):
        run.trajectories = _try(run, None, lambda: to_trajectories(run.tracks, road, path.resolve().name))
    nothing: list[dict[str, Any]] = []
    records = _try(run, nothing, lambda: _alarm_records(run, path / LOG))
    run.alarms = [one for one in records if one.get("kind") == ALARM]
    for alarm in run.alarms:  # those that name it anew, in their order
        alarm["named_anew"] = [one for one in records if one.get("kind") == UPDATE and one["updates"] == alarm["id"]]
    run.others = [one for one in records if one.get("kind") not in (ALARM, UPDATE)]
    return run


def _tracks_folder(run: VideoRun) -> Path | None:
    """Where the tracks are: here, in the newest of a watch's own folders, or in what was watched."""
    named = run.watch.get("input")
    watched = [Path(named), Path(named).parent] if isinstance(named, str) and named else []
    own = sorted(run.path.glob("tracks_*"), reverse=True)
    found = next((one for one in (run.path, *own, *watched) if (one / CSV).is_file()), None)
    if found is None and (run.path / SUMMARY).is_file():
        return run.path
    if found is None:
        run.notes.append(f"there are no tracks ({CSV}) to tell of: the watch read trajectories, or its input is gone")
    return found


def _tracks(run: VideoRun, folder: Path) -> GroundTracks:
    found, rows = [], 0
    for block in read_track_blocks(folder / CSV):
        found.append(block)
        rows += len(block)
        if rows >= MOST_ROWS:
            run.notes.append(f"figures and tables are of the first {rows} rows of {CSV}, the file has more")
            break
    return concat(found)


def _camera(run: VideoRun) -> RoadsideCamera | None:
    for name, record in ((RECORD, run.watch), (SUMMARY, run.record)):
        if "camera" in record:
            return camera_of_mapping(as_object(record["camera"], f"{name}: camera"), f"{name}: camera")
    return None


def _record(path: Path) -> dict[str, Any]:
    """A record whose parts have the kinds that pages rely on; {} where there is none.

    Raises:
        DataError: it is none.
    """
    if not path.is_file():
        return {}
    record = as_object(read_json(path, "record", nan=True), str(path))
    for name in OBJECTS:
        if record.get(name) is not None:
            as_object(record[name], f"{path}: {name}")
    for name, value in (record.get("stage_seconds") or {}).items():
        as_number(value, f"{path}: stage_seconds: {name}")
    for name in NUMBERS:
        if record.get(name) is not None:
            as_number(record[name], f"{path}: {name}")
    for name in LISTS:
        if record.get(name) is not None:
            as_list(record[name], f"{path}: {name}")
    return record


def _alarm_records(run: VideoRun, path: Path) -> list[dict[str, Any]]:
    """Lines of alarms.jsonl; damaged ones become notes, but for half a line at the end, as a killed run leaves it."""
    if not path.is_file():
        return []
    lines = [line for line in text_lines(path, "alarms", largest=None) if line.strip()]
    found = []
    for number, line in enumerate(lines, 1):
        source = f"{path}, line {number}"
        try:
            record = as_object(parse_json(line.encode(), source), source)
            found.append(_checked_alarm(record, source) if record.get("kind") in (ALARM, UPDATE) else record)
        except DataError as error:
            if number < len(lines):
                run.notes.append(str(error))
    return found


def _checked_alarm(alarm: dict[str, Any], source: str) -> dict[str, Any]:
    """An alarm that has what its place on a page needs. Raises DataError."""
    for name in ("id", "sentence", *(("updates",) if alarm["kind"] == UPDATE else ())):
        field(alarm, name, as_text, source)
    for name in ("t", "start", "end", "s_low", "s_high", "score", "threshold"):
        field(alarm, name, as_number, source)
    for vehicle in field(alarm, "vehicles", as_list, source):
        for name in ("speed_kmh", "s_m"):
            field(as_object(vehicle, source), name, as_number, source)
    return alarm


def _try(run: VideoRun, otherwise: T, read: Callable[[], T]) -> T:
    """What was read; else `otherwise`, and a note why: a damaged file must not cost the rest of the page."""
    try:
        return read()
    except (D2RoadError, OSError, ValueError, KeyError, AttributeError, TypeError) as error:
        run.notes.append(f"{type(error).__name__}: {error}")
        return otherwise
