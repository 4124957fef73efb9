"""Cameras and grounds from tensors, by arithmetic alone, where a graph takes the camera as its input.

Letters: B images.
"""

import torch
from torch import Tensor

from d2road.structures.camera_batch import Cameras, Grounds, SceneGeometry


def scene_of_tensors(projection: Tensor, plane: Tensor) -> SceneGeometry:
    """What `Cameras.from_list` and `Grounds.from_list` make of cameras, from their numbers.

    Args:
        projection: (B, 3, 4) in pixels of the network input, `[K | K t]`.
        plane: (B, 4) a, b, c, d with a x + b y + c z + d = 0 in the camera frame, of any scale and sign; four zeros
            where there is none.
    """
    K = projection[:, :, :3]
    K_inv = inverse_3x3(K)
    center = -(K_inv @ projection[:, :, 3:])[..., 0]
    known = (plane != 0).any(dim=1)
    length = plane[:, :3].norm(dim=1, keepdim=True)
    scale = torch.where(plane[:, 1:2] <= 0, length, -length)
    level = torch.tensor([0.0, -1.0, 0.0, 1.0], device=plane.device)
    a, b, c, d = torch.where(known[:, None], plane / torch.where(known[:, None], scale, 1.0), level).unbind(1)
    height = (a * center[:, 0] + b * center[:, 1] + c * center[:, 2] + d) / -b
    mean = torch.stack([c / -b, a / -b, torch.where(known, height, 1.0).log()], dim=1)
    return SceneGeometry(Cameras(K, K_inv, center), Grounds(mean, torch.zeros_like(mean), known))


def inverse_3x3(matrix: Tensor) -> Tensor:
    """(B, 3, 3) inverses by cofactors: ONNX has no inverse."""
    first, second, third = matrix.unbind(1)
    columns = [torch.linalg.cross(*rows) for rows in ((second, third), (third, first), (first, second))]
    return torch.stack(columns, dim=2) / (first * columns[0]).sum(1)[:, None, None]
