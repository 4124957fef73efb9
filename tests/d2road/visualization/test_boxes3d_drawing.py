"""Wire frames lie where the corners project, and the marked side is the front."""

import cv2
import numpy as np
import pytest

from d2road.structures.camera import Camera
from d2road.structures.upright_boxes import box_corners
from d2road.visualization import class_color, draw_boxes3d

GREY = 90
# Whole metres at 10 m depth fall on pixel centres.
CAMERA = Camera(np.array([[100.0, 0, 150.5], [0, 100, 100.5], [0, 0, 1]]))


def blank():
    return np.full((200, 300, 3), GREY, np.uint8)


def box(location, hwl, ry):
    return box_corners([location], [hwl], [ry])


def pixel(image, point):
    """The value at the projection of a camera-frame point, by hand."""
    x, y, z = point
    return tuple(int(v) for v in image[int(100 * y / z + 100.5), int(100 * x / z + 150.5)])


def near(value, color):
    """Whether a pixel has a colour, up to the smoothing of thin lines."""
    return max(abs(a - b) for a, b in zip(value, color)) < 60


def marked(image):
    return (image != GREY).any(-1)


def test_the_front_is_filled_whichever_way_it_faces():
    # 6 m high and wide and 8 m long: the near face reaches far beyond the far one.
    for ry, front_z, rear_z in ((np.pi / 2, 6, 14), (-np.pi / 2, 14, 6)):
        drawn = draw_boxes3d(blank(), box((0, 3, 10), (6, 6, 8), ry), CAMERA, [2])
        inside_both = marked(drawn)[105, 165]
        assert inside_both, "the front covers the middle"
        rim = (2.6, 0.4, 6)  # inside the near face, outside the far one, off the edges between them
        expected = front_z < rear_z
        assert (pixel(drawn, rim) != (GREY,) * 3) == expected
    drawn = draw_boxes3d(blank(), box((0, 3, 10), (6, 6, 8), np.pi / 2), CAMERA, [2])
    mixed = np.round(0.6 * GREY + 0.4 * np.array(class_color(2)))
    assert np.abs(np.array(pixel(drawn, (2.6, 0.4, 6))) - mixed).max() <= 1


@pytest.mark.parametrize(("ry", "ahead"), [(0.0, 1), (np.pi, -1)])
def test_the_heading_leaves_through_the_front(ry, ahead):
    drawn = draw_boxes3d(blank(), box((0, 2, 10), (1, 2, 8), ry), CAMERA, [1])
    # The front is 4 m to the side of the centre; the line ends at 6.4 m.
    assert near(pixel(drawn, (ahead * 5.5, 2, 10)), class_color(1))
    assert pixel(drawn, (-ahead * 5.5, 2, 10)) == (GREY,) * 3
    assert pixel(drawn, (ahead * 7.0, 2, 10)) == (GREY,) * 3


def test_upright_edges_are_drawn_on_their_pixels():
    drawn = draw_boxes3d(blank(), box((0, 2, 12), (4, 6, 4), -np.pi / 2), CAMERA, [0])
    for x in (-3, 3):  # the rear face stands at z 10
        assert near(pixel(drawn, (x, 0, 10)), class_color(0))
        assert pixel(drawn, (1.1 * x, 0, 10)) == (GREY,) * 3


