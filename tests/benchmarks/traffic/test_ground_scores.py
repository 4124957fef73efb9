"""Scores of tracks on the ground: what is paired, and that a vehicle counts once however long it is seen."""

import numpy as np
import pandas as pd
import pytest
from scipy.stats import binomtest

from benchmarks.traffic.clip_truth import Clip
from benchmarks.traffic.ground_scores import coverage, matched_frames, speed_errors
from tests.factories.camera_sites import straight_camera

TIMES = 0.1 * np.arange(3)


def clip() -> Clip:
    """Two cars at 20 and 50 m and a hidden one at 30 m, for three frames."""
    rows = [
        {"frame": frame, "t": t, "id": number, "cls": "car", "X": 0.0, "Y": y, "speed_mps": 10.0, "range": y,
         "counted": number != 3}
        for frame, t in enumerate(TIMES) for number, y in ((1, 20.0), (2, 50.0), (3, 30.0))
    ]  # fmt: skip
    return Clip("clip", straight_camera(), pd.DataFrame(rows), TIMES)


def tracks(*places: float, speed: float = 11.0) -> pd.DataFrame:
    rows = [
        {"frame": frame, "track": number, "x": 0.0, "y": y, "speed": speed, "speed_sd": 0.8}
        for frame in range(3) for number, y in enumerate(places, 1)
    ]  # fmt: skip
    return pd.DataFrame(rows)


def test_tracks_of_vehicles_that_need_not_be_found_count_neither_way():
    data = matched_frames(clip(), tracks(20.4, 30.0, 70.0), end=0.15)
    assert data["num_timesteps"] == 2 and data["num_gt_dets"] == data["num_tracker_dets"] == 4
    np.testing.assert_allclose(data["similarity_scores"][0], [[0.9, 0], [0, 0]])
    assert data["tracker_ids"][0].tolist() == [0, 1] and data["num_tracker_ids"] == 2
    assert matched_frames(clip(), tracks(20.0)[:0])["num_tracker_dets"] == 0


def test_speeds_are_compared_for_cars_that_are_followed():
    errors = speed_errors(clip(), tracks(20.4, 58.0))
    assert set(errors["vehicle"]) == {"clip/1"} and len(errors) == 3
    np.testing.assert_allclose(errors["error"], 1.0)
    np.testing.assert_allclose(errors["t"], TIMES)


def test_a_vehicle_counts_once_however_long_it_is_seen():
    def vehicle(name: str, rows: int, error: float) -> pd.DataFrame:
        return pd.DataFrame({"vehicle": name, "error": np.full(rows, error), "sd": 1.0})

    errors = pd.concat([vehicle("long", 900, 3.0), *(vehicle(f"{k}", 5, 0.5) for k in range(9)), vehicle("x", 5, -1.5)])
    scores = coverage(errors)
    assert scores["vehicles"] == 11 and scores["within_one_sd"] == pytest.approx(100 * 9 / 11)
    assert scores["within_two_sd"] == pytest.approx(100 * 10 / 11)
    exact = binomtest(9, 11).proportion_ci()
    assert scores["within_one_sd_interval"] == pytest.approx([100 * exact.low, 100 * exact.high])
