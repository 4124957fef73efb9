"""Boxes and labels land where they should and nowhere else."""

import numpy as np
import pytest

from d2road.visualization import class_color, contact_sheet, draw_instances

GREY = 90


def blank(height=200, width=300):
    return np.full((height, width, 3), GREY, np.uint8)


def changed(image, height=200, width=300):
    return (image != blank(height, width)).any(-1)


def test_a_box_is_drawn_on_its_pixels_in_its_colour():
    image = blank()
    drawn = draw_instances(image, [[50, 80, 150, 160]], [3], [0.9], ["a", "b", "c", "car"])
    assert (image == GREY).all(), "the input is not touched"
    assert tuple(drawn[120, 50]) == tuple(drawn[160, 100]) == class_color(3)
    marks = changed(drawn)
    assert not marks[85:155, 55:145].any(), "the inside stays free"
    assert not marks[165:].any() and not marks[:, :48].any() and not marks[:50].any()
    assert marks[60:80, 50:100].any(), "the label stands above"


def test_labels_stay_inside_at_every_edge_and_size():
    for height, width in [(40, 60), (200, 300), (2000, 3000)]:
        corner = np.array([[0, 0, 9, 9], [width - 9, height - 9, width, height], [-50, -50, 2 * width, 2 * height]])
        drawn = draw_instances(blank(height, width), corner, [0, 1, 2], [0.5, 0.6, 0.7])
        assert drawn.shape == (height, width, 3)

    # Letters of the large image are several times higher than of the small one.
    def label_height(height, width):
        box = [[width * 0.2, height * 0.5, width * 0.8, height * 0.9]]
        rows = changed(draw_instances(blank(height, width), box, [0]), height, width).any(1)
        return int(height * 0.5) - np.flatnonzero(rows)[0]

    assert label_height(2000, 3000) > 2.5 * label_height(200, 300) > 25


def test_low_scores_and_bad_boxes_are_left_out():
    boxes = [[10, 40, 60, 90], [np.nan, 0, 5, 5], [0, 0, np.inf, 9]]
    assert not changed(draw_instances(blank(), boxes, [0, 1, 2], [0.2, 0.9, 0.9], min_score=0.3)).any()
    assert changed(draw_instances(blank(), boxes, [0, 1, 2], [0.3, 0.9, 0.9], min_score=0.3)).any()
    assert not changed(draw_instances(blank(), np.zeros((0, 4)), [])).any()
    assert draw_instances(blank(), [[-1e12, -1e12, 1e12, 1e12]], [0]).shape == (200, 300, 3)


def test_ground_truth_is_dashed():
    box = [[20, 20, 280, 180]]
    solid = changed(draw_instances(blank(), box, [0]))[100:150, 20]
    dashed = changed(draw_instances(blank(), [], [], truth_boxes_xyxy=box, truth_class_ids=[0]))[100:150, 20]
    assert solid.all()
    assert 0.3 < dashed.mean() < 0.8
    white = draw_instances(blank(), [], [], truth_boxes_xyxy=box)
    assert set(map(tuple, white[changed(white)])) == {(255, 255, 255)}


def test_colours_are_stable_and_apart():
    colors = np.array([class_color(i) for i in range(12)], float)
    assert class_color(5) == class_color(5)
    distance = np.linalg.norm(colors[:, None] - colors[None], axis=-1) + 1e3 * np.eye(12)
    assert distance.min() > 30


def test_names_beyond_the_list_and_in_other_scripts():
    drawn = draw_instances(blank(), [[50, 80, 150, 160]] * 2, [7, 0], None, ["汽车"])
    assert changed(drawn).any()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((np.zeros((4, 4), np.uint8), [], []), r"expected an image .* got uint8 \(4, 4\)"),
        ((np.zeros((4, 4, 3)), [], []), "got float64"),
        ((blank(), [[0, 0, 1, 1]], []), "1 boxes but 0 classes"),
        ((blank(), [[0, 0, 1, 1]], [0], [0.1, 0.2]), "1 boxes but 2 scores"),
    ],
)
def test_mistakes(arguments, message):
    with pytest.raises(ValueError, match=message):
        draw_instances(*arguments)


def test_contact_sheet_places_each_image_in_its_cell():
    colors = [(255, 0, 0), (0, 255, 0), (0, 0, 255)]
    images = [np.full((50, 100, 3), c, np.uint8) for c in colors]
    images[2] = images[2].transpose(1, 0, 2)  # upright
    sheet = contact_sheet(images, columns=2, cell_width=60, gap=2)
    height = 120  # the upright one at full width
    assert sheet.shape == (2 * (height + 2) + 2, 2 * 62 + 2, 3)
    assert tuple(sheet[2 + 60, 2 + 30]) == colors[0]
    assert tuple(sheet[2 + 60, 2 + 62 + 30]) == colors[1]
    assert tuple(sheet[2 + height + 2 + 60, 2 + 30]) == colors[2]
    assert tuple(sheet[-10, -10]) == (255, 255, 255), "the fourth cell is empty"
    with pytest.raises(ValueError, match="0 images"):
        contact_sheet([])
