"""Scores of tracks on the ground against a clip's truth: HOTA of TrackEval with similarity 1 - d / 4 m, and speeds.

Vehicles that need not be found (hidden, cut off by the image, beyond the range) count neither way: what lies next to
them is left out, as MOTChallenge does with its distractors.
"""

from typing import Any

import numpy as np
import pandas as pd
from scipy.optimize import linear_sum_assignment
from scipy.stats import beta

from benchmarks.traffic.clip_truth import FARTHEST_M, Clip

ZERO_AT_M = 4.0
NEAR_M, FAR_M = 15.0, 60.0
TRUTH = ("id", "X", "Y", "counted")
MOTION = ("speed_mps", "t", "range")
NOTHING = np.zeros((4, 0))
FIELDS = ("HOTA_TP", "HOTA_FN", "HOTA_FP")


def matched_frames(clip: Clip, tracks: pd.DataFrame, start: float = -np.inf, end: float = np.inf) -> dict[str, Any]:
    """What TrackEval's HOTA takes, of the frames with start <= t < end.

    Args:
        tracks: frame, track, x, y.
    """
    truth, found = _by_frame(clip.truth, *TRUTH), _by_frame(tracks, "track", "x", "y")
    gt_ids, tracker_ids, similarities = [], [], []
    for frame in np.flatnonzero((clip.times >= start) & (clip.times < end)):
        true, seen = truth.get(frame, NOTHING[: len(TRUTH)]).T, found.get(frame, NOTHING[:3]).T
        similarity = similarity_of(true[:, 1:3], seen[:, 1:3])
        rows, columns = _pairs(similarity)
        counted = true[:, 3].astype(bool)
        keep = np.hypot(*seen[:, 1:3].T) <= FARTHEST_M
        keep[columns] = counted[rows]
        gt_ids.append(true[counted, 0].astype(int))
        tracker_ids.append(seen[keep, 0].astype(int))
        similarities.append(similarity[np.ix_(counted, keep)])
    return _dense(gt_ids, tracker_ids, similarities)


def similarity_of(truth: np.ndarray, found: np.ndarray) -> np.ndarray:
    """(G, D) similarities of places (G, 2) of true and (D, 2) of tracked vehicles of one frame, 0..1."""
    return np.clip(1 - np.linalg.norm(truth[:, None] - found, axis=-1) / ZERO_AT_M, 0, 1)


