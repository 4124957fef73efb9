"""Where a camera stands along a road, and what of the road it sees."""

import numpy as np
import pytest

from d2road.traffic.seeing.camera_site import STEP_M, CameraSite, view_stretch
from d2road.utils.errors import DataError
from tests.factories.camera_sites import FOCAL, HEIGHT_M, LANES, PITCH, straight_camera, straight_site
from tests.factories.trajectories import steps, table, track


def nearest_seen(offset: float) -> float:
    """Metres along the road at which a line beside the viewing direction enters the image at its left edge."""
    # Left edge: X / depth = -480 / f, and depth = Y cos p + h sin p.
    return (offset * FOCAL / 480 - HEIGHT_M * np.sin(PITCH)) / np.cos(PITCH)


def test_the_view_ends_where_the_last_lane_leaves_the_image_and_at_the_distance_that_is_looked_at():
    low, high = straight_site().view
    bottom = HEIGHT_M / np.tan(PITCH + np.arctan(270 / FOCAL))
    assert low == pytest.approx(max(bottom, nearest_seen(LANES["2"])), abs=STEP_M)
    assert np.hypot(high, LANES["2"]) == pytest.approx(80.0, abs=STEP_M)


def test_traffic_that_comes_has_the_view_of_traffic_that_leaves_with_signs_turned():
    low, high = straight_site(1).view
    assert straight_site(-1).view == pytest.approx((-high, -low))


def test_a_road_beside_the_image_is_refused_with_what_to_check():
    with pytest.raises(DataError, match="lane borders"):
        view_stretch(straight_camera(), 1, 1.0, 5.0)
    with pytest.raises(DataError, match="no lane of direction -1"):
        view_stretch(straight_camera(1), -1, 10.0, 80.0)


def test_a_site_without_a_road_or_with_a_view_that_ends_before_it_begins_is_refused():
    with pytest.raises(DataError, match="near end before the far one"):
        CameraSite(straight_camera(), 0.0, 1, LANES, 80.0, 10.0)


def test_rows_are_cropped_by_the_middle_of_the_vehicle_and_get_the_camera_s_metres():
    site = straight_site(origin_s=500.0)
    low, high = site.view
    s = np.array([low - 0.1, low + 0.1, high - 0.1, high + 0.1]) + 500.0 + 2.0  # fronts of vehicles of 4 m
    kept = site.crop(table(track("a", steps(4), s)))
    np.testing.assert_allclose(kept.frame["s"], [low + 2.1, high + 1.9])
    assert site.in_recording(kept.frame["s"].iloc[0]) == pytest.approx(s[1])


def test_who_changes_lanes_crosses_the_border_in_the_middle_of_the_change():
    t = steps(101)
    lanes = np.where(t < 5.0 - 1e-9, "1", "2")
    offset = straight_site().offsets(table(track("a", t, 20 * t, lane=lanes), track("b", t, 20 * t + 50, lane="2")))
    a, b = offset[::2], offset[1::2]
    assert (b == LANES["2"]).all() and a[0] == LANES["1"] and a[-1] == LANES["2"]
    border = (LANES["1"] + LANES["2"]) / 2
    assert a[50] == pytest.approx(border, abs=0.07) and (np.diff(a) >= -1e-9).all()
    changing = t[(a > LANES["1"] + 1e-9) & (a < LANES["2"] - 1e-9)]
    assert np.ptp(changing) == pytest.approx(3.0, abs=0.21)


def test_lanes_that_the_site_does_not_know_are_named():
    with pytest.raises(DataError, match="lanes 1, 9"):
        straight_site().offsets(table(track("a"), track("b", lane="9")))
