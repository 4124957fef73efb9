"""Kalman filter, smoother, motion model and assignment against closed forms and brute force."""

import itertools

import numpy as np
import pytest
import scipy.linalg
import scipy.stats

from d2road.traffic.tracking.association import assign, association_costs
from d2road.traffic.tracking.kalman import predict, smooth, update
from d2road.traffic.tracking.motion_model import OBSERVATION, STATES, MotionModel, directed
from d2road.traffic.tracking.motion_state import is_moving, is_standing, speed_and_course

MODEL = MotionModel(acceleration_density=1.2, lateral_density=0.4, lasting_share=0.4, lasting_time=0.8)
NOISE = np.array([[0.09, 0.03], [0.03, 0.25]])


def filtered(times, measured, model=MODEL, noise=NOISE):
    """All that the filter goes through; measured: (T, 2), NaN rows are not seen. Process noise of the start's speed."""
    mean, covariance = model.born(measured[0], noise, np.pi / 2)
    steps = [(mean, covariance, mean, covariance, np.eye(STATES), np.zeros((STATES, STATES)))]
    for k in range(1, len(times)):
        dt = times[k] - times[k - 1]
        F, Q = model.transition(dt), model.process_noise(dt, np.array([[0, 0, 0, 9.0, 0, 0]]), noise[None])[0]
        before = predict(*steps[-1][:2], F, Q)
        after = before
        if np.isfinite(measured[k]).all():
            after = update(*before, measured[k], OBSERVATION, model.white(noise))
        steps.append((*after, *before, F, Q))
    return [np.stack(values) for values in zip(*steps)]


def test_smoothing_is_least_squares_over_all_measurements_at_once():
    rng = np.random.default_rng(0)
    times = np.cumsum(rng.uniform(0.03, 0.4, 12))
    measured = np.column_stack([rng.normal(0, 1, 12), 9 * times + rng.normal(0, 1, 12)])
    measured[[4, 5, 9]] = np.nan
    means, covariances, predicted, predicted_covariances, transitions, process = filtered(times, measured)
    smoothed, spread = smooth(means, covariances, predicted, predicted_covariances, transitions)
    # Whitened equations: the first state, each step's process noise, each measurement.
    size = 12 * STATES
    rows, right = [], []

    def equation(matrix, value, covariance):
        whiten = np.linalg.inv(np.linalg.cholesky(covariance))
        rows.append(whiten @ matrix)
        right.append(whiten @ value)

    def at(k):
        return np.eye(size)[k * STATES : (k + 1) * STATES]

    equation(at(0), means[0], covariances[0])
    for k in range(1, 12):
        equation(at(k) - transitions[k] @ at(k - 1), np.zeros(STATES), process[k])
        if np.isfinite(measured[k]).all():
            equation(OBSERVATION @ at(k), measured[k], MODEL.white(NOISE))
    A, b = np.concatenate(rows), np.concatenate(right)
    information = A.T @ A
    np.testing.assert_allclose(smoothed.reshape(-1), np.linalg.solve(information, A.T @ b), atol=1e-6)
    expected = scipy.linalg.inv(information)
    for k in range(12):
        part = slice(k * STATES, (k + 1) * STATES)
        np.testing.assert_allclose(spread[k], expected[part, part], atol=1e-7)


def test_process_noise_of_two_steps_is_that_of_their_sum():
    means = np.array([[0, 0, 3.0, 4.0, 0, 0], [0, 0, 0.1, 0, 0, 0]])
    noise = np.stack([NOISE, NOISE])
    for first, second in ((0.1, 0.3), (1.0, 0.04)):
        F = MODEL.transition(second)
        both = F @ MODEL.process_noise(first, means, noise) @ F.T + MODEL.process_noise(second, means, noise)
        np.testing.assert_allclose(both, MODEL.process_noise(first + second, means, noise), atol=1e-12)
        np.testing.assert_allclose(F @ MODEL.transition(first), MODEL.transition(first + second), atol=1e-12)


def test_acceleration_is_strong_along_the_motion_and_weak_across_it():
    matrix = directed(np.array([[3.0, 4.0]]), 2.0, 0.5)[0]
    np.testing.assert_allclose(matrix @ [0.6, 0.8], 2.0 * np.array([0.6, 0.8]))
    np.testing.assert_allclose(matrix @ [-0.8, 0.6], 0.5 * np.array([-0.8, 0.6]))
    np.testing.assert_allclose(directed(np.zeros((1, 2)), 2.0, 0.5)[0], 2.0 * np.eye(2))


