"""Scores of tracks on the ground against a clip's truth: HOTA of TrackEval with similarity 1 - d / 4 m, and speeds.

Vehicles that need not be found (hidden, cut off by the image, beyond the range) count neither way: what lies next to
them is left out, as MOTChallenge does with its distractors.
"""

from typing import Any

import numpy as np
import pandas as pd
from scipy.optimize import linear_sum_assignment

from benchmarks.traffic.clip_truth import FARTHEST_M, Clip

ZERO_AT_M = 4.0
NEAR_M, FAR_M = 15.0, 60.0
FIELDS = ("HOTA_TP", "HOTA_FN", "HOTA_FP")


def matched_frames(clip: Clip, tracks: pd.DataFrame, start: float = -np.inf, end: float = np.inf) -> dict[str, Any]:
    """What TrackEval's HOTA takes, of the frames with start <= t < end.

    Args:
        tracks: frame, track, x, y.
    """
    truth_of, tracks_of = dict(list(clip.truth.groupby("frame"))), dict(list(tracks.groupby("frame")))
    gt_ids, tracker_ids, similarities = [], [], []
    for frame in np.flatnonzero((clip.times >= start) & (clip.times < end)):
        truth, found = truth_of.get(frame, clip.truth[:0]), tracks_of.get(frame, tracks[:0])
        similarity = similarity_of(truth, found)
        rows, columns = linear_sum_assignment(-similarity)
        near = similarity[rows, columns] > 0
        rows, columns = rows[near], columns[near]
        counted = truth["counted"].to_numpy(dtype=bool)
        keep = np.hypot(found["x"], found["y"]).to_numpy() <= FARTHEST_M
        keep[columns] = counted[rows]
        gt_ids.append(truth["id"].to_numpy()[counted])
        tracker_ids.append(found["track"].to_numpy()[keep])
        similarities.append(similarity[np.ix_(counted, keep)])
    return _dense(gt_ids, tracker_ids, similarities)


def similarity_of(truth: pd.DataFrame, found: pd.DataFrame) -> np.ndarray:
    """(G, D) similarities of true and tracked vehicles of one frame, 0..1."""
    away = truth[["X", "Y"]].to_numpy()[:, None] - found[["x", "y"]].to_numpy()
    return np.clip(1 - np.linalg.norm(away, axis=-1) / ZERO_AT_M, 0, 1)


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
    """Errors (m/s) of the speeds of cars at NEAR_M to FAR_M: columns t, error, sd, true, range.

    Args:
        tracks: frame, track, x, y, speed and speed_sd (NaN where a method tells none).
    """
    cars = clip.truth[clip.truth["counted"] & (clip.truth["cls"] == "car")]
    tracks_of, rows = dict(list(tracks.groupby("frame"))), []
    for frame, truth in cars.groupby("frame"):
        found = tracks_of.get(frame)
        if found is None:
            continue
        similarity = similarity_of(truth, found)
        pairs = [(i, j) for i, j in zip(*linear_sum_assignment(-similarity)) if similarity[i, j] > 0]
        for i, j in pairs:
            true, seen = truth.iloc[i], found.iloc[j]
            rows.append(
                (true["t"], seen["speed"] - true["speed_mps"], seen["speed_sd"], true["speed_mps"], true["range"])
            )
    errors = pd.DataFrame(rows, columns=["t", "error", "sd", "true", "range"]).dropna(subset=["error"])
    return errors[(errors["range"] >= NEAR_M) & (errors["range"] <= FAR_M)]


def speed_scores(errors: pd.DataFrame) -> dict[str, float]:
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
        "within_one_sd": 100 * float((np.abs(error) <= sd)[known].mean()) if known.any() else float("nan"),
        "within_two_sd": 100 * float((np.abs(error) <= 2 * sd)[known].mean()) if known.any() else float("nan"),
    }
