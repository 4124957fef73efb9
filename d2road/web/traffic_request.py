"""The tab Traffic: trajectories as a time-space diagram, their windows scored by rules, and alarms as of a stream."""

import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from urllib.parse import urlencode

import pandas as pd

from d2road.config import make_cfg
from d2road.config.time_space import window_grid_of
from d2road.traffic.events.alarms import Alarm, check_windows, merge_alarms
from d2road.traffic.events.rules_stream import load_rules
from d2road.traffic.events.stream_options import RULES, RULES_FORECAST, StreamOptions
from d2road.traffic.events.stream_session import StreamSession
from d2road.traffic.readers import open_trajectories
from d2road.traffic.time_space.window_grid import WindowGrid
from d2road.utils.errors import ConfigError
from d2road.utils.output_files import write_json
from d2road.web.packed_uploads import unpack, unpacked_name
from d2road.web.result_files import ResultFolders, result_stem, write_table
from d2road.web.traffic_drawing import draw_scores, draw_trajectories
from d2road.web.uploads import UploadLimits

METHODS = (RULES, RULES_FORECAST)
READERS = ("fcd", "csv")
TYPES = (".xml", ".csv", ".txt")
# Options of readers that name no file of the server, see docs/trajectories.md.
SAFE_OPTIONS = {
    "edges", "lane", "lengths", "body", "partial", "columns", "units", "frame_rate", "separator", "decimal", "ordered",
    "direction", "recording", "start", "end", "smooth",
}  # fmt: skip
ALARM_COLUMNS = ("recording", "start", "end", "s_low", "s_high", "windows", "peak", "direction")
PICTURES = 12  # of alarms that are drawn


@dataclass(frozen=True)
class TrafficUpload:
    """What a request brings.

    Args:
        trajectories: to draw and to score.
        reader: of READERS; options: of it, "NAME=VALUE&NAME=VALUE".
        good: good traffic in the same form, that rules are fitted on.
        calibration: of `d2road score-stream --calibrate` instead, with its rules and threshold.
        method: of METHODS. rate: false alarms an hour that a threshold from `good` allows.
    """

    trajectories: Path
    reader: str = "fcd"
    options: str = ""
    good: Path | None = None
    calibration: Path | None = None
    method: str = RULES
    rate: float = 1.0


@dataclass(frozen=True)
class TrafficResult:
    """text: in words; lines: of alarms, as the command prints them; alarms: rows of ALARM_COLUMNS; diagrams, pictures:
    the whole and each alarm; files: for downloading."""

    text: str
    lines: list[str]
    alarms: list[tuple]
    diagrams: list[Path]
    pictures: list[Path]
    files: list[Path]


class TrafficWindows:
    """How windows are cut: the node TIME_SPACE of the page.

    Args:
        opts: KEY, VALUE, KEY, VALUE, ... below TIME_SPACE.
    Raises:
        ConfigError: a key or a value that cannot be.
    """

    def __init__(self, opts: Sequence[str] = ()):
        self.opts = tuple(opts)
        self.grid: WindowGrid = window_grid_of(make_cfg("", self.opts))


def inspect_traffic(
    windows: TrafficWindows, upload: TrafficUpload, limits: UploadLimits, folders: ResultFolders
) -> TrafficResult:
    """Draw trajectories and, by good traffic or a calibration, score them.

    Raises:
        D2RoadError, OSError: what was uploaded cannot be used.
    """
    if upload.good is not None and upload.calibration is not None:
        raise ConfigError("good traffic and a calibration are given: the calibration holds rules already, give one")
    folder = folders.new()
    spec = _spec(upload.trajectories, upload, limits, folder / "input" / "live")
    table = open_trajectories(spec).table()
    scored = upload.good is not None or upload.calibration is not None
    session = _session(windows, upload, limits, folder, spec) if scored else None
    alarms: list[Alarm] = []
    files: list[Path] = []
    if session is not None:
        scores = pd.read_csv(folder / "scores.csv", dtype={"recording": str})
        alarms, _ = merge_alarms(check_windows(scores), session.session.scorer.threshold)
        files = [_write_alarms(folder, alarms), folder / "alarms.json", folder / "scores.csv"]
    diagrams = draw_trajectories(table, windows.grid, alarms, folder)
    if session is not None:
        diagrams.append(draw_scores(scores, session.session.scorer.threshold, folder))
    text, lines = ("Drawn. Give good traffic or a calibration to score it.", []) if session is None else session.said()
    pictures = sorted((folder / "alarms").glob("*.png"))[:PICTURES]
    rows = [tuple(getattr(alarm, name) for name in ALARM_COLUMNS) for alarm in alarms]
    shutil.rmtree(folder / "input")
    return TrafficResult(text, lines, rows, diagrams, pictures, [*diagrams, *files])


