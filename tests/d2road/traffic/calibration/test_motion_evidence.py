"""Lines of what moves as evidence: nothing is left over at the true camera, and boxes that err alike are outweighed."""

from dataclasses import replace

import numpy as np
import pytest

from d2road.structures.roadside_camera import RoadsideCamera, plane_from_angles
from d2road.traffic.calibration.box_projection import Lens
from d2road.traffic.calibration.evidence import HorizonPoint
from d2road.traffic.calibration.motion_evidence import CrossingEdges, evidence_of_motion
from d2road.traffic.calibration.self_calibration import DETECTED, KnownLens, calibrate_from_tracks
from d2road.traffic.calibration.simulated_traffic import TrafficNoise, draw_camera, simulate_traffic
from d2road.traffic.calibration.track_samples import sample_tracks

HEADING = np.deg2rad(97.0)
K = np.array([[1200.0, 0, 490], [0, 1190, 265], [0, 0, 1]])
PITCH, ROLL = np.deg2rad(13.0), np.deg2rad(1.2)
THETA = np.array([0.0, PITCH, ROLL, np.log(7.0)])


def camera(distortion=(0.0, 0, 0, 0, 0)) -> RoadsideCamera:
    return RoadsideCamera(960, 540, K, plane_from_angles(PITCH, ROLL, 7.0), np.array(distortion))


def lines_of(seen: RoadsideCamera, count: int = 400, noise_px: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    """Paths along the road and level edges across it, with as many edges of any direction."""
    rng = np.random.default_rng(4)
    start = np.column_stack([rng.uniform(-8, 8, count), rng.uniform(18, 60, count), rng.uniform(0, 1.5, count)])
    along = np.array([np.cos(HEADING), np.sin(HEADING), 0.0])
    across = np.array([-along[1], along[0], 0.0])

    def segments(direction, length):
        ends = [seen.ground_to_image(start), seen.ground_to_image(start + direction * length)]
        return np.concatenate(ends, axis=1) + noise_px * rng.normal(size=(count, 4))

    edges = segments(across, 1.6)
    turned = rng.uniform(0, np.pi, count)
    other = np.column_stack([edges[:, :2], edges[:, :2] + 15 * np.column_stack([np.cos(turned), np.sin(turned)])])
    return segments(along, 3.0), np.concatenate([edges, other])


@pytest.mark.parametrize("distortion", [(0.0, 0, 0, 0, 0), (-0.2, 0.05, 0, 0, 0)])
def test_nothing_is_left_over_at_the_true_camera(distortion):
    seen = camera(distortion)
    horizon, edges = evidence_of_motion(*lines_of(seen), Lens(K, seen.distortion), 960)
    assert isinstance(horizon, HorizonPoint) and isinstance(edges, CrossingEdges)
    assert abs(horizon.pixel[1] - seen.pinhole.horizon_v(horizon.pixel[0])) < 0.05
    assert horizon.normal_equations(THETA)[2] < 1e-3
    assert abs(np.rad2deg(edges.mode(THETA))) < 0.1


def test_a_turned_camera_shows_in_the_edges_and_a_tilted_one_in_the_horizon():
    horizon, edges = evidence_of_motion(*lines_of(camera()), Lens(K, np.zeros(5)), 960)
    for off in (-1.0, 2.0):
        turned = THETA + [0, 0, np.deg2rad(off), 0]
        assert np.rad2deg(edges.mode(turned)) == pytest.approx(-off, abs=0.25)
        tilted = RoadsideCamera(960, 540, K, plane_from_angles(PITCH + np.deg2rad(off), ROLL, 7.0))
        missed = horizon.pixel[1] - tilted.pinhole.horizon_v(horizon.pixel[0])
        cost = horizon.normal_equations(THETA + [0, np.deg2rad(off), 0, 0])[2]
        # Across the horizon, which leans by the roll.
        assert np.sqrt(2 * cost) * horizon.std_px == pytest.approx(abs(missed), rel=0.02)


def test_few_paths_and_paths_without_a_common_point_tell_nothing():
    paths, edges = lines_of(camera(), noise_px=0.3)
    optics = Lens(K, np.zeros(5))
    assert evidence_of_motion(paths[:50], edges, optics, 960) == []
    turned = np.random.default_rng(5).uniform(0, np.pi, len(paths))
    anyhow = np.column_stack([paths[:, :2], paths[:, :2] + 30 * np.column_stack([np.cos(turned), np.sin(turned)])])
    assert evidence_of_motion(anyhow, edges, optics, 960) == []
    assert [type(one) for one in evidence_of_motion(paths, edges[:50], optics, 960)] == [HorizonPoint]


def test_boxes_that_err_alike_with_distance_are_outweighed_by_motion():
    rng = np.random.default_rng([7, 5])
    seen = draw_camera(rng)
    observations = simulate_traffic(seen, rng, noise=TrafficNoise(common_size=0.0, growth_px=0.0), size_shift=0.0)
    rows = observations.rows.copy()
    height = rows["y2"] - rows["y1"]
    rows["y1"] -= 5.0 * (height < 45)  # far ones are too high, near ones are not
    wrong = replace(observations, rows=rows)
    theta = np.array([0.0, seen.pitch_rad, seen.roll_rad, np.log(seen.height_m)])
    optics = Lens(seen.K, np.zeros(5))
    by_boxes = calibrate_from_tracks(sample_tracks(wrong), KnownLens(seen.K)).camera
    motion = evidence_of_motion(*lines_of(seen, noise_px=0.3), optics, 960)
    by_both = calibrate_from_tracks(sample_tracks(wrong), KnownLens(seen.K), evidence=motion, errors=DETECTED).camera
    off = [abs(np.rad2deg(found.pitch_rad - theta[1])) for found in (by_boxes, by_both)]
    assert off[1] < 0.2 and off[0] > 2 * off[1]
    assert off[1] < 2 * by_both.deviations["pitch_deg"]


def test_a_detector_s_vehicles_tell_no_more_than_a_few_independent_ones():
    rng = np.random.default_rng([7, 8])
    seen = draw_camera(rng)
    samples = sample_tracks(simulate_traffic(seen, rng))
    plain, detected = (
        calibrate_from_tracks(samples, KnownLens(seen.K), **more).camera for more in ({}, {"errors": DETECTED})
    )
    for name in ("pitch_deg", "roll_deg"):
        assert detected.deviations[name] > 1.5 * plain.deviations[name]
