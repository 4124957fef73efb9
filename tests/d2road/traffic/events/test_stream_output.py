"""The picture of an alarm shows what its words tell of."""

import numpy as np
import pandas as pd
import pytest

from d2road.traffic.baselines.explanation import Explanation
from d2road.traffic.events import stream_output
from d2road.traffic.events.window_stream import ScoredWindow
from d2road.traffic.time_space.render import TimeSpaceRenderer
from d2road.traffic.time_space.window_grid import WindowGrid
from tests.factories.traffic_windows import drive, vehicle, window_of

GRID = WindowGrid(TimeSpaceRenderer())


@pytest.fixture
def figures(monkeypatch):
    """Figures, in the place of their files."""
    drawn = []
    monkeypatch.setattr(stream_output, "save_figure", lambda figure, path: drawn.append(figure))
    return drawn


@pytest.mark.parametrize(("at", "low"), [(300.0, 0.0), (500.0, 0.0), (700.0, 444.0)])
def test_a_vehicle_that_rules_name_lies_in_the_picture_of_its_alarm(at, low, figures, tmp_path):
    t, s, speed = drive([10, 36], [0, 0], start=at)
    moving = vehicle("b", *drive([10, 36], [20, 20]), 1)
    window = window_of(pd.concat([vehicle("x", t, s, speed, 1), moving]))
    why = Explanation("standing", "stands though the road ahead is clear", "x", 26.0, 22.8, at)
    scored = ScoredWindow(window, 9.0, None, True, True)
    stream_output.write_alarm_picture(tmp_path / "a.png", scored, GRID, 5.0, why)
    axes = figures[0].axes[0]
    assert axes.get_ylim() == pytest.approx((low, low + 512)) and low <= at < low + 512
    (ring,) = axes.lines
    assert (ring.get_xdata()[0], ring.get_ydata()[0]) == (22.8, at) and str(why) in axes.get_title()
    image = np.asarray(axes.images[0].get_array())
    _, row = GRID.renderer.to_pixel(22.8, at, 10.0, low)
    standing = np.all(image == (255, 0, 255), axis=2).any(axis=1)
    assert standing[round(float(row)) - 1 : round(float(row)) + 2].any(), "magenta: it stands there"


def test_a_map_stays_over_its_window(figures, tmp_path):
    window = window_of(vehicle("x", *drive([10, 36], [20, 20]), 1))
    why = Explanation("speed", "is fast", "x", 40.0, 22.8, 700.0)
    scored = ScoredWindow(window, 9.0, np.ones((256, 256)), True, True)
    stream_output.write_alarm_picture(tmp_path / "a.png", scored, GRID, 5.0, why)
    extents = {tuple(image.get_extent()) for image in figures[0].axes[0].images}
    assert len(extents) == 1 and next(iter(extents))[2:] == (0.0, 512.0)
