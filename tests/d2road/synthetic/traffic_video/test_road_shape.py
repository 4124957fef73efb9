"""Roads with a crown or a change of grade: the shapes are what they say, and the stated plane fits them best."""

import numpy as np
import pytest

from d2road.synthetic.traffic_video.road_shape import CURVE_M, FITTED_M, GRADE, RoadShape, sample_shape
from tests.factories.traffic_clips import clip_camera

STREET = clip_camera(1).street


def heights(shape, s, t):
    return shape.height(STREET.to_world(np.asarray(s, dtype=float), np.asarray(t, dtype=float)))


def test_street_coordinates_undo_to_world():
    s, t = RoadShape(STREET).street_coordinates(STREET.to_world(np.array([5.0, 70.0]), np.array([-3.0, 6.0])))
    assert s == pytest.approx([5, 70])
    assert t == pytest.approx([-3, 6])


def test_a_change_of_grade_is_two_percent():
    shape = sample_shape(np.random.default_rng(0), STREET, "slope")
    before = np.diff(heights(shape, [0.0, 5.0], [0.0, 0.0]))[0] / 5
    after = np.diff(heights(shape, [shape.at_s + CURVE_M, shape.at_s + CURVE_M + 5], [0.0, 0.0]))[0] / 5
    assert after - before == pytest.approx(shape.sense * GRADE)


def test_a_crown_falls_two_percent_to_both_sides():
    shape = sample_shape(np.random.default_rng(0), STREET, "crown")
    left, ridge, right = heights(shape, [30, 30, 30], [-4.0, 0.0, 4.0])
    assert left == pytest.approx(right, abs=1e-6)
    assert (ridge - left) / 4 == pytest.approx(GRADE, rel=0.1)


@pytest.mark.parametrize("kind", ["slope", "crown"])
def test_no_plane_fits_the_road_better_than_the_stated_one(kind):
    shape = sample_shape(np.random.default_rng(2), STREET, kind)
    s, t = np.meshgrid(np.linspace(*FITTED_M, 73), np.linspace(-1, 1, 33) * STREET.half_width)
    xy = STREET.to_world(s.ravel(), t.ravel())
    fitted = np.linalg.lstsq(np.column_stack([xy, np.ones(len(xy))]), shape.height(xy), rcond=None)[0]
    assert fitted == pytest.approx(np.zeros(3), abs=1e-9)
    deviation = shape.deviation()
    assert 0.01 < deviation["rms_m"] < deviation["largest_m"] < 0.6


def test_a_vehicle_stands_on_the_road():
    shape = sample_shape(np.random.default_rng(2), STREET, "crown")
    place = STREET.to_world(30.0, 4.0)
    axes = shape.axes(place, STREET.heading(0.0))
    assert axes.T @ axes == pytest.approx(np.eye(3))
    assert np.linalg.det(axes) == pytest.approx(1)
    # Right of the ridge the right side is lower, so its left axis points up.
    assert np.arcsin(axes[2, 1]) == pytest.approx(np.arctan(GRADE), rel=0.02)
    assert RoadShape(STREET).axes(place, 0.7)[:, 2] == pytest.approx([0, 0, 1])
