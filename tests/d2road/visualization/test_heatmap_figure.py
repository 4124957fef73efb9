"""Heat maps with their verdict in words and the bar of their colours."""

import cv2
import numpy as np
import pytest

from d2road.visualization import draw_heatmap, draw_heatmap_figure
from d2road.visualization.heatmap_drawing import ALARM, CALM
from d2road.visualization.heatmap_figure import NEUTRAL, SMALLEST, enlarged, with_title


def image_of(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(0).integers(60, 200, (height, width, 3)).astype(np.uint8)


@pytest.mark.parametrize("size", [(40, 60), (256, 256), (700, 1200)])
def test_the_heat_map_stands_whole_in_the_figure_and_small_images_are_enlarged(size):
    heat = np.random.default_rng(1).random(size)
    figure = draw_heatmap_figure(image_of(*size), heat, (0, 1), "good: score 0.2")
    large, _ = enlarged(image_of(*size))
    height, width = large.shape[:2]
    assert min(height, width) == max(SMALLEST, min(size))
    inside = figure[-height:, :width]
    np.testing.assert_array_equal(inside, draw_heatmap(large, heat, None, (0, 1)))


@pytest.mark.parametrize(("alarm", "color"), [(True, ALARM), (False, CALM), (None, NEUTRAL)])
def test_the_words_stand_on_the_colour_of_the_verdict(alarm, color):
    image = np.zeros((600, 800, 3), np.uint8)
    some, other = (with_title(image, text, alarm)[:-600] for text in ("anomalous: 3", ""))
    assert (other == color).all() and 0 < (some != color).any(axis=2).mean() < 0.2


def test_the_bar_has_the_colours_of_the_map_and_a_mark_at_the_threshold():
    size, low, high = (900, 900), 10.0, 30.0
    figure = draw_heatmap_figure(image_of(*size), np.full(size, low), (low, high), "", threshold=25.0)
    bar = figure[-size[0] :, size[1] :]
    column = bar[:, 20]
    colours = cv2.applyColorMap(np.array([[0], [255]], np.uint8), cv2.COLORMAP_INFERNO)[:, 0, ::-1]
    inside = np.flatnonzero((column != 255).any(axis=1))
    for row, colour in ((inside[-8], colours[0]), (inside[8], colours[1])):  # beside the marks of the ends
        assert np.abs(column[row].astype(int) - colour).max() < 16
    marked = np.flatnonzero((column == ALARM).all(axis=1))
    share = (inside[-1] - marked.mean()) / (inside[-1] - inside[0])
    assert share == pytest.approx((25 - low) / (high - low), abs=0.01)
    plain = draw_heatmap_figure(image_of(*size), np.full(size, low), (low, high), "")
    assert not (plain[-size[0] :, size[1] :] == ALARM).all(axis=2).any()


def test_frames_of_a_video_have_one_size_whatever_is_found():
    shapes = {
        draw_heatmap_figure(image_of(90, 120), np.full((9, 12), v), (0, 1), "x" * n, t, a).shape
        for v, n, t, a in ((0.0, 3, None, None), (9.0, 300, 0.5, True), (0.2, 0, 7.0, False))
    }
    assert len(shapes) == 1


def test_masks_keep_their_place():
    mask = np.zeros((60, 80))
    mask[15:30, 20:40] = 1
    _, (large,) = enlarged(image_of(60, 80), mask)
    assert large.mean() == pytest.approx(mask.mean(), rel=0.05)
    ys, xs = np.nonzero(large)
    assert ys.min() / large.shape[0] == pytest.approx(0.25, abs=0.01) and xs.max() / large.shape[1] == pytest.approx(
        0.5, abs=0.01
    )
