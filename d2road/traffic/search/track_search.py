"""Search of tracks by a query: the intervals in which all of its conditions hold for a vehicle, ranked."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from d2road.traffic.search.conditions import truth_of
from d2road.traffic.search.query import KMH, Query
from d2road.traffic.search.track_scene import TrackScene

HOLDS = 0.5  # least truth
BRIDGE_S = 1.0  # in which a condition may fail within an interval: estimates scatter
LEAST_S = 0.5  # of an answer: what is shorter is noise
LEAST_SEEN = 0.2  # share of its frames that have a detection: the rest of a track is predicted
HALF_S = 2.0  # length of an interval that is half as credible as one that never ends
KEPT_TRACKS = 8  # of those that a condition ruled out, named to the user


@dataclass(frozen=True)
class Candidate:
    """An interval of a vehicle.

    Args:
        track: id. cls: its class. t0, t1: s of the recording. score: 0 to 1. why: in words, a value for each condition.
        rows: of the scene, within the interval.
        image_score: of the model of grounding, 0 to 1; None where it was not asked.
    """

    track: int
    cls: str
    t0: float
    t1: float
    score: float
    why: str
    rows: np.ndarray
    image_score: float | None = None

    def with_image(self, score: float) -> Candidate:
        """The same with what the image says, which the score then holds too."""
        return replace(
            self, image_score=score, score=float(np.sqrt(self.score * score)), why=f"{self.why}, image {score:.2f}"
        )


@dataclass(frozen=True)
class Step:
    """A condition in words, and the tracks that are left once it is asked for, too."""

    words: str
    tracks: tuple[int, ...]


@dataclass(frozen=True)
class Found:
    """Candidates, best first, and how many tracks each condition left."""

    candidates: list[Candidate]
    steps: list[Step]

    def with_image(self, words: str, score_of: Callable[[Candidate], float], least: float) -> Found:
        """Those whose image score is at least so much, ranked with it."""
        asked = [one.with_image(score_of(one)) for one in self.candidates]
        kept = [one for one in asked if (one.image_score or 0.0) >= least]
        tracks = tuple(sorted({one.track for one in kept}))
        return Found(_ranked(kept), [*self.steps, Step(words, tracks)])

    def ruled_out(self) -> str:
        """Which condition ruled out the last tracks, in words."""
        for before, after in zip(self.steps, self.steps[1:]):
            if not after.tracks:
                listed = ", ".join(map(str, before.tracks[:KEPT_TRACKS]))
                more = f" and {len(before.tracks) - KEPT_TRACKS} more" if len(before.tracks) > KEPT_TRACKS else ""
                many = "s" * (len(before.tracks) > 1)
                return f"{after.words} rules out the last {len(before.tracks)} track{many} ({listed}{more})"
        return "there are no tracks"


def search_tracks(scene: TrackScene, query: Query) -> Found:
    """Candidates for a query, as far as tracks tell.

    Raises:
        ConfigError, DataError: as `truth_of`.
    """
    truth = np.ones(len(scene))
    steps = [Step("tracks", _tracks(scene, truth))]
    for condition in query.conditions:
        truth = np.minimum(truth, truth_of(condition, scene))
        steps.append(Step(str(condition), _tracks(scene, truth)))
    low, high = query.within_s
    if (low, high) != (0.0, float("inf")):
        truth = np.where((scene.t >= low) & (scene.t <= high), truth, 0.0)
        steps.append(Step(f"time {low:g} to {high:g} s", _tracks(scene, truth)))
    runs = [run for rows in scene.stretches for run in _runs(scene, truth, rows)]
    shortest, longest = query.lasting_s
    lengths = [float(scene.t[run[-1]] - scene.t[run[0]]) for run in runs]
    runs = [run for run, length in zip(runs, lengths) if max(shortest, LEAST_S) <= length <= longest]
    told = f"duration {max(shortest, LEAST_S):g} s" + (" or more" if longest == float("inf") else f" to {longest:g} s")
    steps.append(_step(told, scene, runs))
    runs = [run for run in runs if scene.seen[run].mean() >= LEAST_SEEN]
    steps.append(_step(f"detections in {LEAST_SEEN:.0%} of the frames", scene, runs))
    return Found(_ranked([_candidate(scene, query, truth, run) for run in runs]), steps)


def _step(told: str, scene: TrackScene, runs: Sequence[np.ndarray]) -> Step:
    return Step(told, tuple(sorted({int(scene.track[run[0]]) for run in runs})))


def _tracks(scene: TrackScene, truth: np.ndarray) -> tuple[int, ...]:
    return tuple(int(one) for one in np.unique(scene.track[truth >= HOLDS]))


def _runs(scene: TrackScene, truth: np.ndarray, rows: slice) -> list[np.ndarray]:
    """Rows of a stretch in which all holds, in one run where they are no more than BRIDGE_S apart."""
    held = np.flatnonzero(truth[rows] >= HOLDS) + rows.start
    if not len(held):
        return []
    return np.split(held, np.flatnonzero(np.diff(scene.t[held]) > BRIDGE_S) + 1)


def _candidate(scene: TrackScene, query: Query, truth: np.ndarray, run: np.ndarray) -> Candidate:
    t0, t1 = float(scene.t[run[0]]), float(scene.t[run[-1]])
    credible = (t1 - t0) / (t1 - t0 + HALF_S)
    score = float(truth[run].mean() * scene.seen[run].mean() * credible)
    return Candidate(int(scene.track[run[0]]), str(scene.cls[run[0]]), t0, t1, score, _why(scene, run), run)


def _why(scene: TrackScene, run: np.ndarray) -> str:
    """What the tracks say of an interval, in words."""
    speed, away = scene.speed[run] * KMH, scene.distance[run]
    motion, counts = np.unique(scene.motion[run].astype(str), return_counts=True)
    parts = [f"{scene.cls[run[0]]} {motion[counts.argmax()]} at {speed.min():.0f} to {speed.max():.0f} km/h"]
    parts.append(f"{away.min():.0f} to {away.max():.0f} m away")
    if scene.camera.road is not None and len(scene.camera.road.directions):
        lanes = [int(one) for one in np.unique(scene.lane[run]) if one >= 0]
        parts.append(f"lane {' and '.join(map(str, lanes))}" if lanes else "beside the lanes")
    return ", ".join(parts)


def _ranked(candidates: Sequence[Candidate]) -> list[Candidate]:
    return sorted(candidates, key=lambda one: (-one.score, one.t0, one.track))
