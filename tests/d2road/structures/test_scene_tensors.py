"""Cameras and grounds from tensors are those from `Camera` objects."""

import numpy as np
import torch

from d2road.structures import Camera
from d2road.structures.camera_batch import Cameras, Grounds
from d2road.structures.scene_tensors import inverse_3x3, scene_of_tensors

P = np.array([[500.0, 3, 310, 40], [0, 520, 190, -8], [0, 0, 1, 0.2]])
PLANES = ([0.02, -0.95, -0.3, 5.5], [-0.2, 9.5, 3.0, -60.0], None)  # the second has another scale and sign


def test_scene_of_tensors_is_that_of_cameras():
    cameras = [Camera(P, plane) for plane in PLANES]
    planes = torch.tensor([[0.0] * 4 if plane is None else plane for plane in PLANES])
    scene = scene_of_tensors(torch.tensor(P, dtype=torch.float32).expand(3, 3, 4), planes)
    expected = Cameras.from_list(cameras, "cpu"), Grounds.from_list(cameras, "cpu")
    for name in ("K", "K_inv", "center"):
        torch.testing.assert_close(getattr(scene.cameras, name), getattr(expected[0], name), atol=1e-6, rtol=1e-5)
    for name in ("mean", "var", "known"):
        torch.testing.assert_close(getattr(scene.ground, name), getattr(expected[1], name), atol=1e-6, rtol=1e-5)


def test_inverse_of_any_matrix():
    matrix = torch.randn(20, 3, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    torch.testing.assert_close(inverse_3x3(matrix), torch.linalg.inv(matrix))
