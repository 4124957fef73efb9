"""Heat maps over images."""

import numpy as np
import pytest

from d2road.visualization import draw_heatmap, draw_mask_outline

SIZE = 120, 160


@pytest.fixture
def image() -> np.ndarray:
    return np.random.default_rng(0).integers(60, 200, (*SIZE, 3)).astype(np.uint8)


def _blob() -> np.ndarray:
    heat = np.zeros(SIZE)
    heat[40:60, 70:100] = 1
    return heat


def test_high_values_are_coloured_and_low_ones_leave_the_grey_image(image):
    before = image.copy()
    drawn = draw_heatmap(image, _blob())
    assert (image == before).all() and drawn.dtype == np.uint8 and drawn.shape == image.shape
    spread = drawn.max(axis=2).astype(int) - drawn.min(axis=2)
    assert (spread[_blob() == 0] == 0).all() and spread[50, 85] > 30


def test_a_common_range_makes_images_comparable(image):
    weak, strong = (draw_heatmap(image, _blob() * v, value_range=(0, 10)) for v in (0.1, 10))
    own = draw_heatmap(image, _blob() * 0.1)
    grey = draw_heatmap(image, _blob() * 0, value_range=(0, 10))
    change = [np.abs(d.astype(int) - grey)[50, 85].sum() for d in (weak, strong, own)]
    assert change[0] < change[1] / 3 and change[2] == change[1]


def test_small_maps_are_enlarged(image):
    heat = np.zeros((30, 40))
    heat[10:15, 20:25] = 1
    spread = np.ptp(draw_heatmap(image, heat).astype(int), axis=2)
    assert spread[50, 90] > 30 and spread[100, 20] == 0


def test_lines_around_mask_and_threshold_and_the_score(image):
    mask = np.zeros(SIZE, np.uint8)
    mask[80:100, 20:50] = 255
    drawn = draw_heatmap(image, _blob(), score=3.2, threshold=0.5, truth_mask=mask)
    assert (drawn[80, 30] == 255).all() and not (drawn[90, 30] == 255).all()
    assert tuple(drawn[40, 85]) == (214, 39, 40)
    assert tuple(drawn[1, 1]) == (214, 39, 40)  # alarm
    assert tuple(draw_heatmap(image, _blob(), score=0.2, threshold=0.5)[1, 1]) == (60, 120, 60)


@pytest.mark.parametrize("heat", [np.zeros(SIZE), np.full(SIZE, np.nan), np.full((1, 1), 7)])
def test_maps_without_content_leave_the_grey_image(image, heat):
    assert (np.ptp(draw_heatmap(image, heat).astype(int), axis=2) == 0).all()


def test_values_that_are_not_finite_are_left_out(image):
    heat = _blob()
    heat[0:9, 0:9], heat[20, 20] = np.nan, np.inf
    np.testing.assert_array_equal(draw_heatmap(image, heat), draw_heatmap(image, _blob()))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"image_rgb": np.zeros((4, 4))}, "expected an image"),
        ({"heat": np.zeros((4, 4, 3))}, r"map is float64 \(4, 4, 3\)"),
        ({"truth_mask": np.zeros((4, 4))}, r"mask of shape \(4, 4\)"),
        ({"value_range": (1, 0)}, r"value_range is \(1, 0\)"),
        ({"opacity": 2}, "opacity is 2"),
    ],
)
def test_wrong_input(image, change, message):
    with pytest.raises(ValueError, match=message):
        draw_heatmap(**{"image_rgb": image, "heat": _blob(), **change})


def test_outline_is_drawn_in_place(image):
    before = image.copy()
    mask = np.zeros(SIZE, bool)
    mask[30:60, 30:60] = True
    draw_mask_outline(image, mask, (0, 255, 0))
    assert tuple(image[30, 45]) == (0, 255, 0) and (image[45, 45] == before[45, 45]).all()
