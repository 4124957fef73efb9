"""Scores of the windows of cameras: rules on what is exactly there, and on what a camera sees of it.

Kept: a file for each recording, camera, row and model of seeing, below output/bench/camera_view/scores/.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from benchmarks.traffic.view_recordings import FOLDER, FRAME_S, ViewPiece, site_of
from d2road.traffic.baselines.evidence_scale import CAMERA
from d2road.traffic.baselines.road_tracks import DescribedTracks, Place, RoadTracks
from d2road.traffic.baselines.track_surprise import CameraSurprise
from d2road.traffic.seeing.camera_site import CameraSite
from d2road.traffic.seeing.seeing_model import SeeingModel
from d2road.traffic.seeing.seen_tracks import see_tracks
from d2road.traffic.table import Trajectories
from d2road.traffic.time_space.camera_grid import camera_grid
from d2road.traffic.time_space.traffic_window import TrafficWindow
from d2road.utils.input_files import read_json
from d2road.utils.output_files import atomic_write, make_folder, write_json
from d2road.utils.progress import track

EXACT, SEEN, UNFITTED = "exact", "seen", "unfitted"  # the last: rules of exact tracks on seen ones
SEEING_SEED = 5
COLUMNS = ["recording", "t0", "t1", "s0", "s1"]


@dataclass(frozen=True)
class ViewScores:
    """Rules for exact and for seen tracks, fitted on the hours to fit on, and a model of seeing."""

    model: SeeingModel
    rules: dict[str, CameraSurprise]

    @property
    def tag(self) -> str:
        """Of the model of seeing, in files' names."""
        return tag_of(self.model)

    def path(self, piece: ViewPiece, camera: int, row: str) -> Path:
        """Of the scores of a camera's windows."""
        name = row if row == EXACT else f"{row}_{self.tag}"
        return FOLDER / "scores" / f"{piece.name}@{camera}.{name}.csv"

    def make(self, piece: ViewPiece, camera: int) -> None:
        """Score what is not there yet."""
        if all(self.path(piece, camera, row).is_file() for row in (EXACT, SEEN, UNFITTED)):
            return
        site = site_of(piece, camera)
        tables = both_tables(piece, camera, site, self.model)
        described = {name: describe_view(table, site) for name, table in tables.items()}
        for row, table, rules in ((EXACT, EXACT, EXACT), (UNFITTED, SEEN, EXACT), (SEEN, SEEN, SEEN)):
            tracks, rows = described[table]
            scores = self.rules[rules].scores_described(tracks)
            frame = pd.DataFrame(rows, columns=COLUMNS).assign(score=scores)
            with atomic_write(self.path(piece, camera, row), "w") as file:
                frame.to_csv(file, index=False, float_format="%.6g", lineterminator="\n")


def tag_of(model: SeeingModel) -> str:
    """A few digits that tell a model of seeing apart."""
    return hashlib.sha256(json.dumps(model.to_json(), sort_keys=True).encode()).hexdigest()[:8]


def both_tables(piece: ViewPiece, camera: int, site: CameraSite, model: SeeingModel) -> dict[str, Trajectories]:
    """What is exactly in view, and what is seen of it, under one name of the recording."""
    near = Trajectories.from_parquet(piece.near(camera))
    # Kept with the camera's s: the site of the kept table stands at 0.
    at_zero = CameraSite(site.camera, 0.0, site.direction, site.lanes, site.near_m, site.far_m)
    rng = np.random.default_rng([SEEING_SEED, *piece.rng(camera).integers(2**31, size=2)])
    return {EXACT: at_zero.crop(near), SEEN: see_tracks(near, at_zero, model, rng)}


def describe_view(table: Trajectories, site: CameraSite) -> tuple[DescribedTracks, list[tuple]]:
    """Tracks of a camera's recording with the places of its windows, and a row of COLUMNS for each of these.

    The windows are those of a stream; the tracks are gone through once for the recording, as in the benchmark of rules,
    where a stream goes through them window by window.
    """
    if not len(table):
        return DescribedTracks(()), []
    view, grid = site.view, camera_grid(site.view, site.direction)
    t = table.frame["t"].to_numpy()
    start, end = table.span
    starts = start + grid.stride * np.arange(max(1, int((end - start - grid.renderer.duration) / grid.stride) + 1))
    instants = np.unique(t)
    places = []
    for t0 in starts:
        t1 = t0 + grid.renderer.duration
        count, frames = (np.diff(np.searchsorted(times, (t0, t1)))[0] for times in (t, instants))
        if count:
            places.append(Place(t0, t1, *view, count / frames / (view[1] - view[0]) * 1000))
    name = table.recordings[0]
    window = TrafficWindow(name, start, end + FRAME_S, *view, table, None, site.direction)
    tracks = RoadTracks.of(window, CAMERA, view[1])
    return DescribedTracks(((tracks, tuple(places)),)), [(name, p.t0, p.t1, p.s0, p.s1) for p in places]


def cameras_of(piece: ViewPiece) -> range:
    """Numbers of the cameras of a recording."""
    return range(len(read_json(piece.about, "recording")["origins"]))


def fit_view_rules(pieces: Sequence[ViewPiece], model: SeeingModel) -> ViewScores:
    """Rules for exact and for seen tracks; fitted once for each model of seeing."""
    make_folder(FOLDER / "scores")
    rules: dict[str, CameraSurprise] = {}
    files = {EXACT: FOLDER / "rules_exact.json", SEEN: FOLDER / f"rules_seen_{tag_of(model)}.json"}
    for row, file in files.items():
        if file.is_file():
            rules[row] = CameraSurprise.from_json(read_json(file, "rules"), str(file))
    fit = [piece for piece in pieces if piece.part == "fit"]
    parts: dict[str, list[DescribedTracks]] = {EXACT: [], SEEN: []}
    if len(rules) < 2:
        for piece in track(iter(fit), len(fit), "fitted on", every_s=30):
            for camera in cameras_of(piece):
                site = site_of(piece, camera)
                for row, table in both_tables(piece, camera, site, model).items():
                    parts[row].append(describe_view(table, site)[0])
    for row, file in files.items():
        if row not in rules:
            rules[row] = CameraSurprise()
            rules[row].fit_described(DescribedTracks.joined(parts[row]))
            write_json(file, rules[row].to_json())
    return ViewScores(model, rules)


def read_scores(scores: ViewScores, pieces: Sequence[ViewPiece], row: str) -> pd.DataFrame:
    """Windows of recordings with their scores."""
    frames = [pd.read_csv(scores.path(piece, n, row)) for piece in pieces for n in cameras_of(piece)]
    return pd.concat([one for one in frames if len(one)], ignore_index=True)
