"""Figures as JSON and back, and what is no figure."""

import json

import numpy as np
import pytest

from d2road.utils.errors import DataError
from d2road.visualization.figure_data import Histogram, Lines, Matrix, Series, figure_as_json, figure_of_json
from tests.factories.run_folders import every_figure


@pytest.mark.parametrize("name", every_figure())
def test_a_figure_is_the_same_after_json(name):
    figure = every_figure()[name]
    text = json.dumps(figure_as_json(figure), allow_nan=False)
    again = figure_of_json(json.loads(text))
    assert json.dumps(figure_as_json(again)) == text and type(again) is type(figure)


def test_arrays_become_plain_numbers_and_what_is_not_finite_null():
    series = Series("a", np.arange(3, dtype=np.float32), np.array([1 / 3, np.inf, np.nan]))
    raw = figure_as_json(Lines("t", "x", "y", [series]))
    assert raw["series"][0]["x"] == [0, 1, 2] and raw["series"][0]["y"] == [0.333333, None, None]


@pytest.mark.parametrize(
    "make",
    [
        lambda: Series("a", [1, 2], [1]),
        lambda: Series("a", [1], ["x"]),
        lambda: Matrix("m", "x", "y", ["a"], ["a", "b"], [[1], [2, 3]]),
        lambda: Histogram("h", "x", "y", [0, 1], {"a": [1, 2]}),
        lambda: figure_of_json({"kind": "pie"}),
        lambda: figure_of_json([]),
        lambda: figure_of_json({"kind": "lines", "title": "t"}),
        lambda: figure_of_json({"kind": "panels", "title": "t", "panels": [3]}),
        lambda: figure_of_json({"kind": "lines", "title": "t", "x_label": "", "y_label": "", "series": [{"x": [1]}]}),
    ],
)
def test_what_is_no_figure_is_refused(make):
    with pytest.raises(DataError):
        make()
