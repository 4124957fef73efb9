"""Paths from above: each where it was driven, in the colour of its id, over the borders of the lanes."""

import numpy as np

from d2road.structures.road_axis import RoadAxis
from d2road.visualization import BevView, class_color
from d2road.visualization.tracks_drawing import draw_paths_from_above, track_label

VIEW = BevView((200, 300), 100.0, behind_m=0.0)
BLACK = np.zeros((300, 200, 3), np.uint8)


def at(image, x, y):
    """The brightest pixel around a place on the ground."""
    column, row = np.round(VIEW.to_pixels(np.array([x, y]))).astype(int)
    around = image[row - 2 : row + 3, column - 2 : column + 3].reshape(-1, 3)
    return tuple(int(v) for v in around[around.sum(axis=1).argmax()])


def test_a_path_is_where_it_was_driven_in_the_colour_of_its_id():
    paths = [np.array([[-10.0, 20.0], [-10.0, 60.0]]), np.array([[5.0, 80.0], [15.0, 80.0]])]
    drawn = draw_paths_from_above(VIEW, BLACK, paths, [3, 4])
    assert at(drawn, -10, 60) == class_color(3) and at(drawn, 15, 80) == class_color(4)
    assert sum(at(drawn, -10, 40)) > 0 and at(drawn, 10, 40) == (0, 0, 0) and not BLACK.any()
    assert VIEW.to_pixels(np.array([0.0, 0.0])).tolist() == [100, 300]


def test_lane_borders_lie_under_the_paths():
    road = RoadAxis(np.pi / 2, np.array([-3.0, 3.0]), np.array([1]))
    drawn = draw_paths_from_above(VIEW, BLACK, [], [], road)
    assert all(sum(at(drawn, x, y)) > 0 for x in (-3, 3) for y in (10, 90)) and at(drawn, 12, 50) == (0, 0, 0)


def test_labels_say_how_a_vehicle_moves():
    assert track_label(7, "car", 10.0, "moving") == "7 car 36 km/h"
    assert track_label(7, "car", 0.1, "standing") == "7 car stands" and track_label(7, "car", 3.0, "unknown") == "7 car"
