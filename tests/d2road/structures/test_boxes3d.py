"""Boxes3D against the array functions, hand-made cases and Detectron2's containers."""

import numpy as np
import pytest
import torch
from detectron2.structures import Instances

from d2road.structures import Boxes3D, Camera
from d2road.structures.upright_boxes import box_corners, project_boxes, ry_to_alpha, wrap_angle

CAMERA = Camera([[1200.0, 0, 470, 30], [0, 1180, 280, 2], [0, 0, 1, 0.01]], [0.05, -0.97, -0.21, 6.5])
GROUND_FRAME = CAMERA.ground_rotation()


@pytest.fixture
def rows():
    low, high = [-10, 0, 10, 1, 1, 2, -3.1], [10, 5, 60, 3, 3, 9, 3.1]
    return torch.from_numpy(np.random.default_rng(0).uniform(low, high, (30, 7)))


@pytest.mark.parametrize("frame", [None, GROUND_FRAME])
def test_rows_corners_and_projection_agree_with_the_array_functions(rows, frame):
    boxes = Boxes3D.from_kitti(rows, frame)
    assert torch.allclose(boxes.to_kitti(frame), rows, atol=1e-12)
    corners = box_corners(rows[:, :3], rows[:, 3:6], rows[:, 6], frame)
    np.testing.assert_allclose(boxes.corners(), corners, atol=1e-12)
    expected, _ = project_boxes(CAMERA, corners, (960, 540))
    projected, visible = boxes.project(CAMERA, (960, 540))
    np.testing.assert_allclose(projected, expected, atol=1e-9)
    assert visible.tolist() == [(b[2] > b[0] and b[3] > b[1]) for b in expected]
    np.testing.assert_allclose(boxes.alpha(frame), ry_to_alpha(rows[:, 6], rows[:, :3]), atol=1e-12)
    bearing = np.arctan2(rows[:, 0], rows[:, 2])
    np.testing.assert_allclose(wrap_angle(boxes.alpha(frame) + bearing), rows[:, 6], atol=1e-12)
    assert torch.allclose(torch.linalg.det(boxes.rotation), torch.ones(30, dtype=torch.float64))


def test_a_frame_for_each_box(rows):
    frames = np.stack([np.eye(3), GROUND_FRAME] * 15)
    boxes = Boxes3D.from_kitti(rows, frames)
    assert torch.allclose(boxes.to_kitti(frames), rows, atol=1e-12)
    assert torch.allclose(boxes[::2].rotation, Boxes3D.from_kitti(rows[::2]).rotation)
    assert torch.allclose(boxes.in_frame(frames).to_kitti()[:, 3:], rows[:, 3:])


def test_in_the_ground_frame_boxes_stand_upright(rows):
    level = Boxes3D.from_kitti(rows, GROUND_FRAME).in_frame(GROUND_FRAME)
    assert torch.allclose(level.rotation[:, :, 1], torch.tensor([0.0, 1, 0], dtype=torch.float64), atol=1e-12)
    assert torch.allclose(level.to_kitti()[:, 3:], rows[:, 3:], atol=1e-12)
    assert torch.allclose(level.corners(), Boxes3D.from_kitti(rows, GROUND_FRAME).corners() @ GROUND_FRAME)
    assert torch.allclose(level.bev_polygons(), Boxes3D.from_kitti(rows, GROUND_FRAME).bev_polygons(GROUND_FRAME))


def test_bev_polygon_of_a_turned_box():
    box = Boxes3D.from_kitti(torch.tensor([[1.0, 2, 30, 1.5, 2, 4, np.pi / 2]]))
    # Length points along -z: front left is at x + w / 2, z - l / 2.
    expected = torch.tensor([[[2.0, 28], [2, 32], [0, 32], [0, 28]]])
    assert torch.allclose(box.bev_polygons(), expected, atol=1e-5)


def test_flip_mirrors_corners_and_projection(rows):
    boxes, flipped_camera = Boxes3D.from_kitti(rows, GROUND_FRAME), CAMERA.flipped(960)
    flipped = boxes.flipped()
    before, after = boxes.project(CAMERA)[0], flipped.project(flipped_camera)[0]
    assert torch.allclose(after, torch.stack([960 - before[:, 2], before[:, 1], 960 - before[:, 0], before[:, 3]], 1))
    turned = flipped.yaw(flipped_camera.ground_rotation()) - (torch.pi - rows[:, 6])
    assert torch.allclose(turned.sin(), torch.zeros_like(turned), atol=1e-12) and (turned.cos() > 0).all()
    assert torch.allclose(torch.linalg.det(flipped.rotation), torch.ones(30, dtype=torch.float64))
    assert torch.allclose(flipped.flipped().corners(), boxes.corners())


