"""Parameters of seeing from a clip whose truth is known: residuals of tracks against the vehicles that they follow.

Letters: N rows of truth, K pairs of a row of truth and one of a track.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from scipy.optimize import linear_sum_assignment, minimize, nnls

from d2road.traffic.seeing.seeing_model import SCALE_M, SeeingModel
from d2road.traffic.seeing.visibility import shares_by_frame
from d2road.utils.errors import DataError

if TYPE_CHECKING:  # its package loads torch
    from d2road.structures.roadside_camera import RoadsideCamera

TRUTH_COLUMNS = ("t", "vehicle", "x", "y", "heading", "speed", "length", "width", "height")
TRACK_COLUMNS = ("t", "track", "x", "y", "speed", "length", "seen")
GATE_M = 4.0
MEAN_ABSOLUTE = float(np.sqrt(2 / np.pi))  # of a normal variable of standard deviation 1
FEWEST = 200  # pairs
OUTLIER = 4.0  # deviations at which a residual is cut: a wrong pair, not noise
ROUNDS = 10
LEAST_SD = 1e-3  # m, m/s
RIDGE = 1e-3
SLACK_S = 1e-3  # two clocks of one frame


@dataclass(frozen=True)
class MatchedClip:
    """Truth and tracks of a clip, frame by frame.

    truth: rows of TRUTH_COLUMNS with `distance` (m) and `share`, of the vehicles that count; tracks: rows of
    TRACK_COLUMNS with `truth`, the row of the truth that each is nearest to, -1 without one, and `nobody`, whether no
    vehicle at all is there, counted or not, at a distance that counts; hours: of video.
    """

    truth: pd.DataFrame
    tracks: pd.DataFrame
    hours: float


def match_clip(
    truth: pd.DataFrame, tracks: pd.DataFrame, camera: RoadsideCamera, near_m: float, far_m: float
) -> MatchedClip:
    """Pair tracks with vehicles within GATE_M, as many and as near as possible in each frame.

    All vehicles take part. Tracks of those that do not count (too near, too far, or hidden) count neither way: they are
    no tracks of nothing.

    Args:
        truth: TRUTH_COLUMNS, in the ground frame: x, y of the middle of the bottom face.
        tracks: TRACK_COLUMNS, as `GroundTracks.rows` has them.
        camera: of the clip. near_m, far_m: distances of truth that count.
    Raises:
        DataError: columns are missing, or there is no truth between the distances.
    """
    for name, frame, columns in (("truth", truth, TRUTH_COLUMNS), ("tracks", tracks, TRACK_COLUMNS)):
        missing = [column for column in columns if column not in frame]
        if missing:
            raise DataError(f"{name} of a clip lacks the columns {', '.join(missing)}; it has {', '.join(frame)}")
    centers = truth[["x", "y"]].to_numpy(float)
    sizes = truth[["length", "width", "height"]].to_numpy(float)
    share = shares_by_frame(camera, truth["t"].to_numpy(float), centers, truth["heading"].to_numpy(float), sizes)
    truth = truth.assign(distance=np.hypot(*centers.T), share=share)
    truth = truth.sort_values(["t", "vehicle"]).reset_index(drop=True)
    inside = (truth["distance"] >= near_m) & (truth["distance"] <= far_m) & (truth["share"] > 0)
    if not inside.any():
        raise DataError(f"no vehicle of the clip's truth is seen between {near_m:g} and {far_m:g} m")
    tracks = tracks.sort_values(["t", "track"]).reset_index(drop=True)
    found = _nearest_rows(truth, tracks)
    distance = np.hypot(tracks["x"], tracks["y"])
    nobody = (found < 0) & (distance >= near_m) & (distance <= far_m)
    numbers = np.append(np.where(inside, np.cumsum(inside) - 1, -1), -1)  # the last for those without a vehicle
    tracks = tracks.assign(truth=numbers[found], nobody=nobody)
    counted = truth[inside].reset_index(drop=True)
    return MatchedClip(counted, tracks, float(np.ptp(counted["t"])) / 3600)


def _nearest_rows(truth: pd.DataFrame, tracks: pd.DataFrame) -> np.ndarray:
    """(K,) row of the truth that each row of tracks is paired with, -1 without one; both sorted by t."""
    t, found = tracks["t"].to_numpy(float), np.full(len(tracks), -1)
    places, truth_t = tracks[["x", "y"]].to_numpy(float), truth["t"].to_numpy(float)
    true_places = truth[["x", "y"]].to_numpy(float)
    for now in np.unique(truth_t):
        rows = slice(*np.searchsorted(truth_t, (now - SLACK_S, now + SLACK_S)))
        own = slice(*np.searchsorted(t, (now - SLACK_S, now + SLACK_S)))
        if own.start == own.stop:
            continue
        gaps = np.hypot(*(true_places[rows, None] - places[None, own]).transpose(2, 0, 1))
        i, j = linear_sum_assignment(np.minimum(gaps, GATE_M))
        near = gaps[i, j] < GATE_M
        found[own.start + j[near]] = rows.start + i[near]
    return found


def fit_seeing(clips: list[MatchedClip], bridge_s: float = SeeingModel().bridge_s) -> SeeingModel:
    """The model of seeing that clips of several cameras speak for.

    Args:
        bridge_s: gap that the tracker bridges, which is its option and not seen in its output.
    Raises:
        DataError: fewer than FEWEST pairs.
    """
    pairs = pd.concat([_pairs(clip, number) for number, clip in enumerate(clips)], ignore_index=True)
    if len(pairs) < FEWEST:
        raise DataError(f"{len(pairs)} pairs of vehicles and tracks: a model of seeing is fitted on {FEWEST} or more")
    z = pairs["distance"].to_numpy() / SCALE_M
    ones = np.ones_like(z)
    radial, across, speed = (
        _deviations(pairs[name].to_numpy(), np.stack([ones, growth], axis=1))
        for name, growth in (("radial", z**2), ("across", z), ("speed_error", z**2))
    )
    lives = pd.concat([_lives(clip) for clip in clips], ignore_index=True)
    ghosts = [one for clip in clips for one in ghost_lives(clip)]
    hours, seen_s = sum(clip.hours for clip in clips), float(lives["seconds"].sum())
    relative = pairs.groupby("piece")["length_error"].mean().to_numpy()
    return SeeingModel(
        detect=_fit_detection(pd.concat([_covered(clip) for clip in clips], ignore_index=True)),
        radial=radial,
        across=across,
        speed=speed,
        correlation_s=_correlation(pairs, radial),
        birth_s=float(lives["birth"].mean()),
        bridge_s=bridge_s,
        switches_per_hour=float(3600 * lives["switches"].sum() / max(seen_s, 1e-9)),
        ghosts_per_hour=len(ghosts) / hours if hours else 0.0,
        ghost_s=float(np.mean(ghosts)) if ghosts else 0.0,
        length=float(np.nanstd(relative)) if np.isfinite(relative).any() else SeeingModel().length,
    )


def _pairs(clip: MatchedClip, number: int) -> pd.DataFrame:
    """(K) rows by track and time: piece, t, distance, and errors radial, across, speed_error, length_error."""
    tracks = clip.tracks[clip.tracks["truth"] >= 0].sort_values(["track", "t"])
    truth = clip.truth.iloc[tracks["truth"].to_numpy()]
    place, true_place = tracks[["x", "y"]].to_numpy(float), truth[["x", "y"]].to_numpy(float)
    distance = truth["distance"].to_numpy()
    ray, error = true_place / distance[:, None], place - true_place
    return pd.DataFrame(
        {
            "piece": [f"{number}/{track}" for track in tracks["track"]],
            "t": tracks["t"].to_numpy(float),
            "distance": distance,
            "radial": (error * ray).sum(axis=1),
            "across": error[:, 1] * ray[:, 0] - error[:, 0] * ray[:, 1],
            "speed_error": tracks["speed"].to_numpy(float) - np.abs(truth["speed"].to_numpy(float)),
            "length_error": tracks["length"].to_numpy(float) / truth["length"].to_numpy(float) - 1,
        }
    )


def _deviations(errors: np.ndarray, design: np.ndarray) -> tuple[float, ...]:
    """Coefficients 0 or more of a standard deviation that is linear in a design (K, 2): mean absolute errors."""
    size = np.abs(errors) / MEAN_ABSOLUTE
    spread = np.full(len(size), max(float(np.median(size)), LEAST_SD))
    for _ in range(ROUNDS):  # far errors are larger: they count less, and are cut where they are no noise
        coefficients = nnls(design / spread[:, None], np.minimum(size / spread, OUTLIER))[0]
        spread = np.maximum(design @ coefficients, LEAST_SD)
    return tuple(float(one) for one in coefficients)


def _correlation(pairs: pd.DataFrame, radial: tuple[float, ...]) -> float:
    """Time constant of the errors along the ray, s: from the correlation of neighbouring frames of a track."""
    sd = radial[0] + radial[1] * (pairs["distance"].to_numpy() / SCALE_M) ** 2
    error = pairs["radial"].to_numpy() / np.maximum(sd, 1e-6)
    piece, t = pairs["piece"].to_numpy(), pairs["t"].to_numpy()
    near = piece[1:] == piece[:-1]
    if near.sum() < 2:
        return 0.0
    step = float(np.median(np.diff(t)[near]))
    near &= np.diff(t) < 1.5 * step
    rho = float(np.clip(np.corrcoef(error[:-1][near], error[1:][near])[0, 1], 1e-3, 0.999))
    return -step / np.log(rho)


def _covered(clip: MatchedClip) -> pd.DataFrame:
    """Rows of truth while their vehicle has a track: distance, share, and whether a detection was there."""
    matched = clip.tracks[clip.tracks["truth"] >= 0]
    detected = np.zeros(len(clip.truth), dtype=bool)
    detected[matched.loc[matched["seen"].to_numpy(bool), "truth"].to_numpy()] = True
    truth = clip.truth.assign(detected=detected)
    times = truth[detected].groupby("vehicle")["t"].agg(["min", "max"])
    limits = times.reindex(truth["vehicle"])
    # The ends are there because they were detected: they say nothing.
    between = (truth["t"].to_numpy() > limits["min"].to_numpy()) & (truth["t"].to_numpy() < limits["max"].to_numpy())
    return truth.loc[between, ["distance", "share", "detected"]]


def _fit_detection(rows: pd.DataFrame) -> tuple[float, ...]:
    """Logistic regression of detections on distance and hidden share, with a slight pull to 0."""
    z = rows["distance"].to_numpy() / SCALE_M
    design = np.stack([np.ones_like(z), z, z**2, 1 - rows["share"].to_numpy()], axis=1)
    sign = np.where(rows["detected"].to_numpy(bool), 1.0, -1.0)

    def loss(weights: np.ndarray) -> tuple[float, np.ndarray]:
        margin = sign * (design @ weights)
        gradient = -(sign / (1 + np.exp(margin))) @ design / len(sign) + 2 * RIDGE * weights / max(len(sign), 1)
        return float(np.logaddexp(0, -margin).mean() + RIDGE * (weights**2).sum() / max(len(sign), 1)), gradient

    if not len(sign):
        return SeeingModel().detect
    return tuple(float(one) for one in minimize(loss, np.zeros(4), jac=True, method="BFGS").x)


def _lives(clip: MatchedClip) -> pd.DataFrame:
    """Of each vehicle that was ever tracked: seconds until its first track, seconds tracked, and id switches."""
    matched = clip.tracks[clip.tracks["truth"] >= 0]
    truth = clip.truth.iloc[matched["truth"].to_numpy()]
    rows = pd.DataFrame({
        "vehicle": truth["vehicle"].to_numpy(), "t": truth["t"].to_numpy(), "track": matched["track"].to_numpy(),
    }).sort_values(["vehicle", "t"])  # fmt: skip
    begins = clip.truth.groupby("vehicle")["t"].min()
    first = clip.truth["t"].min()
    found = []
    for vehicle, part in rows.groupby("vehicle"):
        tracks = part["track"].to_numpy()
        since = float(begins[vehicle])
        found.append({
            # Who is there when the clip begins has no birth.
            "birth": part["t"].min() - since if since > first + SLACK_S else np.nan,
            "seconds": float(np.ptp(part["t"].to_numpy())), "switches": int((np.diff(tracks) != 0).sum()),
        })  # fmt: skip
    return pd.DataFrame(found, columns=["birth", "seconds", "switches"]).astype(float)


def ghost_lives(clip: MatchedClip) -> list[float]:
    """Seconds of each track that follows nobody in more than half of its rows."""
    grouped = clip.tracks.groupby("track")
    nobody = grouped["nobody"].mean() > 0.5
    return [float(np.ptp(grouped.get_group(track)["t"].to_numpy())) for track in nobody.index[nobody]]
