"""Boxes as numbers of the head and back, against numpy's camera; under every change of the image."""

import numpy as np
import pytest
import torch

from d2road.structures import Boxes3D
from d2road.structures.camera_batch import upright_frame
from d2road.structures.depth_cues import view_boxes
from mono3dvg.detection.box_coding import RawBoxes, encode
from mono3dvg.detection.dense_head import cells_to_pixels, decode_peaks
from mono3dvg.detection.detection_targets import dense_targets
from tests.factories.dense_heads import (
    MAP_HW,
    SIZE_HW,
    STRIDE,
    image_world,
    objects_of,
    perfect_maps,
    raw_maps,
    scene_of,
)
from tests.factories.roadside_objects import PRIORS, World

FIELDS = ("offset", "bottom", "ltrb", "depth", "log_std", "dims", "bins", "residuals")


def close_rows(found, wanted, atol=2e-3):
    assert (found[:, :6] - wanted[:, :6]).abs().max() < atol
    turn = torch.remainder(found[:, 6] - wanted[:, 6] + torch.pi, 2 * torch.pi) - torch.pi
    assert turn.abs().max() < 1e-4


@pytest.mark.parametrize("ry_frame", ["ground", "camera"])
@pytest.mark.parametrize("ground", [True, False])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_perfect_numbers_give_the_boxes(ry_frame, ground, seed):
    world = image_world(seed, ground=ground, ry_frame=ry_frame)
    raw = perfect_maps(world, ry_frame)
    scene = scene_of(world.camera_list[:1])
    found = decode_peaks(raw, scene, [SIZE_HW], STRIDE, PRIORS, ry_frame, top_k=len(world.rows))
    assert found.valid.all() and found.classes[0].tolist() == world.classes.tolist()
    close_rows(found.rows[0], world.rows)
    limit = torch.tensor([1920.0, 1080.0] * 2)
    assert (found.boxes_xyxy[0] - world.boxes_xyxy.clamp(min=0).minimum(limit)).abs().max() < 1e-2
    std = np.exp(-3.0) if not ground else (np.exp(6.0) + np.exp(4.0)) ** -0.5
    np.testing.assert_allclose(found.std, std, rtol=1e-3)


def changed(world: World, change: str) -> World:
    camera, boxes, rows = world.camera_list[0], world.boxes_xyxy, world.boxes3d.copy()
    width = SIZE_HW[1]
    if change == "resize":
        camera, boxes = camera.resized(0.5, 0.4), boxes * torch.tensor([0.5, 0.4] * 2)
    elif change == "crop":
        camera, boxes = camera.cropped(100, 60), boxes - torch.tensor([100.0, 60] * 2)
    else:
        camera = camera.flipped(width)
        boxes = torch.stack([width - boxes[:, 2], boxes[:, 1], width - boxes[:, 0], boxes[:, 3]], dim=1)
        rows[:, 0], rows[:, 6] = -rows[:, 0], np.pi - rows[:, 6]
    return World([camera] * len(rows), rows, boxes, world.classes, world.ground)


@pytest.mark.parametrize("change", ["resize", "crop", "flip"])
@pytest.mark.parametrize("ry_frame", ["ground", "camera"])
@pytest.mark.parametrize("ground", [True, False])
def test_targets_give_the_boxes_back(change, ry_frame, ground):
    """What the head is taught is what is decoded, also for objects near the border of the changed image."""
    world = changed(image_world(3, ground=ground, ry_frame=ry_frame), change)
    scene, objects = scene_of(world.camera_list[:1]), objects_of(world)
    dense = dense_targets([objects], scene, len(PRIORS), MAP_HW, STRIDE, ry_frame)
    assert dense.owns.all()
    raw = encode(
        objects.boxes_xyxy, dense.views, objects.rows[:, 3:6], cells_to_pixels(dense.cells, MAP_HW[1], STRIDE), STRIDE,
        PRIORS[objects.classes], scene[dense.image],
    )  # fmt: skip
    regression = torch.zeros(1, 39, *MAP_HW)
    regression.flatten(2)[0, :, dense.cells] = torch.cat([getattr(raw, name) for name in FIELDS], dim=1).T
    heat = torch.logit(dense.heat.clamp(1e-4, 1 - 1e-6))
    found = decode_peaks(raw_maps(heat, regression), scene, [(1080, 1920)], STRIDE, PRIORS, ry_frame, top_k=10)
    order = [found.cells[0].tolist().index(cell) for cell in dense.cells.tolist()]
    close_rows(found.rows[0, order], world.rows)


def test_views_are_numpy_s():
    world = image_world(5)
    camera = world.camera_list[0]
    scene = scene_of(world.camera_list[:1])[torch.zeros(len(world.rows), dtype=torch.long)]
    views = view_boxes(world.rows, scene.cameras, upright_frame(scene, "ground"))
    boxes = Boxes3D.from_kitti(torch.tensor(world.boxes3d), camera.ground_rotation())
    pixels, _ = camera.project(boxes.corners().mean(1).numpy())
    np.testing.assert_allclose(views.middle, pixels, atol=2e-2)
    np.testing.assert_allclose(views.log_depth.exp(), camera.project(world.boxes3d[:, :3])[1], rtol=1e-4)


def test_what_lies_behind_the_camera_is_not_in_front():
    world = image_world(5, count=3)
    world.boxes3d[1, :3] = [1.0, 2.0, -4.0]
    scene = scene_of(world.camera_list[:1])[torch.zeros(3, dtype=torch.long)]
    views = view_boxes(world.rows, scene.cameras, upright_frame(scene, "camera"))
    assert views.in_front.tolist() == [True, False, True]
    assert all(torch.isfinite(getattr(views, name)).all() for name in ("middle", "bottom", "log_depth", "alpha"))


def test_layout_of_a_row_is_part_of_checkpoints():
    raw = RawBoxes.unpack(torch.arange(39.0)[None])
    starts = [getattr(raw, name)[0, 0].item() for name in FIELDS]
    assert starts == [0, 2, 4, 8, 10, 12, 15, 27] and raw.residuals.shape == (1, 12)


def test_unknown_frame_is_refused():
    scene = scene_of(image_world(0).camera_list[:1])
    with pytest.raises(ValueError, match="ry_frame is 'lidar', expected one of camera, ground"):
        upright_frame(scene, "lidar")
