"""Who hides whom in a camera's image."""

import numpy as np
import pytest

from d2road.traffic.seeing.visibility import image_boxes, shares_by_frame, visible_shares
from tests.factories.camera_sites import straight_camera


def test_a_nearer_box_hides_what_it_covers_and_a_farther_one_nothing():
    far, near = [100.0, 100.0, 200.0, 160.0], [150.0, 90.0, 300.0, 200.0]
    shares = visible_shares(np.array([far, near]), np.array([50.0, 20.0]), 960, 540)
    assert shares == pytest.approx([0.5, 1.0])
    assert visible_shares(np.array([far, near]), np.array([20.0, 50.0]), 960, 540)[0] == 1.0


def test_two_boxes_in_front_hide_their_union():
    boxes = np.array([[0, 0, 120, 60], [0, 0, 60, 60], [40, 0, 80, 60]], dtype=float)
    assert visible_shares(boxes, np.array([9.0, 1.0, 2.0]), 960, 540)[0] == pytest.approx(1 / 3)


def test_what_lies_outside_of_the_image_is_not_seen():
    boxes = np.array([[-60.0, 0.0, 60.0, 60.0], [-50.0, -50.0, -10.0, -10.0], [np.nan] * 4])
    assert visible_shares(boxes, np.ones(3), 960, 540) == pytest.approx([0.5, 0.0, 0.0])


def test_image_boxes_hold_the_projections_of_all_corners():
    camera, rng = straight_camera(), np.random.default_rng(0)
    centers = np.stack([rng.uniform(-10, 10, 20), rng.uniform(20, 80, 20)], axis=1)
    heading, sizes = rng.uniform(-3, 3, 20), rng.uniform(1, 6, (20, 3))
    boxes = image_boxes(camera, centers, heading, sizes)
    for center, angle, size, box in zip(centers, heading, sizes, boxes):
        R = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        floor = [center + R @ [a * size[0] / 2, b * size[1] / 2] for a in (-1, 1) for b in (-1, 1)]
        pixels = camera.ground_to_image(np.array([[*p, z] for p in floor for z in (0.0, size[2])]))
        assert box == pytest.approx([*pixels.min(axis=0), *pixels.max(axis=0)])


def test_a_car_behind_a_truck_is_hidden_in_its_frame_alone():
    camera = straight_camera()
    centers = np.array([[0.0, 30.0], [0.0, 42.0], [0.0, 42.0]])
    sizes = np.array([[12.0, 2.5, 4.0], [4.5, 1.8, 1.5], [4.5, 1.8, 1.5]])
    shares = shares_by_frame(camera, np.array([0.0, 0.0, 0.1]), centers, np.full(3, np.pi / 2), sizes)
    assert shares == pytest.approx([1.0, 0.0, 1.0])
