"""Random roadside scenes as the dense head's perfect outputs would be, found with numpy alone."""

import numpy as np
import torch

from d2road.structures import Boxes3D, Camera
from d2road.structures.camera_batch import Cameras, Grounds, SceneGeometry
from mono3dvg.detection.dense_head import RawMaps
from mono3dvg.detection.objects import Objects
from tests.factories.roadside_objects import PRIORS, World, make_world, take

SIZE_HW, STRIDE = (1080, 1920), 8
MAP_HW = (135, 240)


def scene_of(cameras: list[Camera]) -> SceneGeometry:
    """Of the images of a batch."""
    return SceneGeometry(Cameras.from_list(cameras, "cpu"), Grounds.from_list(cameras, "cpu"))


def image_world(seed: int, count: int = 10, ground: bool = True, ry_frame: str = "ground") -> World:
    """One image with `count` objects whose middle is in it, far enough from each other for cells of their own; their
    2D boxes are those of the projected 3D boxes, upright in the frame that is asked for."""
    world = make_world(seed, 4 * count, ground, one_camera=True)
    camera = world.camera_list[0]
    boxes3d = Boxes3D.from_kitti(
        torch.tensor(world.boxes3d), camera.ground_rotation() if ry_frame == "ground" else None
    )
    world.boxes_xyxy = boxes3d.project(camera)[0].float()
    middle, _ = camera.project(boxes3d.corners().mean(1).numpy())
    chosen: list[int] = []
    for i, point in enumerate(middle):
        inside = (point > 20).all() and (point < np.array(SIZE_HW[::-1]) - 20).all()
        if inside and all(np.abs(point - middle[j]).max() > 4 * STRIDE for j in chosen):
            chosen.append(i)
    assert len(chosen) >= count, "the seed gives too few objects in the image"
    return take(world, chosen[:count])


def objects_of(world: World) -> Objects:
    """Its labels."""
    return Objects.of(world.boxes_xyxy, world.classes, world.rows)


def perfect_maps(world: World, ry_frame: str, stride: float = STRIDE, map_hw: tuple = MAP_HW) -> RawMaps:
    """Maps from which every object is decoded exactly: by either way to depth where there is a ground, else by the
    direct one, and the other is noise. Objects must lie in cells of their own. Heat falls with the object's number."""
    heat = torch.full((1, len(PRIORS), *map_hw), -8.0)
    regression = torch.zeros(1, 39, *map_hw)
    camera = world.camera_list[0]
    frame = camera.ground_rotation() if ry_frame == "ground" else np.eye(3)
    for i, (row, box, kind) in enumerate(zip(world.boxes3d, world.boxes_xyxy.double().numpy(), world.classes)):
        location, dims, ry = row[:3], row[3:6], row[6]
        pixel, z = camera.project(location)
        middle, _ = camera.project(location - frame[:, 1] * dims[0] / 2)
        column, line = (int(v) for v in np.floor(middle / stride))
        cell = (np.array([column, line]) + 0.5) * stride
        prior = PRIORS[kind].double().numpy()
        direct = np.log(z / (camera.P[1, 1] * prior[0] / 40))
        plane = 0.7 if camera.ground is None else np.log(z / camera.project(camera.intersect_plane(pixel))[1])
        ray = frame.T @ (location - camera.center)
        alpha = (ry - np.arctan2(ray[0], ray[2])) % (2 * np.pi)
        best = int(np.round(alpha / (np.pi / 6)))
        bins, residuals = np.zeros(12), np.full(12, 0.3)
        bins[best % 12], residuals[best % 12] = 5.0, (alpha - best * np.pi / 6) / (np.pi / 12)
        sides = np.log(np.concatenate([cell - box[:2], box[2:] - cell]) / stride)
        parts = [(middle - cell) / stride, (pixel - cell) / stride, sides, [direct, plane], [-3.0, -2.0],
                 np.log(dims / prior), bins, residuals]  # fmt: skip
        regression[0, :, line, column] = torch.tensor(np.concatenate(parts), dtype=torch.float32)
        heat[0, kind, line, column] = 4.0 - 0.1 * i
    return raw_maps(heat, regression)


def raw_maps(heat: torch.Tensor, regression: torch.Tensor) -> RawMaps:
    """Maps of a head that says nothing of attributes."""
    return RawMaps(heat, regression, heat[:, :0])
