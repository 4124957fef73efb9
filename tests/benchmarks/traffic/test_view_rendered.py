"""Rendered good traffic for a watch: exact tables along the road, and who a track follows."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from benchmarks.traffic.view_rendered import beside_truth, exact_table, site_of
from d2road.structures.road_axis import RoadAxis
from d2road.utils.errors import DataError
from tests.factories.camera_sites import straight_camera


def truth(count: int = 20) -> pd.DataFrame:
    """Two cars one behind the other in the first lane, at 10 m/s away from the camera, ten times a second."""
    t = 0.1 * np.arange(count)
    cars = [
        pd.DataFrame({
            "id": number, "cls": "car", "t": t, "X": -4.0, "Y": start + 10 * t, "speed_mps": 10.0, "length": 4.0,
            "width": 1.8, "heading_rad": np.pi / 2,
        }) for number, start in ((7, 20.0), (8, 30.0))
    ]  # fmt: skip
    return pd.concat(cars, ignore_index=True)


def test_exact_rows_lie_along_the_road_with_their_front():
    table = exact_table(truth(), straight_camera(), "clip").frame
    first = table[table["vehicle"] == "7"]
    np.testing.assert_allclose(first["t"], 0.2 * np.arange(10), atol=1e-9)
    np.testing.assert_allclose(first["s"], 22 + 10 * first["t"], atol=1e-6)
    assert set(table["lane"].astype(str)) == set(list(site_of(straight_camera()).lanes)[:1])


def test_who_drives_the_wrong_way_has_a_front_and_a_speed_against_the_road_and_who_is_beside_it_is_left_out():
    rows = truth()
    backwards = rows["id"] == 8
    rows.loc[backwards, "Y"] = 60 - 10 * rows["t"]
    rows.loc[backwards, "heading_rad"] = -np.pi / 2
    table = exact_table(rows, straight_camera(), "clip", every_s=None).frame
    wrong = table[table["vehicle"] == "8"]
    np.testing.assert_allclose(wrong["s"], 58 - 10 * wrong["t"], atol=1e-6)
    assert (wrong["speed"] == -10).all() and (table.loc[table["vehicle"] == "7", "speed"] == 10).all()
    rows.loc[backwards, "X"] = -2.25 + 1.6  # of the border of the lanes; MARGIN_M is 1.5
    assert set(exact_table(rows, straight_camera(), "clip").frame["vehicle"]) == {"7"}


def test_a_track_that_changes_vehicles_is_told():
    rows = truth()
    mine = rows[((rows["id"] == 7) & (rows["t"] < 1.25)) | ((rows["id"] == 8) & (rows["t"] > 1.25))]
    tracks = pd.DataFrame({"track": 3, "t": mine["t"], "x": mine["X"] + 0.5, "y": mine["Y"], "speed": 12.0,
                           "length": 4.4, "cls": "van"})  # fmt: skip
    told = beside_truth({"vehicle": "3"}, tracks, rows)
    assert told["follows"] == {7: 13, 8: 7} and told["class"] == "van" and told["true_class"] == "car"
    assert told["away"] == pytest.approx(0.5) and told["largest_speed_error"] == pytest.approx(2.0)


def test_a_road_of_two_directions_is_refused():
    camera = replace(straight_camera(), road=RoadAxis(np.pi / 2, np.array([-3.0, 0.0, 3.0]), np.array([-1, 1])))
    with pytest.raises(DataError, match="one direction"):
        site_of(camera)
