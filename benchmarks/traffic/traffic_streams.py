"""The recordings of traffic_incidents as streams of overlapping windows, and their scores.

datasets/make_traffic_incidents.py leaves a table of every recording, recordings/<name>.parquet, and recordings.csv.
Parts:

    fit         good recordings of the training windows, for the baselines
    calibrate   the first three quarters of the good hours (--good-hours 14 gives 10.5), for thresholds
    test        the recordings of the test windows, with incidents and without, and the rest of the good hours
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import pandas as pd

from d2road.traffic.table import Trajectories
from d2road.traffic.time_space.render import TimeSpaceRenderer
from d2road.traffic.time_space.traffic_window import TrafficWindow
from d2road.traffic.time_space.window_grid import WindowGrid
from d2road.utils.errors import ConfigError
from d2road.utils.progress import track

RECORDINGS, TABLES = "recordings.csv", "recordings"
COLUMNS = ("recording", "group", "scenario", "start", "stop", "low", "high", "kind", "severity", "onset", "end")
CALIBRATE_SHARE = 0.75  # of the good hours
STRIDE_S = 12.8
LANES = 3  # that density is counted over


@dataclass(frozen=True)
class StreamRecording:
    """A stream: seconds of traffic of a scenario, s_range (m) that is observed, `path` of its table."""

    name: str
    part: str
    scenario: str
    seconds: float
    s_range: tuple[float, float]
    path: Path

    @property
    def hours(self) -> float:
        return self.seconds / 3600


def read_recordings(root: Path) -> pd.DataFrame:
    """recordings.csv of the data set, with `part` ("" where a recording serves no stream).

    Raises:
        FileNotFoundError: no such file.
        ValueError: it lacks columns.
    """
    path = root / RECORDINGS
    if not path.is_file():
        raise FileNotFoundError(
            f"{path} does not exist: make it with d2road make-data traffic-incidents --good-hours 14"
        )
    frame = pd.read_csv(path, dtype={"recording": str, "kind": str, "severity": str, "vehicle": str})
    missing = [name for name in COLUMNS if name not in frame]
    if missing:
        raise ConfigError(f"{path} lacks the columns {', '.join(missing)}; it has {', '.join(map(str, frame.columns))}")
    parts = frame["group"].map({"train": "fit", "good": "test", "incidents": "test"}).fillna("").to_numpy(object)
    hours = np.flatnonzero(frame["group"] == "hours")
    parts[hours] = "test"
    parts[hours[: int(CALIBRATE_SHARE * len(hours))]] = "calibrate"
    return frame.assign(part=parts)


def read_streams(root: Path, part: str) -> list[StreamRecording]:
    """The recordings of a part.

    Raises:
        FileNotFoundError, ValueError: as `read_recordings`, or a table is missing.
    """
    frame = read_recordings(root)
    found = []
    for row in frame[frame["part"] == part].itertuples():
        table = root / TABLES / f"{row.recording}.parquet"
        if not table.is_file():
            raise FileNotFoundError(f"{table} does not exist, though {root / RECORDINGS} lists it: make the data again")
        s_range = float(row.low), float(row.high)
        found.append(StreamRecording(row.recording, part, row.scenario, float(row.stop - row.start), s_range, table))
    return found


def read_events(root: Path, meta: pd.DataFrame) -> pd.DataFrame:
    """The incidents, as `d2road.traffic.events.event_metrics` wants them; density is that of their test window.

    Args:
        meta: table of the windows, see `window_events.read_meta`.
    """
    frame = read_recordings(root)
    events = frame[frame["group"] == "incidents"].reset_index(drop=True)
    of_recording = dict(zip(meta["recording"], meta["density"]))
    return events.assign(density=[of_recording.get(name, float("nan")) for name in events["recording"]])


Lanes = Sequence[str] | None  # panels of stacked images, None of others


def grid_of(
    recording: StreamRecording, renderer: TimeSpaceRenderer, stride: float = STRIDE_S, lanes: Lanes = None
) -> WindowGrid:
    """Windows that cover all that is observed, as few side by side as do so."""
    low, high = recording.s_range
    room = high - low - renderer.stretch
    count = max(int(np.ceil(room / renderer.stretch - 1e-6)), 0)
    stride_s = room / count if count else None
    return WindowGrid(renderer, stride, stride_s, recording.s_range, direction=1, lanes=lanes)


def windows_of(
    recording: StreamRecording, renderer: TimeSpaceRenderer, stride: float = STRIDE_S, lanes: Lanes = None
) -> Iterator[TrafficWindow]:
    """The windows of a recording in order of time, with images."""
    table = Trajectories.from_parquet(recording.path)
    for window in grid_of(recording, renderer, stride, lanes).over([table]):
        yield TrafficWindow.rendered(window, renderer)


def vehicle_density(window: TrafficWindow, lanes: int = LANES) -> float:
    """Vehicles per km and lane in a window, the mean over its instants."""
    frame = window.inside().frame
    instants = frame["t"].nunique()
    return len(frame) / max(instants, 1) / (window.s1 - window.s0) * 1000 / lanes


Scores = Callable[[Sequence[TrafficWindow]], Iterable[float]]


def score_streams(
    recordings: Sequence[StreamRecording],
    scores: Scores,
    renderer: TimeSpaceRenderer,
    batch: int = 16,
    lanes: Lanes = None,
) -> pd.DataFrame:
    """Every window of the recordings with its score: columns of `alarms.WINDOW_COLUMNS`, scenario and density."""
    rows: list[tuple] = []
    for recording in track(recordings, len(recordings), "streams", every_s=30):
        windows = windows_of(recording, renderer, lanes=lanes)
        while part := list(islice(windows, batch)):
            rows += [
                (w.recording, w.t0, w.t1, w.s0, w.s1, float(score), recording.scenario, vehicle_density(w))
                for w, score in zip(part, scores(part))
            ]
    names = ["recording", "t0", "t1", "s0", "s1", "score", "scenario", "density"]
    return pd.DataFrame(rows, columns=names)


def windows_by_name(
    root: Path, meta: pd.DataFrame, names: Sequence[str], renderer: TimeSpaceRenderer, lanes: Lanes = None
) -> list[TrafficWindow]:
    """The windows of some images with their tables and drawings anew.

    Args:
        names: of windows in `meta`, in the order wanted.
    Raises:
        ValueError: a name that is not in the table.
    """
    rows = meta.set_index("window")
    unknown = [name for name in names if name not in rows.index]
    if unknown:
        raise ConfigError(f"{len(unknown)} test images are not in the table of windows, {unknown[0]} first")
    windows: list[TrafficWindow] = []
    tables: dict[str, Trajectories] = {}
    for name in names:
        row = rows.loc[name]
        if row["recording"] not in tables:
            tables = {row["recording"]: Trajectories.from_parquet(root / TABLES / f"{row['recording']}.parquet")}
        near = tables[row["recording"]].between(row["t0"] - renderer.margin, row["t1"] + renderer.margin)
        image = renderer.render(near, row["t0"], row["s0"], 1, lanes)
        windows.append(TrafficWindow(row["recording"], row["t0"], row["t1"], row["s0"], row["s1"], near, image))
    return windows
