"""What learns from trajectories, on kept tables: fitted on the good hours for fitting, its scores a file a recording.

A table is read once. Of it stays a row a window: the highest score of the window's vehicles by each method.
"""

import time
from collections.abc import Sequence

import numpy as np
import pandas as pd

from benchmarks.traffic.rules_windows import PIECES_AN_HOUR, Piece
from benchmarks.traffic.track_scores import COLUMNS, KEYS, SUMS, tracks_path
from benchmarks.traffic.vehicle_models import TrackBank, VehicleModels, compress
from d2road.traffic.baselines.road_tracks import ABSENT, KINDS, Place, RoadTracks
from d2road.traffic.baselines.track_surprise import RULES, TrackSurprise, columns_of
from d2road.traffic.baselines.vehicle_rarity import VehicleRarity, sum_beyond_usual
from d2road.traffic.table import Trajectories
from d2road.traffic.time_space.traffic_window import TrafficWindow
from d2road.utils.errors import DataError
from d2road.utils.output_files import atomic_write
from d2road.utils.progress import track


class TrackMethods:
    """All methods, fitted on pieces of good traffic."""

    def __init__(self, pieces: Sequence[Piece]):
        parts = [
            (_read_tracks(piece), _places(_windows(piece)))
            for piece in track(pieces, len(pieces), "fitted on", every_s=30)
        ]
        tracks, places = [one for one, _ in parts], [at for _, at in parts]
        self.surprise = TrackSurprise()
        good = self.surprise.fit_tracks(tracks, places)
        self.rules = columns_of(RULES)
        self.models = VehicleModels(compress(self._rarity.deviations(good)[:, self.rules]))
        self.bank = TrackBank([one.states for one in tracks])

    @property
    def _rarity(self) -> VehicleRarity:
        assert self.surprise.rarity is not None, "fitted in the constructor"
        return self.surprise.rarity

    def describe(self, piece: Piece) -> pd.DataFrame:
        """KEYS and COLUMNS of a piece's windows."""
        tracks, windows = _read_tracks(piece), _windows(piece)
        places = _places(windows)
        vehicles, _ = tracks.vehicles(self.surprise.forecaster, places)
        by_kind, rows = self._rarity.by_kind(vehicles), compress(self._rarity.deviations(vehicles)[:, self.rules])
        scores = [
            vehicles.values[:, KINDS.index(ABSENT)],
            *(sum_beyond_usual(by_kind[:, columns_of(kinds)]) for kinds in SUMS.values()),
            self.models.forest_scores(rows),
            self.models.distances(rows),
        ]
        highest = np.column_stack([vehicles.highest(np.stack(scores, axis=1)), self._bank(tracks, places)])
        return pd.concat([windows[list(KEYS)], pd.DataFrame(highest, columns=list(COLUMNS))], axis=1)

    def _bank(self, tracks: RoadTracks, places: Sequence[Place]) -> np.ndarray:
        evidence = self.bank.evidence(tracks.states)
        found = [evidence.windows(at.t0, at.t1, [(at.s0, at.s1)]) for at in places]
        return np.array([max((rows.max(initial=0.0) for _, rows in one), default=0.0) for one in found])


def describe_tracks(pieces: Sequence[Piece], fit_hours: int) -> None:
    """Score the recordings whose tables are there and that have not been scored yet.

    Raises:
        DataError: a table of the hours for fitting is missing.
    """
    todo = [
        p for p in pieces if p.table_path.is_file() and p.path.is_file() and not tracks_path(p, fit_hours).is_file()
    ]
    fit = [piece for piece in pieces if piece.part == "fit"]
    if not todo:
        return
    missing = [piece.job.name for piece in fit if not piece.table_path.is_file()]
    if missing:
        raise DataError(f"{len(missing)} tables of good hours to fit on are missing, {missing[0]} first: --keep-tables")
    methods = TrackMethods(fit)
    start, hours = time.process_time(), 0.0
    for piece in track(todo, len(todo), "tracks of recordings", every_s=30):
        frame = methods.describe(piece)
        with atomic_write(tracks_path(piece, fit_hours), "w") as file:
            frame.to_csv(file, index=False, float_format="%.5g", lineterminator="\n")
        hours += (0.0 if piece.job.kind else 1.0) / PIECES_AN_HOUR
    seconds = time.process_time() - start
    print(f"{len(todo)} recordings, {hours:g} h of good traffic among them: {seconds:.0f} s of a core", flush=True)


def _windows(piece: Piece) -> pd.DataFrame:
    return pd.read_csv(piece.path)


def _places(windows: pd.DataFrame) -> list[Place]:
    columns = (windows[name].to_numpy(float) for name in ("t0", "t1", "s0", "s1", "v2_density"))
    return [Place(*values) for values in zip(*columns)]


def _read_tracks(piece: Piece) -> RoadTracks:
    # What `to_parquet` wrote was checked and sorted; doing so again would take as long as all that follows.
    table = Trajectories(pd.read_parquet(piece.table_path, engine="pyarrow"))
    first, last = table.span
    s = table.frame["s"].to_numpy()
    return RoadTracks.of(TrafficWindow(piece.job.name, first, last + 1e-3, s.min(), s.max() + 1e-3, table))
