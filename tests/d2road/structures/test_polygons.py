"""Clipping of convex polygons and lines, against areas and points known by hand."""

import numpy as np

from d2road.structures.polygons import clip_convex

SQUARE = np.array([[0.0, 0], [2, 0], [2, 2], [0, 2]])


def area(points):
    x, y = points.T
    return abs((x * np.roll(y, -1) - y * np.roll(x, -1)).sum()) / 2


def test_a_square_is_cut_by_a_line():
    left = clip_convex(SQUARE, 0.5 - SQUARE[:, 0])
    assert area(left) == 1 and left[:, 0].max() == 0.5
    corner = clip_convex(SQUARE, 1 - SQUARE.sum(axis=1))
    assert len(corner) == 3 and area(corner) == 0.5


def test_all_or_nothing_is_left():
    assert clip_convex(SQUARE, np.ones(4)).tolist() == SQUARE.tolist()
    assert clip_convex(SQUARE, -np.ones(4)).shape == (0, 2)
    assert clip_convex(np.zeros((0, 3)), np.zeros(0)).shape == (0, 3)


def test_a_line_has_no_closing_edge():
    ends = np.array([[0.0, 0, 0], [4, 2, 0]])
    assert clip_convex(ends, 1 - ends[:, 0]).tolist() == [[0, 0, 0], [1, 0.5, 0]]
    assert clip_convex(ends, ends[:, 0] - 1).tolist() == [[1, 0.5, 0], [4, 2, 0]]
