"""Self-calibration from tracks: exact where nothing errs, honest where something does, refused where nothing tells."""

import numpy as np
import pytest

from d2road.structures.roadside_camera import RoadsideCamera
from d2road.traffic.calibration.box_projection import Lens
from d2road.traffic.calibration.evidence import KnownLengths
from d2road.traffic.calibration.self_calibration import KnownLens, calibrate_from_tracks
from d2road.traffic.calibration.simulated_traffic import TrafficNoise, draw_camera, simulate_traffic
from d2road.traffic.calibration.track_samples import sample_tracks
from d2road.utils.errors import DataError

FULL = TrafficNoise()
NOTHING = TrafficNoise(0, 0, 0, 0, 0, 0, 0, 0, 0, 0)


def simulated(seed: int, noise: TrafficNoise = FULL, **more):
    rng = np.random.default_rng([7, seed])
    camera = draw_camera(rng)
    return camera, simulate_traffic(camera, rng, noise=noise, **more)


def errors(camera: RoadsideCamera, found: RoadsideCamera) -> np.ndarray:
    """Of pitch and roll, rad, and log height."""
    return np.array(
        [
            found.pitch_rad - camera.pitch_rad,
            found.roll_rad - camera.roll_rad,
            np.log(found.height_m / camera.height_m),
        ]
    )


@pytest.mark.parametrize("pose", [True, False])
def test_without_errors_the_camera_is_found_up_to_the_mean_of_sizes(pose):
    camera, observations = simulated(5, NOTHING, pose=pose)
    found = calibrate_from_tracks(sample_tracks(observations), KnownLens(camera.K)).camera
    pitch, roll, height = np.abs(errors(camera, found))
    assert np.rad2deg(pitch) < 0.02 and np.rad2deg(roll) < 0.02 and height < 0.02


def test_a_common_error_of_sizes_is_an_error_of_the_height_alone():
    camera, observations = simulated(5, NOTHING, size_shift=np.log(1.03))
    _, plain = simulated(5, NOTHING, size_shift=0.0)
    lens = KnownLens(camera.K)
    shifted, unshifted = (calibrate_from_tracks(sample_tracks(o), lens).camera for o in (observations, plain))
    assert np.log(unshifted.height_m / shifted.height_m) == pytest.approx(np.log(1.03), abs=0.003)
    np.testing.assert_allclose(errors(camera, shifted)[:2], 0, atol=1e-3)


def test_deviations_hold_what_they_say():
    wide = []
    for seed in range(12):
        camera, observations = simulated(seed, seconds=40.0)
        found = calibrate_from_tracks(sample_tracks(observations), KnownLens(camera.K)).camera
        wide.append(errors(camera, found) / np.sqrt(np.diag(found.covariance))[1:])
    # Of 36 numbers 95 % within two deviations: 30 or more with 98 % probability.
    assert (np.abs(wide) < 2).sum() >= 30 and np.abs(wide).max() < 5


def test_a_known_length_takes_the_common_error_of_sizes_away():
    camera, observations = simulated(5, size_shift=np.log(1.03))
    ends = camera.ground_to_image(np.array([[0.0, 20.0], [0.0, 40.0]]))
    length = KnownLengths(ends[:1], ends[1:], np.array([20.0]), np.array([0.02]), Lens(camera.K, np.zeros(5)))
    samples, lens = sample_tracks(observations), KnownLens(camera.K)
    without = calibrate_from_tracks(samples, lens).camera
    found = calibrate_from_tracks(samples, lens, evidence=[length]).camera
    assert abs(errors(camera, found)[2]) < 0.5 * abs(errors(camera, without)[2])
    assert found.covariance[3, 3] < without.covariance[3, 3] / 4


def test_an_unknown_focal_length_is_found_with_its_deviation():
    camera, observations = simulated(5)
    found = calibrate_from_tracks(sample_tracks(observations), KnownLens.unknown(960, 540)).camera
    error = np.log(found.K[0, 0] / camera.K[0, 0])
    assert abs(error) < 3 * np.sqrt(found.covariance[0, 0]) and found.covariance[0, 0] < 0.1**2


def test_tracks_alone_tell_the_horizon_and_leave_height_and_roll_to_the_prior():
    camera, observations = simulated(5)
    result = calibrate_from_tracks(sample_tracks(observations), KnownLens(camera.K), ["tracks"])
    pitch, _, height = np.sqrt(np.diag(result.camera.covariance))[1:]
    assert np.rad2deg(pitch) < 3 and height > 0.3 and "height" in result.weak and "roll" in result.weak


def test_an_empty_road_is_refused():
    camera, observations = simulated(5)
    few = type(observations)(observations.rows[observations.rows["track"] < 3], 960, 540)
    with pytest.raises(DataError, match="at least 6 are needed"):
        calibrate_from_tracks(sample_tracks(few), KnownLens(camera.K))
