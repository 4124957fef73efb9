"""Errors of an estimated road are told against the one that the camera has."""

import numpy as np
import pytest

from benchmarks.traffic.road_study import BESIDE_M, beside, errors_of
from tests.factories.camera_sites import straight_camera
from tests.factories.passing_tracks import passing


def test_the_errors_are_those_of_the_road():
    told = errors_of(passing(60, 1), straight_camera())
    assert (told["lanes"], told["true_lanes"], told["directions"]) == (2, 2, [1, 1])
    assert abs(told["heading_deg"]) < 0.2 and told["inner_m"] <= told["largest_m"] < 0.3
    assert "12 vehicles" in errors_of(passing(12, 1), straight_camera())["refused"]


def test_each_vehicle_keeps_its_own_distance_beside_its_lane():
    exact = passing(200, 2).rename(columns={"track": "id", "x": "X", "y": "Y"})
    moved = beside(exact, straight_camera(), 0)
    merged = moved.merge(exact.rename(columns={"id": "track"}), on=["t", "track"])
    off = (merged["x"] - merged["X"]).groupby(merged["track"]).mean()
    assert len(merged) == len(moved) and off.std() == pytest.approx(BESIDE_M, rel=0.2)
    assert np.abs(merged["y"] - merged["Y"]).max() < 1.5
