"""Errors over range: what was put in comes out, by class and bin."""

import numpy as np
import pytest

from d2road.evaluation.metrics.kitti_objects import ObjectTable
from d2road.evaluation.range_plots import BoxErrors, object_range_figures, range_bins, range_figure


def objects(z_m: np.ndarray, scores: float, kind: str = "car", length: float = 4.0, yaw: float = 0.0) -> ObjectTable:
    """Objects one a frame, straight ahead, of the same 2D box."""
    n = len(z_m)
    rows = [[0, 1.5, z, 1.5, 1.6, length, yaw] for z in z_m]
    return ObjectTable(
        np.arange(n), np.full(n, kind), np.zeros(n), np.zeros(n), np.zeros(n), np.tile([0, 0, 50, 50], (n, 1)), rows,
        np.full(n, scores),
    )  # fmt: skip


def test_depth_size_and_heading_are_those_that_were_put_in():
    truth = objects(np.repeat([15.0, 35.0], 5), 0)
    found = objects(np.repeat([16.0, 33.0], 5), 0.9, length=4.4, yaw=np.pi - 0.1)
    figure = object_range_figures(truth, found, ["car", "bus"])
    assert list(figure) == ["errors_car"]
    depth, size, heading, reversed_, count = figure["errors_car"].panels
    assert depth.series[0].x == (15, 35) and depth.series[0].y == pytest.approx((1, -2)) and depth.y_label == "m"
    assert {s.name: round(s.y[0], 6) for s in size.series} == {"height": 0, "width": 0, "length": 10}
    assert heading.series[0].y == pytest.approx([np.degrees(0.1)] * 2) and heading.y_label == "degrees"
    assert reversed_.series[0].y == (100, 100) and count.series[0].y == (5, 5)


def test_the_band_holds_eight_of_ten():
    depth = np.linspace(-5, 5, 1001)
    errors = BoxErrors(np.full(1001, 12.0), depth, np.zeros((1001, 3)), np.zeros(1001))
    band = range_figure("car", errors).panels[0].series[0]
    assert (band.low[0], band.y[0], band.high[0]) == pytest.approx((-4, 0, 4))


def test_bins_with_few_boxes_are_left_out():
    bins = range_bins(np.array([1, 2, 3, 11, 12, 25, 26, 29.9]))
    assert [rows.tolist() for rows in bins] == [[0, 1, 2], [5, 6, 7]]
    two = objects(np.array([15.0, 16.0]), 0)
    assert not object_range_figures(two, two, ["car"])