def _pairs(similarity: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rows and columns that belong together: the largest sum of similarities, none of 0."""
    rows, columns = linear_sum_assignment(-similarity)
    near = similarity[rows, columns] > 0
    return rows[near], columns[near]


def _by_frame(table: pd.DataFrame, *columns: str) -> dict[int, np.ndarray]:
    """(C, K) values of columns in each frame that has rows; by numpy, many times faster than groups of pandas."""
    frames = table["frame"].to_numpy()
    order = np.argsort(frames, kind="stable")
    values = np.stack([table[name].to_numpy(float)[order] for name in columns])
    known, starts = np.unique(frames[order], return_index=True)
    return dict(zip(known.tolist(), np.split(values, starts[1:], axis=1)))


def _dense(gt_ids: list[np.ndarray], tracker_ids: list[np.ndarray], similarities: list[np.ndarray]) -> dict[str, Any]:
    """Ids from 0 on, as TrackEval wants them, and its counts."""
    data: dict[str, Any] = {"num_timesteps": len(gt_ids), "similarity_scores": similarities}
    for name, ids in (("gt", gt_ids), ("tracker", tracker_ids)):
        known = np.unique(np.concatenate(ids)) if ids else np.zeros(0)
        data[f"{name}_ids"] = [np.searchsorted(known, i) for i in ids]
        data[f"num_{name}_ids"], data[f"num_{name}_dets"] = len(known), sum(map(len, ids))
    return data


def hota_counts(data: dict[str, Any]) -> dict[str, np.ndarray]:
    """TrackEval's HOTA of one sequence."""
    from trackeval.metrics import HOTA

    return HOTA().eval_sequence(data)


def combined_hota(counts: list[dict[str, np.ndarray]], weights: np.ndarray) -> dict[str, np.ndarray]:
    """HOTA, DetA, AssA and LocA in percent of sequences S drawn with weights (R, S): (R,) each.

    As TrackEval combines sequences; with weights of 1 it is that.
    """
    tp, fn, fp = (weights @ np.stack([c[name] for c in counts]) for name in FIELDS)  # (R, 19)
    weighted = {name: weights @ np.stack([c[name] * c["HOTA_TP"] for c in counts]) for name in ("AssA", "LocA")}
    det = tp / np.maximum(tp + fn + fp, 1)
    ass = weighted["AssA"] / np.maximum(tp, 1)
    hota = np.sqrt(det * ass)
    loc = weighted["LocA"] / np.maximum(tp, 1)
    return {name: 100 * value.mean(1) for name, value in (("HOTA", hota), ("DetA", det), ("AssA", ass), ("LocA", loc))}


def speed_errors(clip: Clip, tracks: pd.DataFrame) -> pd.DataFrame:
    """Errors (m/s) of the speeds of cars at NEAR_M to FAR_M: columns vehicle, t, error, sd, true, range.

    Args:
        tracks: frame, track, x, y, speed and speed_sd (NaN where a method tells none).
    """
    cars = _by_frame(clip.truth[clip.truth["counted"] & (clip.truth["cls"] == "car")], *TRUTH[:3], *MOTION)
    found, parts = _by_frame(tracks, "x", "y", "speed", "speed_sd"), [np.zeros((6, 0))]
    for frame, true in cars.items():
        seen = found.get(frame, NOTHING[:4])
        i, j = _pairs(similarity_of(true[1:3].T, seen[:2].T))
        vehicle, speed, t, away = true[[0, 3, 4, 5]][:, i]
        parts.append(np.stack([vehicle, t, seen[2, j] - speed, seen[3, j], speed, away]))
    errors = pd.DataFrame(np.concatenate(parts, axis=1).T, columns=["vehicle", "t", "error", "sd", "true", "range"])
    errors = errors.dropna(subset=["error"])
    errors["vehicle"] = f"{clip.name}/" + errors["vehicle"].astype(int).astype(str)
    return errors[(errors["range"] >= NEAR_M) & (errors["range"] <= FAR_M)]


def speed_scores(errors: pd.DataFrame) -> dict[str, Any]:
    """Median error and bias in km/h, in percent of the speed, coverage of the stated deviations in percent."""
    error, sd = errors["error"].to_numpy(), errors["sd"].to_numpy()
    known = np.isfinite(sd)
    moving = errors["true"].to_numpy() > 1
    share = error[moving] / errors["true"].to_numpy()[moving]
    bias = float(np.median(share)) if moving.any() else float("nan")
    return {
        "rows": len(errors),
        "median_error_kmh": 3.6 * float(np.median(np.abs(error))),
        "bias_kmh": 3.6 * float(np.median(error)),
        "median_error_percent": 100 * float(np.median(np.abs(share))),
        "bias_percent": 100 * bias,
        "median_error_without_bias_percent": 100 * float(np.median(np.abs(share - bias))),
        "mean_sd_kmh": 3.6 * float(sd[known].mean()) if known.any() else float("nan"),
        **coverage(errors[known]),
    }


def coverage(errors: pd.DataFrame) -> dict[str, Any]:
    """Percent of vehicles' errors within one and two stated deviations; every vehicle counts once.

    Errors of one vehicle's frames are alike, so that frames are no trials. A vehicle's share of frames within counts as
    one trial; the interval is the exact one of as many trials (Clopper and Pearson, Biometrika 1934), which takes the
    share as if it was all or nothing and so is rather wide.
    """
    vehicles = errors.groupby("vehicle")
    scores: dict[str, Any] = {"vehicles": vehicles.ngroups}
    for name, deviations in (("one", 1), ("two", 2)):
        within = (errors["error"].abs() <= deviations * errors["sd"]).groupby(errors["vehicle"]).mean()
        hits, trials = float(within.sum()), len(within)
        if trials:
            low = beta.ppf(0.025, hits, trials - hits + 1) if hits else 0.0
            high = beta.ppf(0.975, hits + 1, trials - hits) if hits < trials else 1.0
            scores |= {
                f"within_{name}_sd": 100 * hits / trials,
                f"within_{name}_sd_interval": [float(100 * low), float(100 * high)],
            }
    return scores
