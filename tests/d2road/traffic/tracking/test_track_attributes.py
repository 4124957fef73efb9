"""Class, sizes and front of a tracked vehicle."""

import numpy as np
import pytest
import scipy.stats

from d2road.traffic.tracking.track_attributes import KEPT_SIZES, FrontEstimate, RobustMean, VehicleAttributes


@pytest.mark.parametrize("count", [1, 2, 3, 4, 7, 40, KEPT_SIZES])
def test_the_robust_mean_is_scipys_trimmed_one(count):
    values = np.random.default_rng(count).normal(4.5, 1, count)
    mean = RobustMean()
    for value in values:
        mean.add(value)
    assert mean.mean == pytest.approx(scipy.stats.trim_mean(values, 0.25))


def test_a_long_sample_is_thinned_and_keeps_its_mean():
    mean = RobustMean()
    for value in np.random.default_rng(0).normal(4.5, 0.5, 20000):
        mean.add(value)
        mean.add(float("nan"))
    assert len(mean.values) <= KEPT_SIZES and mean.mean == pytest.approx(4.5, abs=0.15)


def test_wild_values_do_not_move_the_size():
    mean = RobustMean()
    for value in [4.5] * 40 + [30.0] * 9:
        mean.add(value)
    assert mean.mean == pytest.approx(4.5)


def test_the_class_is_that_of_the_largest_sum_of_scores():
    vehicle = VehicleAttributes()
    sizes = np.array([4.0, np.nan, 1.5])
    for cls, score in (("van", 0.4), ("car", 0.9), ("van", 0.4)):
        vehicle.add(cls, score, sizes)
    assert vehicle.cls == "car"
    assert vehicle.lengths[0] == 4.0 and np.isnan(vehicle.lengths[1])


def test_a_turn_around_keeps_the_front_in_front():
    front = FrontEstimate()
    for angle in np.linspace(0, np.pi, 40):
        assert front.moved(angle, 8.0, 0.1) == 1.0
    assert front.sign == 1.0 and np.cos(front.axis) == pytest.approx(-1.0)


def test_headings_of_a_standing_vehicle_are_averaged_whichever_end_they_name():
    rng = np.random.default_rng(3)
    front = FrontEstimate()
    for k in range(200):
        front.seen(1.0 + rng.normal(0, 0.2) + np.pi * (k % 5 == 0), 0.1)
    heading = front.axis + (0 if front.sign > 0 else np.pi)
    assert np.cos(heading - 1.0) > 0.99


def test_nobody_drives_fast_in_reverse():
    front = FrontEstimate()
    for _ in range(100):
        front.moved(0.0, 10.0, 0.1)
        front.seen(np.pi, 0.1)
    assert front.sign == 1.0
