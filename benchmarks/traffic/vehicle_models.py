"""Learned rows beside the rules: isolation forest and nearest neighbours on vehicles, a memory bank of their tracks.

Letters: V vehicles, C kinds of evidence, M vehicle-seconds, D numbers of a track.
"""

import numpy as np
from sklearn.ensemble import IsolationForest
from sklearn.neighbors import NearestNeighbors

from d2road.traffic.baselines.driving_states import STATE_FEATURES, DrivingStates
from d2road.traffic.baselines.track_evidence import FORECAST_S, TrackEvidence

SEED = 0
TREES, SAMPLES, FIT_VEHICLES = 100, 512, 50_000
MEMORY, NEIGHBOURS = 2_000, 3
TRACK_S = FORECAST_S
EVERY_S = 5  # a track is looked up so often
LOW, HIGH = -3.0, 100.0  # deviations that are told apart


def compress(deviations: np.ndarray) -> np.ndarray:
    """Deviations (V, C) from good windows as dense, large ones by their logarithm."""
    clipped = np.clip(deviations, LOW, HIGH)
    return (np.sign(clipped) * np.log1p(np.abs(clipped))).astype(np.float32)


class VehicleModels:
    """IsolationForest and distance to the nearest good vehicles, both on compressed deviations."""

    def __init__(self, good: np.ndarray):
        rng = np.random.default_rng(SEED)
        rows = good[rng.permutation(len(good))[:FIT_VEHICLES]]
        self.forest = IsolationForest(n_estimators=TREES, max_samples=min(SAMPLES, len(rows)), random_state=SEED)
        self.forest.fit(rows)
        self.near = NearestNeighbors(n_neighbors=min(NEIGHBOURS, len(rows)), algorithm="brute").fit(rows[:MEMORY])

    def forest_scores(self, rows: np.ndarray) -> np.ndarray:
        """(V,), how isolated, 0 to 1."""
        return -self.forest.score_samples(rows) if len(rows) else np.zeros(0)

    def distances(self, rows: np.ndarray) -> np.ndarray:
        """(V,), mean distance to the nearest good vehicles."""
        return self.near.kneighbors(rows)[0].mean(axis=1) if len(rows) else np.zeros(0)


class TrackBank:
    """Memory bank of tracks of good traffic: ten seconds of speed, gap and relative speeds, and the density."""

    def __init__(self, good: list[DrivingStates]):
        tracks = np.concatenate([track_vectors(states)[1] for states in good])
        self.mean, self.spread = tracks.mean(axis=0), tracks.std(axis=0) + 1e-6
        chosen = np.random.default_rng(SEED).permutation(len(tracks))[:MEMORY]
        self.near = NearestNeighbors(n_neighbors=min(NEIGHBOURS, len(chosen)), algorithm="brute")
        self.near.fit(self._scaled(tracks[chosen]))

    def _scaled(self, tracks: np.ndarray) -> np.ndarray:
        return ((tracks - self.mean) / self.spread).astype(np.float32)

    def evidence(self, states: DrivingStates) -> TrackEvidence:
        """Mean distance of each track to the nearest good ones, as evidence of one kind: (M, 1)."""
        rows, tracks = track_vectors(states)
        values = np.full((len(states.values), 1), -np.inf)
        if len(rows):
            values[rows, 0] = self.near.kneighbors(self._scaled(tracks))[0].mean(axis=1)
        return TrackEvidence(states.seconds, values, (TRACK_S,), states.t0)


def track_vectors(states: DrivingStates) -> tuple[np.ndarray, np.ndarray]:
    """Last rows of tracks that go on for TRACK_S, every EVERY_S seconds, and their vectors (., D)."""
    seconds = states.seconds
    runs = np.cumsum(~seconds.follows)
    row = np.arange(len(runs))
    whole = (row - np.searchsorted(runs, runs) >= TRACK_S - 1) & (seconds.second % EVERY_S == 0)
    rows = row[whole]
    column = dict(zip(STATE_FEATURES, states.values.T.astype(float)))
    gap = np.log(column["gap"].clip(1.0) + 3.0)
    beyond = column["speed"] - column["near_speed"]
    changes = np.append(0.0, np.cumsum(states.changes))
    at = rows[:, None] - np.arange(TRACK_S - 1, -1, -2)  # (., TRACK_S / 2)
    parts = [values[at] for values in (column["speed"], gap, column["closing"], beyond)]
    density = np.log(column["near_count"][rows] + 3.0)
    return rows, np.column_stack([*parts, density, changes[rows] - changes[rows - TRACK_S + 1]])
