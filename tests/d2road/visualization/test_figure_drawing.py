"""Drawing of figures: size, what must be seen, texts that matplotlib would read as mathematics."""

import cv2
import numpy as np
import pytest

from d2road.visualization.figure_data import Lines, Matrix, Panels, Series
from d2road.visualization.figure_drawing import COLORS, WIDTH_PX, draw_figure, figure_png
from tests.factories.run_folders import every_figure


@pytest.mark.parametrize("name", every_figure())
def test_every_kind_is_drawn_800_pixels_wide(name):
    image = draw_figure(every_figure()[name])
    assert image.dtype == np.uint8 and image.shape[1:] == (WIDTH_PX, 3) and 300 <= image.shape[0] <= 1200
    ink = (image < 128).any(axis=2)
    assert 0.002 < ink.mean() < 0.6
    edge = np.concatenate([ink[0], ink[-1], ink[:, 0], ink[:, -1]])
    assert not edge.any(), "something is cut off at the edge"


def test_a_png_holds_the_same_image_and_is_the_same_each_time():
    figure = every_figure()["chance"]
    content = figure_png(figure)
    assert content == figure_png(figure)
    decoded = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR)[:, :, ::-1]
    np.testing.assert_array_equal(decoded, draw_figure(figure))


def test_each_curve_has_its_colour():
    figure = Lines("t", "x", "y", [Series(str(i), [0, 1], [i, i]) for i in range(4)])
    image = draw_figure(figure)
    for color in COLORS[:4]:
        wanted = [int(color[i : i + 2], 16) for i in (1, 3, 5)]
        assert (image == wanted).all(axis=2).sum() > 50


def test_figures_without_points_or_with_many_classes_are_drawn():
    names = [f"class {i}" for i in range(30)]
    counts = np.eye(30) * 5
    for figure in (
        Lines("empty", "x", "y", []),
        Lines("one", "x", "y", [Series("a", [3], [4])]),
        Lines("gaps", "x", "y", [Series("a", [0, 1], [float("nan")] * 2)]),
        Panels("one", [Lines("", "x", "y", [Series("a", [0, 1], [0, 1])])], columns=3),
        Matrix("many", "x", "y", names, names, counts.tolist()),
    ):
        assert draw_figure(figure).shape[1] == WIDTH_PX
