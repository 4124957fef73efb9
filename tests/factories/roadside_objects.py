"""Random roadside cameras with true boxes on their ground."""

from dataclasses import dataclass, replace

import numpy as np
import torch

from d2road.structures import Camera
from d2road.structures.camera_batch import Cameras, Grounds
from d2road.structures.upright_boxes import box_corners, project_boxes

SIZE = (1920, 1080)
PRIORS = torch.tensor([[1.5, 1.8, 4.4], [3.0, 2.5, 10.0], [1.7, 0.6, 1.7]])


@dataclass
class World:
    """P objects, each before its own camera: boxes3d (P, 7) rows with ry about the ground normal, boxes_xyxy (P, 4)."""

    camera_list: list[Camera]
    boxes3d: np.ndarray
    boxes_xyxy: torch.Tensor
    classes: torch.Tensor
    ground: bool = True

    @property
    def cameras(self) -> Cameras:
        return Cameras.from_list(self.camera_list, "cpu")

    @property
    def grounds(self) -> Grounds:
        return Grounds.from_list(self.camera_list, "cpu")

    @property
    def rows(self) -> torch.Tensor:
        return torch.as_tensor(self.boxes3d, dtype=torch.float32)


def roadside_camera(rng: np.random.Generator, ground: bool = True) -> Camera:
    """fx != fy, a fourth column, pitch 5 to 20 degrees down, roll up to 3, 5 to 9 m high."""
    fx = rng.uniform(1000, 2300)
    K = np.array([[fx, 0, rng.uniform(800, 1100)], [0, fx * rng.uniform(0.93, 1.07), rng.uniform(400, 650)], [0, 0, 1]])
    t = rng.uniform(-0.1, 0.1, 3)
    pitch, roll = np.radians(rng.uniform(5, 20)), np.radians(rng.uniform(-3, 3))
    up = np.array([np.sin(roll) * np.cos(pitch), -np.cos(roll) * np.cos(pitch), -np.sin(pitch)])
    plane = np.array([*up, rng.uniform(5, 9)]) if ground else None
    return Camera(K @ np.concatenate([np.eye(3), t[:, None]], axis=1), plane)


def make_world(seed: int, count: int = 40, ground: bool = True, one_camera: bool = False) -> World:
    """Objects 10 to 80 m away in any direction of travel; their 2D boxes are off by some pixels, as predicted ones."""
    rng = np.random.default_rng(seed)
    cameras = [roadside_camera(rng) for _ in range(1 if one_camera else count)] * (count if one_camera else 1)
    classes = rng.integers(0, len(PRIORS), count)
    rows, boxes = [], []
    for camera, kind in zip(cameras, classes):
        z = rng.uniform(10, 80)
        frame = camera.ground_rotation() if ground else np.eye(3)
        down = camera.height_m if ground else rng.uniform(0.5, 8)
        location = frame @ np.array([rng.uniform(-0.4, 0.4) * z, down, z])
        dims = PRIORS[kind].numpy() * np.exp(rng.normal(0, 0.12, 3))
        rows.append([*location, *dims, rng.uniform(-np.pi, np.pi)])
        (box,), _ = project_boxes(camera, box_corners([location], [dims], [rows[-1][6]], frame))
        side = np.tile(box[2:] - box[:2], 2)
        boxes.append(box + rng.normal(0, 0.05, 4) * side)
    if not ground:
        cameras = [Camera(camera.P) for camera in cameras]
    return World(
        cameras, np.array(rows), torch.tensor(np.array(boxes), dtype=torch.float32), torch.tensor(classes), ground
    )


def true_depth(world: World) -> np.ndarray:
    """(P,) depths of the bottom centres, counted from where the rays start."""
    return np.array([c.project(row[:3])[1] for c, row in zip(world.camera_list, world.boxes3d)])


def mirrored(world: World, width: float = SIZE[0]) -> World:
    """The world in a mirror: cameras, 2D boxes and labels."""
    rows = world.boxes3d * np.array([-1.0, 1, 1, 1, 1, 1, 1])
    rows[:, 6] = np.pi - rows[:, 6]
    x1, y1, x2, y2 = world.boxes_xyxy.unbind(-1)
    boxes = torch.stack([width - x2, y1, width - x1, y2], dim=-1)
    return replace(world, camera_list=[c.flipped(width) for c in world.camera_list], boxes3d=rows, boxes_xyxy=boxes)


def take(world: World, index: list[int]) -> World:
    """Some of the objects."""
    return World(
        [world.camera_list[i] for i in index], world.boxes3d[index], world.boxes_xyxy[index], world.classes[index],
        world.ground,
    )  # fmt: skip