@dataclass(frozen=True)
class _Scored:
    """A session that has ended, and what it said."""

    session: StreamSession
    lines: list[str]

    def said(self) -> tuple[str, list[str]]:
        """What it came to, in words, and the lines of alarms and of drift."""
        threshold = self.session.scorer.threshold
        note = "threshold {:.4g}, of the calibration"
        if self.session.options.calibration is None:
            note = self.session.model.note
        own = [line.replace(f"{self.session.options.pictures}/", "") for line in self.lines[:-1]]
        return f"{self.lines[-1].rsplit(';', 1)[0]}. {note.format(threshold)}", own


def _session(windows: TrafficWindows, upload: TrafficUpload, limits: UploadLimits, folder: Path, spec: str) -> _Scored:
    """Score the trajectories as `d2road score-stream` does."""
    good: tuple[str, ...] = ()
    if upload.good is not None:
        good = (_spec(upload.good, upload, limits, folder / "input" / "good"),)
    if upload.calibration is not None:
        limits.check_file(upload.calibration)
    options = StreamOptions(
        input=spec,
        method=upload.method,
        good=good,
        opts=windows.opts,
        calibration=upload.calibration,
        rate=upload.rate,
        scores=folder / "scores.csv",
        pictures=folder / "alarms",
    )
    lines: list[str] = []
    session = StreamSession(options, lambda: load_rules(options, windows.grid), say=lines.append)
    session.run()
    return _Scored(session, lines)


def _spec(path: Path, upload: TrafficUpload, limits: UploadLimits, folder: Path) -> str:
    """SPEC of an uploaded file, of which an unpacked copy gets a name without `?`.

    Raises:
        DataError: too large, packed or unpacked. ConfigError: a reader or an option that is not offered here.
    """
    limits.check_file(path)
    if upload.reader not in READERS:
        raise ConfigError(f"reader {upload.reader!r} is not offered here, only {' and '.join(READERS)}")
    options = dict(_option(word) for word in upload.options.strip().lstrip("?").split("&") if word)
    forbidden = sorted(set(options) - SAFE_OPTIONS)
    if forbidden:
        raise ConfigError(
            f"option {', '.join(forbidden)} is not offered here, only {', '.join(sorted(SAFE_OPTIONS))}: use "
            "d2road score-stream for the others"
        )
    folder.mkdir(parents=True)
    name = unpacked_name(path)
    copy = folder / f"{result_stem(name)}{name.suffix.lower() if name.suffix.lower() in TYPES else ''}"
    unpack(path, copy, limits.max_bytes)
    return f"{upload.reader}:{copy}" + (f"?{urlencode(options)}" if options else "")


def _option(word: str) -> tuple[str, str]:
    name, equals, value = word.partition("=")
    if not equals:
        raise ConfigError(f"reader option {word!r}: expected NAME=VALUE&NAME=VALUE, such as edges=main:0")
    return name.strip(), value.strip()


def _write_alarms(folder: Path, alarms: Sequence[Alarm]) -> Path:
    rows = [asdict(alarm) for alarm in alarms]
    write_json(folder / "alarms.json", rows)
    write_table(folder / "alarms.csv", rows, ALARM_COLUMNS)
    return folder / "alarms.csv"