@pytest.mark.parametrize("seed", range(6))
def test_what_passes_the_camera_is_cut_and_the_rest_is_where_points_project(seed):
    random = np.random.default_rng(seed)
    location = random.uniform([-1.5, 0.5, 0.5], [1.5, 1.5, 6])
    corners = box(location, (1.5, 1.8, 9), random.uniform(-np.pi, np.pi))
    drawn = draw_boxes3d(blank(), corners, CAMERA, [1])
    # Oracle: points along the edges, those in front projected one by one.
    pairs = [(0, 1), (1, 2), (2, 3), (3, 0), (4, 5), (5, 6), (6, 7), (7, 4), (0, 4), (1, 5), (2, 6), (3, 7)]
    steps = np.linspace(0, 1, 4000)[:, None]
    c = corners[0]
    points = np.concatenate([c[a] + steps * (c[b] - c[a]) for a, b in pairs])
    ahead = points[points[:, 2] > 0.1]
    pixels = ahead[:, :2] / ahead[:, 2:] * 100 + [150.5, 100.5]
    seen = pixels[(pixels > 2).all(axis=1) & (pixels < [297, 197]).all(axis=1)].astype(int)
    assert len(seen) > 100, "this box is in the image"
    near_color = (np.abs(drawn.astype(int) - class_color(1)).max(-1) < 110).astype(np.uint8)
    assert cv2.dilate(near_color, np.ones((3, 3), np.uint8))[seen[:, 1], seen[:, 0]].mean() > 0.995
    # Nothing is drawn outside the hull of what is in front, besides the heading, which reaches 1.6 half lengths.
    heading = c[:4].mean(0) + 1.6 * steps * (c[[0, 3]].mean(0) - c[:4].mean(0))
    heading = heading[heading[:, 2] > 0.1]
    heading = heading[:, :2] / heading[:, 2:] * 100 + [150.5, 100.5]
    hull = cv2.convexHull(np.concatenate([pixels, heading]).clip(-30000, 30000).astype(np.float32))
    allowed = cv2.fillConvexPoly(np.zeros((200, 300), np.uint8), np.round(hull).astype(np.int32), 1)
    assert not (marked(drawn) & (cv2.dilate(allowed, np.ones((5, 5), np.uint8)) == 0)).any()


def test_boxes_behind_beside_or_unknown_leave_no_mark():
    hidden = np.concatenate(
        [box((0, 1, -10), (2, 2, 4), 0), box((500, 1, 10), (2, 2, 4), 0), np.full((1, 8, 3), np.nan)]
    )
    assert not marked(draw_boxes3d(blank(), hidden, CAMERA, [0, 1, 2], ["a", "b", "c"])).any()
    assert not marked(draw_boxes3d(blank(), [], CAMERA)).any()


def test_the_nearest_is_on_top_in_any_order():
    close, far = box((0, 1, 8), (2, 2, 4), 0.4), box((0.4, 1, 14), (3, 3, 6), 0.4)
    image = blank()
    one = draw_boxes3d(image, np.concatenate([close, far]), CAMERA, [0, 1], ["n", "f"])
    other = draw_boxes3d(image, np.concatenate([far, close]), CAMERA, [1, 0], ["f", "n"])
    assert np.array_equal(one, other)
    assert not marked(image).any(), "the input is not touched"
    alone = draw_boxes3d(blank(), close, CAMERA, [0]).astype(int)
    both = draw_boxes3d(blank(), np.concatenate([close, far]), CAMERA, [0, 1]).astype(int)
    line = np.abs(alone - class_color(0)).max(-1) < 20
    assert line.sum() > 50 and np.abs(both - class_color(0)).max(-1)[line].max() < 40


def test_ground_truth_is_dashed_white_with_a_shadow_and_unfilled():
    corners = box((0, 2, 12), (4, 8, 4), -np.pi / 2)
    drawn = draw_boxes3d(blank(), corners, CAMERA, dashed=True)
    column = drawn[85:118, 110]  # the upright edge at x -4, z 10
    white = (column > 200).all(-1)
    assert 0.3 < white.mean() < 0.8
    assert (np.diff(white.astype(int)) == 1).sum() >= 2, "several dashes"
    beside = drawn[85:118, 111]
    assert (beside[white] < GREY).all(), "dark beside the white"
    assert not marked(drawn)[100, 115:185].any(), "no filled front"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((blank(), np.zeros((2, 7)), CAMERA), r"\(N, 8, 3\) in the camera frame, got \(2, 7\)"),
        ((blank(), box((0, 1, 9), (1, 1, 1), 0), CAMERA, [1, 2]), "1 3D boxes but 2 class ids"),
        ((blank(), box((0, 1, 9), (1, 1, 1), 0), CAMERA, [1], []), "1 boxes but 0 labels"),
        ((np.zeros((4, 4)), [], CAMERA), "expected an image"),
    ],
)
def test_mistakes(arguments, message):
    with pytest.raises(ValueError, match=message):
        draw_boxes3d(*arguments)
