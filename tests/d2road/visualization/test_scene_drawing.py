"""Whole scenes: what is drawn in 3D, what in 2D, and when the view from above is added."""

import numpy as np
import pytest

from d2road.structures.camera import Camera
from d2road.structures.upright_boxes import box_corners
from d2road.visualization import BevView, SceneObjects, class_color, draw_scene, side_by_side

CAMERA = Camera(np.array([[100.0, 0, 150.5], [0, 100, 100.5], [0, 0, 1]]))
GREY = np.full((200, 300, 3), 90, np.uint8)


def two_objects():
    """The first in 3D; its 2D box is given elsewhere, so that it shows which of them is drawn."""
    corners = np.concatenate([box_corners([[3, 2, 10]], [[2, 2, 4]], [0]), np.full((1, 8, 3), np.nan)])
    return SceneObjects([0, 1], [[10, 20, 60, 60], [80, 120, 130, 180]], [0.9, 0.8], corners)


def has_edge(canvas, x, y, color):
    return tuple(canvas[y, x].tolist()) == color


def test_objects_in_3d_are_wire_frames_and_the_others_rectangles():
    canvas = draw_scene(GREY, two_objects(), ["car", "bus"], camera=CAMERA)
    assert not has_edge(canvas, 10, 40, class_color(0)) and has_edge(canvas, 80, 150, class_color(1))
    wire = np.abs(canvas[101:121, 160:201].astype(int) - class_color(0)).max(-1) < 60
    assert wire.sum() > 20
    both = draw_scene(GREY, two_objects(), ["car", "bus"], camera=CAMERA, all_boxes2d=True)
    assert has_edge(both, 10, 40, class_color(0)) and has_edge(both, 80, 150, class_color(1))


def test_without_a_camera_or_3d_it_is_the_image_with_2d_boxes():
    flat = draw_scene(GREY, two_objects(), ["car", "bus"])
    assert flat.shape == GREY.shape and has_edge(flat, 10, 40, class_color(0))
    assert draw_scene(GREY, two_objects()[1:], camera=CAMERA).shape == GREY.shape


def test_the_view_from_above_stands_beside_at_equal_height():
    with_bev = draw_scene(GREY, two_objects(), camera=CAMERA)
    without = draw_scene(GREY, two_objects(), camera=CAMERA, bev=False)
    assert without.shape == GREY.shape and with_bev.shape[0] == 200 and with_bev.shape[1] > 380
    assert np.array_equal(with_bev[:, :300], without)
    view = BevView((150, 200), 100)
    empty = two_objects()[np.zeros(2, dtype=bool)]
    for objects in (empty, two_objects()):
        assert draw_scene(GREY, objects, camera=CAMERA, view=view).shape == (200, 300 + 4 + 150, 3)


def test_truth_alone_brings_the_view_too():
    nothing = SceneObjects([], [])
    canvas = draw_scene(GREY, nothing, truth=two_objects(), camera=CAMERA)
    assert canvas.shape[1] > 300
    assert (canvas[95:125, 155:240] > 170).all(-1).any(), "white dashes"


def test_side_by_side_scales_the_right_image():
    left, right = np.full((100, 50, 3), 10, np.uint8), np.full((50, 40, 3), 200, np.uint8)
    joined = side_by_side(left, right, gap=2)
    assert joined.shape == (100, 50 + 2 + 80, 3)
    assert (joined[:, :50] == 10).all() and (joined[:, 52:] == 200).all() and (joined[:, 50:52] == 255).all()


def test_mistakes():
    with pytest.raises(ValueError, match="2 class ids, 1 2D boxes"):
        SceneObjects([0, 1], [[0, 0, 1, 1]])
    with pytest.raises(ValueError, match="1 class ids, 1 2D boxes, 1 3D boxes, 2 scores"):
        SceneObjects([0], [[0, 0, 1, 1]], [0.1, 0.2])