def simulated(rng, times, model, noise):
    """A true path and measurements that the model describes exactly."""
    state = np.array([0, 0, 0, rng.normal(0, 1), 0, 0])
    mean, covariance = model.born(np.zeros(2), noise, np.pi / 2)
    state = rng.multivariate_normal(mean, covariance)
    truth, measured = [state], [np.zeros(2)]
    for dt in np.diff(times):
        process = model.process_noise(dt, np.array([[0, 0, 0, 9.0, 0, 0]]), noise[None])[0]
        state = model.transition(dt) @ state + rng.multivariate_normal(np.zeros(STATES), process)
        truth.append(state)
        measured.append(OBSERVATION @ state + rng.multivariate_normal(np.zeros(2), model.white(noise)))
    return np.array(truth), np.array(measured)


def test_covariances_are_those_of_the_errors_by_chi_squared():
    rng, runs = np.random.default_rng(1), 150
    times = np.cumsum(rng.uniform(0.05, 0.3, 15))
    of_filter, of_smoother = [], []
    for _ in range(runs):
        truth, measured = simulated(rng, times, MODEL, NOISE)
        means, covariances, predicted, predicted_covariances, transitions, _ = filtered(times, measured)
        smoothed, spread = smooth(means, covariances, predicted, predicted_covariances, transitions)
        for kept, m, P in ((of_filter, means[-1], covariances[-1]), (of_smoother, smoothed[7], spread[7])):
            error = m - truth[-1 if kept is of_filter else 7]
            kept.append(error @ np.linalg.solve(P, error))
    low, high = scipy.stats.chi2(STATES * runs).ppf((0.001, 0.999)) / runs
    assert low < np.mean(of_filter) < high
    assert low < np.mean(of_smoother) < high


def best_sum(costs):
    """The least sum over all ways to pair some rows with some columns."""
    best = 0.0
    for count in range(1, min(costs.shape) + 1):
        for rows in itertools.combinations(range(costs.shape[0]), count):
            for columns in itertools.permutations(range(costs.shape[1]), count):
                best = min(best, costs[rows, columns].sum())
    return best


@pytest.mark.parametrize("shape", [(1, 4), (4, 3), (3, 5), (4, 4)])
def test_the_assignment_is_the_best_of_all(shape):
    rng = np.random.default_rng(shape[0])
    for _ in range(20):
        costs, allowed = rng.normal(0, 3, shape), rng.random(shape) < 0.6
        pairs = assign(costs, allowed)
        assert all(allowed[i, j] and costs[i, j] < 0 for i, j in pairs)
        assert len({i for i, _ in pairs}) == len({j for _, j in pairs}) == len(pairs)
        total = sum(costs[i, j] for i, j in pairs)
        assert total == pytest.approx(best_sum(np.where(allowed, costs, 1e3)))


def test_costs_are_twice_the_log_likelihood_ratio():
    covariance = np.array([[2.0, 0.5], [0.5, 1.0]])
    difference = np.array([1.0, -0.5])
    costs, distance = association_costs(difference, covariance, 1e-3)
    expected = scipy.stats.multivariate_normal(np.zeros(2), covariance).logpdf(difference)
    assert costs == pytest.approx(-2 * (expected - np.log(1e-3)))
    assert distance == pytest.approx(difference @ np.linalg.inv(covariance) @ difference)


def test_speed_and_its_deviation_are_those_of_drawn_velocities():
    rng = np.random.default_rng(2)
    covariance = np.array([[0.2, 0.1], [0.1, 0.3]])
    drawn = rng.multivariate_normal([6.0, 8.0], covariance, 20000)
    speed, speed_sd, course, course_sd = (v[0] for v in speed_and_course(np.array([[6.0, 8.0]]), covariance[None]))
    assert speed == pytest.approx(10.0)
    assert speed_sd == pytest.approx(np.linalg.norm(drawn, axis=1).std(), rel=0.03)
    assert course == pytest.approx(np.arctan2(8, 6))
    assert course_sd == pytest.approx(np.arctan2(drawn[:, 1], drawn[:, 0]).std(), rel=0.03)


def test_what_cannot_be_told_apart_neither_moves_nor_stands():
    velocity = np.array([[0.1, 0.0], [3.0, 0.0], [3.0, 0.0], [0.3, 0.3]])
    spread = np.array([0.01, 0.01, 4.0, 0.02])[:, None, None] * np.eye(2)
    assert is_moving(velocity, spread).tolist() == [False, True, False, False]
    assert is_standing(velocity, spread).tolist() == [True, False, False, True]
