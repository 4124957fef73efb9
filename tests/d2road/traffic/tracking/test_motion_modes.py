"""Interacting multiple models: against one Kalman filter, against mixtures by hand, and how honest deviations are."""

import numpy as np
import pytest
from scipy.stats import multivariate_normal

from d2road.traffic.tracking.ground_tracker import GroundKalmanTracker
from d2road.traffic.tracking.kalman import innovation, predict, update
from d2road.traffic.tracking.motion_model import OBSERVATION, STATES, MotionModel
from d2road.traffic.tracking.motion_modes import MotionModes, joined, mixed, updated
from d2road.traffic.tracking.tracker_options import TrackerOptions
from tests.factories.ground_traffic import SIGMA, drive, run

NOISE = np.array([[0.09, 0.03], [0.03, 0.25]])


def random_modes(rng: np.random.Generator, tracks: int = 3) -> MotionModes:
    weights = rng.dirichlet([2, 1], tracks)
    square = rng.normal(size=(tracks, 2, STATES, STATES))
    return MotionModes(
        weights, rng.normal(size=(tracks, 2, STATES)), square @ np.swapaxes(square, -1, -2) + np.eye(STATES)
    )


def test_modes_that_do_not_differ_are_one_kalman_filter():
    model, rng = MotionModel(acceleration_density=0.8, cruise_share=1.0), np.random.default_rng(0)
    state = model.born(np.zeros(2), NOISE, np.pi / 2)
    modes = MotionModes.same(model.start_weights, *state)
    for k in range(6):
        modes, F = model.predicted(modes, NOISE[None], 0.1)
        Q = model.process_noise(0.1, state[0][None], NOISE[None])[0]
        state = predict(*state, F, Q)
        if k != 3:
            measured = rng.normal([0, 1.2 * (k + 1)], 0.3)
            modes = updated(modes, measured[None], OBSERVATION, model.white(NOISE)[None])
            state = update(*state, measured, OBSERVATION, model.white(NOISE))
        for got, expected in zip(modes.moments(), state):
            np.testing.assert_allclose(got[0], expected, atol=1e-9)
    np.testing.assert_allclose(modes.weights[0], model.start_weights, atol=1e-9)


def test_mixing_keeps_the_moments_and_the_chances_of_what_may_have_changed():
    modes, switching = random_modes(np.random.default_rng(1)), np.array([[0.9, 0.1], [0.3, 0.7]])
    after = mixed(modes, switching)
    np.testing.assert_allclose(after.weights, modes.weights @ switching)
    for got, expected in zip(after.moments(), modes.moments()):
        np.testing.assert_allclose(got, expected, atol=1e-9)


def test_a_measurement_weighs_modes_by_their_likelihood():
    modes, rng = random_modes(np.random.default_rng(2)), np.random.default_rng(3)
    measured, noise = rng.normal(size=(3, 2)), np.stack([NOISE] * 3)
    got = updated(modes, measured, OBSERVATION, noise)
    for k in range(3):
        parts = []
        for mode in range(2):
            expected, spread = innovation(modes.means[k, mode], modes.covariances[k, mode], OBSERVATION, NOISE)
            parts.append(modes.weights[k, mode] * multivariate_normal(expected, spread).pdf(measured[k]))
        np.testing.assert_allclose(got.weights[k], np.array(parts) / sum(parts), atol=1e-9)


def test_switching_over_two_steps_is_that_over_their_sum():
    model = MotionModel(cruise_s=8.0, manoeuvre_s=2.0)
    np.testing.assert_allclose(model.switching(0.3) @ model.switching(0.5), model.switching(0.8), atol=1e-12)
    np.testing.assert_allclose(model.switching(1e-4)[0, 1], 1e-4 / 8, rtol=1e-3)
    np.testing.assert_allclose(model.start_weights @ model.switching(2.0), model.start_weights, atol=1e-12)
    assert joined([], STATES).moments()[0].shape == (0, STATES)


def brakes(t: float) -> tuple[float, float]:
    """20 m/s for 4 s, then 4 m/s^2 less until 8 m/s."""
    late = min(max(t - 4.0, 0.0), 3.0)
    return 0.0, 20 * t - 2 * late**2 - 12 * max(t - 7.0, 0.0)


def test_who_brakes_is_followed_and_who_cruises_is_known_better():
    times, rng = np.arange(100) / 10, np.random.default_rng(4)
    slope = {}
    for name, path in (("brakes", brakes), ("cruises", lambda t: (0.0, 20 * t))):
        live, smoothed = run(GroundKalmanTracker(), times, drive(times, path, rng))
        assert smoothed.ids == [1]
        now = live[60].rows.iloc[0]
        slope[name] = now["speed_sd"]
        true = 12.0 if name == "brakes" else 20.0
        assert abs(now["speed"] - true) < 3 * now["speed_sd"]
    assert slope["cruises"] < 0.8 * slope["brakes"]


@pytest.fixture(scope="module")
def speed_errors():
    """Errors of speeds in stated deviations, by way; vehicles are drawn from the model itself.

    They cruise, with manoeuvres in between, each on a road of its own; errors of places last, too.
    """
    model = TrackerOptions().motion
    rng, times = np.random.default_rng(5), np.arange(80) / 10
    rows, true = [], []
    for vehicle in range(60):
        speeds, places = _drawn(model, rng, times)
        lasting = np.zeros((len(times), 2))
        lasting[0] = rng.normal(size=2)
        keep = np.exp(-0.1 / model.lasting_time)
        for k in range(1, len(times)):
            lasting[k] = keep * lasting[k - 1] + np.sqrt(1 - keep**2) * rng.normal(size=2)
        error = np.sqrt(model.lasting_share) * lasting
        error += np.sqrt(1 - model.lasting_share) * rng.normal(size=error.shape)
        own = drive(times, lambda t: (0.0, float(np.interp(t, times, places))))  # noqa: B023
        for row, off in zip(own, SIGMA * error):
            row["x"], row["y"] = row["x"] + 100 * vehicle + off[0], row["y"] + off[1]
        rows += own
        true.append(speeds[50])
    live, smoothed = run(GroundKalmanTracker(), times, rows)
    errors = {}
    for way, told in (("live", live[50].rows), ("smoothed", smoothed.rows[smoothed.rows["frame"] == 50])):
        assert len(told) == len(true)
        told = told.sort_values("x")
        errors[way] = abs(told["speed"].to_numpy() - true) / told["speed_sd"].to_numpy()
    return errors


@pytest.mark.parametrize("way", ["live", "smoothed"])
def test_stated_deviations_of_speeds_are_honest_over_vehicles(speed_errors, way):
    z = speed_errors[way]
    assert 0.68 - 0.19 < np.mean(z <= 1) < 0.68 + 0.19  # three binomial deviations of 60
    assert np.mean(z <= 2) > 0.95 - 0.09


def _drawn(model: MotionModel, rng: np.random.Generator, times: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Speeds (T,) and places (T,) of one vehicle whose mode and acceleration are those of the model."""
    mode = int(rng.random() > model.start_weights[0])
    speed, place, speeds, places = 15.0, 0.0, [], []
    for _ in times:
        speeds.append(speed)
        places.append(place)
        mode = int(rng.random() > model.switching(0.1)[mode, 0])
        density = model.acceleration_density * (1.0 if mode else model.cruise_share)
        change = np.sqrt(0.1 * density) * rng.normal()
        speed, place = speed + change, place + 0.1 * (speed + change / 2)
    return np.array(speeds), np.array(places)
