"""Hours of tracks of one camera through the model of seeing, for the benchmark of cameras that move.

Each camera hour of a part of `view_recordings` (two of the four cameras of an hour in the test) is watched by a camera
of its own; another hour of the same index, seen by the same camera, is what it calls good (7.5 minutes of each of its
four kinds of traffic). Simulated vehicles drive in the middle of their lanes to the centimetre; here each keeps beside
it by BESIDE_M (standard deviation) and wanders about that by WANDER_M within WANDER_S.
"""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd

from benchmarks.traffic.rules_windows import PIECES_AN_HOUR
from benchmarks.traffic.view_recordings import CAMERAS, ViewPiece, list_view_pieces, site_of
from d2road.structures.roadside_camera import RoadsideCamera
from d2road.traffic.seeing.camera_site import CameraSite
from d2road.traffic.seeing.seeing_model import SeeingModel
from d2road.traffic.seeing.seen_tracks import correlated_errors, see_points
from d2road.traffic.table import Trajectories
from d2road.utils.output_files import atomic_write, make_folder

FOLDER = Path("output/bench/camera_drift")
HOURS, FIT_HOURS, INCIDENTS = 13, 2, 96  # of the recordings of the benchmark of the view
PIECE_S, REFERENCE_S = 900.0, 450.0
BESIDE_M, WANDER_M, WANDER_S = 0.3, 0.1, 4.0
SEED = 5


@dataclass(frozen=True)
class WanderingSite(CameraSite):
    """A camera site whose vehicles do not keep the middle of their lanes; seed decides where they drive."""

    seed: int = 0

    def offsets(self, table: Trajectories) -> np.ndarray:
        """See `CameraSite.offsets`."""
        rng, frame = np.random.default_rng([SEED, self.seed]), table.frame
        vehicle, t = frame["vehicle"].cat.codes.to_numpy(), frame["t"].to_numpy()
        order = np.lexsort((t, vehicle))
        wander = np.empty(len(t))
        wander[order] = correlated_errors(vehicle[order], t[order], WANDER_S, 1, rng)[:, 0]
        beside = rng.normal(0, BESIDE_M, len(frame["vehicle"].cat.categories))[vehicle]
        return super().offsets(table) + beside + WANDER_M * wander


@dataclass(frozen=True)
class DriftStream:
    """An hour that a camera watches, and the good one that it knows."""

    name: str
    camera: RoadsideCamera
    good: pd.DataFrame
    watched: pd.DataFrame


def list_streams(part: str) -> list[tuple[int, int]]:
    """Hours and cameras of a part: all 52 for the threshold, 26 for the test."""
    return [
        (hour, camera) for hour in range(HOURS) for camera in range(CAMERAS if part == "threshold" else CAMERAS // 2)
    ]


def read_stream(part: str, hour: int, camera: int, model: SeeingModel, digest: str) -> DriftStream:
    """One stream; what is seen is kept in FOLDER, by the digest of the model."""
    pieces = [piece for piece in list_view_pieces(HOURS, FIT_HOURS, INCIDENTS) if piece.part == part]
    own, other = (
        pieces[PIECES_AN_HOUR * number : PIECES_AN_HOUR * (number + 1)] for number in (hour, (hour + 1) % HOURS)
    )
    site = replace(site_of(own[0], camera), origin_s=0.0)
    name = f"{part}_{hour:02d}_{camera}"
    seen = []
    for kind, hours, seconds in (("good", other, REFERENCE_S), ("watched", own, PIECE_S)):
        path = FOLDER / digest / f"{name}.{kind}.parquet"
        if not path.is_file():
            make_folder(path.parent)
            points = _seen_hour(hours, camera, site, model, seconds)
            with atomic_write(path) as file:
                points.to_parquet(file, index=False)
        seen.append(pd.read_parquet(path))
    return DriftStream(name, site.camera, *seen)


def _seen_hour(
    pieces: list[ViewPiece], number: int, site: CameraSite, model: SeeingModel, seconds: float
) -> pd.DataFrame:
    """Recordings one after the other, as one camera sees them."""
    parts, first, start = [], 0, 0.0
    low, high = site.view
    for place, piece in enumerate(pieces):
        own = replace(site_of(piece, number), origin_s=0.0)
        table = Trajectories.from_parquet(piece.near(number))
        begin = float(table.frame["t"].min())
        moved = table.where(table.frame["t"].to_numpy() < begin + seconds).frame
        moved = moved.assign(s=moved["s"] + (low + high - sum(own.view)) / 2, direction=np.int8(site.direction))
        seed = int(piece.rng(number).integers(1 << 31))
        lanes = dict(zip(own.lanes, site.lanes.values()))  # roads of other widths have as many
        wandering = WanderingSite(site.camera, 0.0, site.direction, lanes, site.near_m, site.far_m, seed)
        points = see_points(Trajectories(moved), wandering, model, np.random.default_rng([SEED, seed, place]))
        points = points.assign(t=points["t"] - begin + start, track=points["track"] + first)
        parts.append(points)
        first, start = first + 1 + int(points["track"].max()) if len(points) else first, start + seconds
    return pd.concat(parts, ignore_index=True)