def test_boxes_that_pass_the_camera_are_cut_at_the_near_plane():
    """Against points sampled densely on the box's edges."""
    camera = Camera([[500.0, 0, 320], [0, 500, 240], [0, 0, 1]])
    rows = torch.tensor([[2.5, 1.5, 1.0, 1.5, 1.8, 6, -1.5], [0, 1, -9, 2, 2, 4, 0], [0, 2, 20, 2, 2, 4, 0.3]]).double()
    boxes = Boxes3D.from_kitti(rows)
    projected, visible = boxes.project(camera, near_m=0.5)
    assert visible.tolist() == [True, False, True]
    assert projected[1].isnan().all()
    corners, steps = boxes.corners()[0].numpy(), np.linspace(0, 1, 20001)[:, None]
    points = np.concatenate([corners[i] + steps * (corners[j] - corners[i]) for i in range(8) for j in range(i)])
    pixels, _ = camera.project(points[points[:, 2] >= 0.5])
    np.testing.assert_allclose(projected[0], [*pixels.min(0), *pixels.max(0)], rtol=2e-3)
    clipped, seen = boxes.project(camera, (640, 480), near_m=0.5)
    assert seen.tolist() == [True, False, True]
    assert clipped[0, 2] == 640 and clipped[0, 3] == 480 and 0 < clipped[0, 0] < 640


def test_boxes_beside_the_image_are_not_visible():
    camera = Camera([[500.0, 0, 320], [0, 500, 240], [0, 0, 1]])
    box = Boxes3D.from_kitti(torch.tensor([[60.0, 1, 20, 2, 2, 4, 0]]))
    assert box.project(camera)[1].tolist() == [True]
    boxes, visible = box.project(camera, (640, 480))
    assert visible.tolist() == [False] and boxes.isfinite().all()


def test_projection_has_finite_gradients():
    camera = Camera([[500.0, 0, 320], [0, 500, 240], [0, 0, 1]])
    rows = torch.tensor([[0.0, 1, 0, 2, 2, 4, 0], [0, 1, -9, 2, 2, 4, 0], [1, 1, 9, 2, 2, 4, 1]], requires_grad=True)
    boxes, visible = Boxes3D.from_kitti(rows).project(camera)
    boxes[visible].sum().backward()
    assert rows.grad.isfinite().all() and rows.grad[2].abs().sum() > 0


def test_detectron2_containers_slice_join_and_move_it(rows):
    instances = Instances((540, 960), pred_boxes3d=Boxes3D.from_kitti(rows), scores=torch.rand(30))
    kept = instances[instances.scores > 0.5]
    joined = Instances.cat([kept, instances[:3]]).to("cpu")
    assert len(joined.pred_boxes3d) == len(kept) + 3 == len(joined)
    assert torch.equal(joined.pred_boxes3d.to_kitti()[-3:], Boxes3D.from_kitti(rows).to_kitti()[:3])


def test_indexing_and_copies(rows):
    boxes = Boxes3D.from_kitti(rows)
    assert len(boxes[4]) == 1 and torch.equal(boxes[4].location, rows[4:5, :3])
    order = torch.tensor([3, 1])
    assert torch.equal(boxes[order].location, rows[order, :3])
    copy = boxes.clone()
    copy.location.zero_()
    assert boxes.location.abs().sum() > 0
    assert boxes.to(torch.float32).corners().dtype == torch.float32
    assert boxes.device.type == "cpu" and "30 boxes" in repr(boxes)


def test_no_boxes():
    empty = Boxes3D.from_kitti(torch.zeros(0, 7), GROUND_FRAME)
    assert len(empty) == len(Boxes3D.cat([])) == len(Boxes3D.cat([empty, empty])) == 0
    assert empty.corners().shape == (0, 8, 3) and empty.bev_polygons(GROUND_FRAME).shape == (0, 4, 2)
    boxes, visible = empty.project(CAMERA, (960, 540))
    assert boxes.shape == (0, 4) and visible.shape == (0,)
    assert empty.to_kitti(GROUND_FRAME).shape == (0, 7) and len(empty.flipped()) == 0
    assert len(empty[torch.zeros(0, dtype=torch.bool)]) == 0


def test_wrong_shapes_are_refused(rows):
    with pytest.raises(ValueError, match=r"\(N, 7\)"):
        Boxes3D.from_kitti(rows[:, :6])
    with pytest.raises(ValueError, match="rotation"):
        Boxes3D(rows[:, :3], rows[:, 3:6], rows)
    with pytest.raises(ValueError, match="one for each of 30"):
        Boxes3D.from_kitti(rows, torch.eye(4))
