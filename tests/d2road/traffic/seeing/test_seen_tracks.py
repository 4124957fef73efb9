"""Exact trajectories through the model of seeing."""

from dataclasses import replace

import numpy as np
import pytest

from d2road.traffic.seeing.seeing_model import SeeingModel
from d2road.traffic.seeing.seen_tracks import _track_numbers, correlated_errors, keep_frames, see_tracks
from d2road.utils.errors import DataError
from tests.factories.camera_sites import straight_site
from tests.factories.trajectories import steps, table, track

PERFECT = SeeingModel(
    detect=(50.0, 0.0, 0.0, 0.0), radial=(0.0, 0.0), across=(0.0, 0.0), speed=(0.0, 0.0), birth_s=0.0,
    switches_per_hour=0.0, ghosts_per_hour=0.0, length=0.0,
)  # fmt: skip


def drive(name="a", start=20.0, speed=4.0, seconds=10.0, lane="1"):
    """A vehicle that stays in the view of the straight site."""
    t = steps(round(seconds / 0.2) + 1, 0.2)
    return track(name, t, start + speed * t, lane=lane)


def test_perfect_seeing_gives_what_is_in_view_with_the_camera_s_lanes():
    seen = see_tracks(table(drive(), drive("b", 25.0, lane="2")), straight_site(), PERFECT, np.random.default_rng(0))
    a = seen.frame[seen.frame["lane"] == "0"]
    np.testing.assert_allclose(a["s"], 20 + 4 * a["t"], atol=0.011)
    np.testing.assert_allclose(a["speed"], 4.0, atol=1e-6)
    assert seen.lanes() == ["0", "1"] and len(seen.vehicles) == 2 and len(a) == 51


def test_traffic_that_comes_has_rising_s_below_zero():
    t = steps(51, 0.2)
    seen = see_tracks(table(track("a", t, -60 + 4 * t)), straight_site(-1), PERFECT, np.random.default_rng(0))
    assert seen.directions == [-1] and (np.diff(seen.frame["s"]) > 0).all() and seen.frame["s"].max() < 0


def test_the_same_generator_gives_the_same_tracks_and_another_one_does_not():
    rows, site = table(drive(), drive("b", 25.0, lane="2")), straight_site()
    first, again, other = (see_tracks(rows, site, SeeingModel(), np.random.default_rng(k)).frame for k in (1, 1, 2))
    assert first.equals(again) and not first.equals(other)


def test_errors_have_the_stated_deviation_and_correlation():
    t = np.tile(steps(400, 0.2), 200)
    errors = correlated_errors(np.repeat(np.arange(200), 400), t, 0.7, 2, np.random.default_rng(0))
    assert errors.std() == pytest.approx(1.0, abs=0.02)
    rows = errors[:, 0].reshape(200, 400)
    for lag in (1, 3):
        assert np.corrcoef(rows[:, :-lag].ravel(), rows[:, lag:].ravel())[0, 1] == pytest.approx(
            np.exp(-0.2 * lag / 0.7), abs=0.03
        )
    first, second = rows[:-1, -1], rows[1:, 0]
    assert abs(np.corrcoef(first, second)[0, 1]) < 0.2  # tracks know nothing of each other


def test_positions_scatter_along_the_ray_as_the_square_of_the_distance():
    model = replace(PERFECT, radial=(0.1, 0.8), correlation_s=0.0)
    for start in (30.0, 70.0):
        t = steps(4001, 0.2)
        parked = table(track("a", t, np.full(4001, start)))
        errors = see_tracks(parked, straight_site(), model, np.random.default_rng(0)).frame["s"] - start
        center = np.array([4.0, start - 2.0])  # across, along; the road runs along the viewing direction
        along = center[1] / np.hypot(*center)
        assert errors.std() == pytest.approx(along * (0.1 + 0.8 * (np.hypot(*center) / 50) ** 2), rel=0.05)


def test_gaps_up_to_the_bridge_are_filled_and_longer_ones_end_a_track():
    t = steps(60, 0.2)
    detected = np.ones(60, dtype=bool)
    detected[10:15] = False  # 1.2 s from detection to detection
    detected[30:45] = False  # 3.2 s
    numbers = _track_numbers(np.zeros(60, dtype=int), t, detected, PERFECT, np.random.default_rng(0))
    assert (numbers[:30] == 0).all() and (numbers[30:45] == -1).all() and (numbers[45:] == 1).all()


def test_births_and_switches_come_as_often_as_stated():
    count, frames = 3000, 100
    t, vehicle = np.tile(steps(frames, 0.2), count), np.repeat(np.arange(count), frames)
    model = replace(PERFECT, birth_s=0.8, switches_per_hour=120.0)
    numbers = _track_numbers(vehicle, t, np.ones(len(t), dtype=bool), model, np.random.default_rng(0))
    waits = (numbers.reshape(count, frames) < 0).sum(axis=1) * 0.2
    # An exponential wait, to the next frame: half a frame longer in the mean.
    assert waits.mean() == pytest.approx(0.8 + 0.1, rel=0.05)
    switches = numbers.max() + 1 - count
    assert switches == pytest.approx(count * (frames - 1) * 0.2 / 3600 * 120, rel=0.1)


def test_what_is_hidden_is_missed():
    t = steps(51, 0.2)
    truck = track("truck", t, np.full(51, 32.0), cls="truck", length=14.0, width=2.55)
    behind = track("car", t, np.full(51, 39.0))
    seen = see_tracks(table(truck, behind), straight_site(), PERFECT, np.random.default_rng(0))
    assert set(seen.frame["cls"]) == {"truck"}


def test_an_empty_road_has_the_stated_rate_of_ghosts():
    t = steps(18000, 0.2)
    far_away = table(track("a", t, np.full(18000, -500.0)))
    model = replace(PERFECT, ghosts_per_hour=60.0, ghost_s=5.0)
    seen = see_tracks(far_away, straight_site(), model, np.random.default_rng(0))
    assert 40 <= len(seen.vehicles) <= 80
    assert see_tracks(far_away, straight_site(), PERFECT, np.random.default_rng(0)).frame.empty


def test_frames_are_the_instants_of_the_camera():
    kept = keep_frames(table(track("a", steps(11), steps(11))), 0.2)
    np.testing.assert_allclose(kept.frame["t"], steps(6, 0.2))


def test_parameters_go_through_json_and_wrong_ones_are_refused():
    model = SeeingModel(radial=(0.2, 0.3), birth_s=0.7)
    assert SeeingModel.from_json(model.to_json(), "file") == model
    with pytest.raises(DataError, match="model of seeing has detect"):
        SeeingModel.from_json({"detect": [1]}, "file")
    with pytest.raises(DataError, match="radial"):
        SeeingModel(radial=(-0.1, 0.0))
    with pytest.raises(DataError, match="birth_s"):
        SeeingModel(birth_s=float("nan"))
