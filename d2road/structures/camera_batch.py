"""Cameras of a batch as tensors, and the ground below them as three numbers with their uncertainty.

Letters: B images (or, after indexing, P objects, one row each).

The ground is described in normalised image coordinates, x = (u - cx) / fx and y = (v - cy) / fy, where everything that
pose estimation needs is linear:

    horizon     y_h(x) = s0 + s1 x          s0: tangent of the (upward) pitch,  s1: tangent of the roll
    depth       z = H / (y - y_h(x))        H: distance from the camera to the ground along its y axis, m

so that log z changes by (1, x) z / H with (s0, s1) and by 1 with log H: the errors that all objects of an image share.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from d2road.structures.camera import Camera
from d2road.structures.tensor_record import TensorRecord
from d2road.utils.errors import ConfigError, DataError
from d2road.utils.uploads import upload

# Below this height over the horizon (normalised) a ray is taken as parallel to the ground: beyond 400 m at 8 m height.
MIN_DROP = 0.02
# About what the headings of data sets turn.
RY_FRAMES = ("camera", "ground")
# Depth, m, below which a point counts as not before the camera.
NEAR = 0.1


@dataclass
class Cameras(TensorRecord):
    """K, K_inv (B, 3, 3) in pixels of the network input, center (B, 3) where rays start, m."""

    K: Tensor
    K_inv: Tensor
    center: Tensor

    @staticmethod
    def from_list(cameras: Sequence[Camera], device: torch.device | str) -> "Cameras":
        """Stack cameras."""
        K = np.stack([c.K for c in cameras])
        parts = (K, np.linalg.inv(K), np.stack([c.center for c in cameras]))
        return Cameras(*(torch.as_tensor(p, dtype=torch.float32, device=device) for p in parts))

    @property
    def fy(self) -> Tensor:
        """(B,) vertical focal length, pixels."""
        return self.K[:, 1, 1]

    def normalize(self, pixels: Tensor) -> Tensor:
        """(B, 2) pixels -> (B, 2) normalised x, y."""
        return (self.K_inv[:, :2, :2] @ pixels[:, :, None])[..., 0] + self.K_inv[:, :2, 2]

    def lift(self, xy: Tensor, depth: Tensor) -> Tensor:
        """(B, 2) normalised coordinates and (B,) depths -> (B, 3) points, m."""
        return self.center + torch.cat([xy, torch.ones_like(xy[:, :1])], dim=1) * depth[:, None]

    def project(self, points: Tensor) -> tuple[Tensor, Tensor]:
        """(B, 3) points -> (B, 2) normalised coordinates, (B,) depths; nearer than NEAR coordinates mean nothing."""
        relative = points - self.center
        return relative[:, :2] / relative[:, 2:].clamp(min=NEAR), relative[:, 2]

    def to_pixels(self, xy: Tensor) -> Tensor:
        """(B, 2) normalised coordinates -> (B, 2) pixels; inverse of `normalize`."""
        return (self.K[:, :2, :2] @ xy[:, :, None])[..., 0] + self.K[:, :2, 2]


@dataclass
class Grounds(TensorRecord):
    """What is believed of the ground planes: mean, var (B, 3) of s0, s1, log H (independent), known (B,) bool.

    Where `known` is False there is no ground at all (KITTI): mean is that of a level plane and means nothing.
    """

    mean: Tensor
    var: Tensor
    known: Tensor

    exact = False  # whether all of `var` is known to be 0

    @staticmethod
    def from_list(cameras: Sequence[Camera], device: torch.device | str) -> "Grounds":
        """The planes that the cameras carry, taken as exact (variance 0)."""
        mean = torch.tensor(np.stack([ground_parameters(c) for c in cameras]), dtype=torch.float32, device=device)
        known = torch.tensor([c.ground is not None for c in cameras], device=device)
        return Grounds(mean, torch.zeros_like(mean), known)

    def below(self, xy: Tensor) -> Tensor:
        """(B,) how far normalised image points lie below the horizon, negative above it."""
        return xy[:, 1] - self.mean[:, 0] - self.mean[:, 1] * xy[:, 0]

    def drop(self, xy: Tensor) -> Tensor:
        """(B,) `below`, but MIN_DROP at least, with zero gradient there."""
        return self.below(xy).clamp(min=MIN_DROP)

    def below_horizon(self, xy: Tensor) -> Tensor:
        """(B,) whether the rays meet the ground in front of the camera."""
        return self.known & (self.below(xy) > MIN_DROP)

    def normal(self) -> Tensor:
        """(B, 3) unit normals, upwards."""
        s0, s1, _ = self.mean.unbind(-1)
        normal = torch.stack([s1, -torch.ones_like(s0), s0], dim=-1)
        return normal / normal.norm(dim=-1, keepdim=True)

    def frame(self) -> Tensor:
        """(B, 3, 3) rotations from the levelled ground frame, as `Camera.ground_rotation`; identity if not known."""
        return self._frame

    @cached_property
    def _frame(self) -> Tensor:
        down = -self.normal()
        right = down.new_tensor([1.0, 0.0, 0.0]) - down[:, :1] * down
        right = right / right.norm(dim=-1, keepdim=True)
        frame = torch.stack([right, down, torch.linalg.cross(right, down)], dim=-1)
        identity = torch.eye(3, device=frame.device).expand_as(frame)
        return torch.where(self.known[:, None, None], frame, identity)

    def depth_jacobian(self, xy: Tensor) -> Tensor:
        """(B, 3) change of log depth on the ground at normalised points, per unit of s0, s1, log H."""
        over_drop = 1 / self.drop(xy)
        return torch.stack([over_drop, over_drop * xy[:, 0], torch.ones_like(over_drop)], dim=-1)

    def combine(self, other: "Grounds") -> "Grounds":
        """Both beliefs together, weighted by inverse variance; a variance of 0 is certain; unknown ones have no say."""
        total = self.var + other.var
        share = torch.where(total > 0, self.var / total.clamp(min=1e-30), torch.zeros_like(total))  # of `other`
        share = torch.where(other.known[:, None], share, torch.zeros_like(share))
        share = torch.where(self.known[:, None], share, torch.ones_like(share))
        mean = self.mean + share * (other.mean - self.mean)
        var = torch.where(self.known[:, None], (1 - share) * self.var, other.var)
        return Grounds(mean, var, self.known | other.known)


@dataclass
class SceneGeometry(TensorRecord):
    """Where the images of a batch were taken: cameras and grounds (B).

    `from_list` keeps all numbers in one table, so that rows are chosen from it at once, and the scene of the host that
    it was copied from.
    """

    cameras: Cameras
    ground: Grounds

    _WIDTHS = (9, 9, 3, 3, 3, 9, 1)  # K, K_inv, center, mean, var, frame, known

    def __post_init__(self) -> None:
        self._table: Tensor | None = None  # (B, sum of _WIDTHS), of which the fields are views
        self._host: SceneGeometry | None = None

    @staticmethod
    def from_list(cameras: Sequence[Camera], device: torch.device | str) -> "SceneGeometry":
        """Cameras and the planes that they carry; frames are computed by the host."""
        one, ground = Cameras.from_list(cameras, "cpu"), Grounds.from_list(cameras, "cpu")
        parts = (one.K, one.K_inv, one.center, ground.mean, ground.var, ground.frame(), ground.known)
        table = torch.cat([part.flatten(1) if part.ndim > 1 else part[:, None].float() for part in parts], dim=1)
        host = SceneGeometry._of_table(table)
        if torch.device(device).type == "cpu":
            return host
        scene = SceneGeometry._of_table(upload(table, device))
        scene._host = host
        return scene

    def on_host(self) -> "SceneGeometry":
        """The same on the host, for whom nobody waits if `from_list` has made it."""
        if self.cameras.K.device.type == "cpu":
            return self
        return self._host if self._host is not None else self.to("cpu")

    def __getitem__(self, index: Tensor | slice) -> "SceneGeometry":
        """See `TensorRecord`."""
        return super().__getitem__(index) if self._table is None else SceneGeometry._of_table(self._table[index])

    @staticmethod
    def _of_table(table: Tensor) -> "SceneGeometry":
        K, K_inv, center, mean, var, frame, known = table.split(SceneGeometry._WIDTHS, dim=1)
        ground = Grounds(mean, var, known[:, 0] > 0)
        ground.__dict__["_frame"] = frame.unflatten(1, (3, 3))  # as `frame` would compute it
        ground.exact = True
        scene = SceneGeometry(Cameras(K.unflatten(1, (3, 3)), K_inv.unflatten(1, (3, 3)), center), ground)
        scene._table = table
        return scene


def ground_parameters(camera: Camera) -> np.ndarray:
    """(3,) s0, s1, log H of a camera; zeros without a plane.

    Raises:
        ValueError: the plane does not lie below the camera.
    """
    if camera.ground is None:
        return np.zeros(3)
    a, b, c, d = camera.ground
    height = (camera.ground[:3] @ camera.center + d) / -b if b < 0 else -1.0
    if height <= 0:
        raise DataError(
            f"the ground plane {camera.ground.tolist()} does not lie below the camera: expected a x + b y + c z + d "
            "= 0 in the camera frame (y down) with b < 0 and d > 0; check the denorm file"
        )
    return np.array([c / -b, a / -b, np.log(height)])


def upright_frame(scene: SceneGeometry, ry_frame: str) -> Tensor:
    """(B, 3, 3) frames in which boxes stand upright and `ry` turns; columns are axes in the camera frame.

    Args:
        ry_frame: "camera" (KITTI) or "ground" (Rope3D); without a plane "ground" is the camera's too.
    Raises:
        ValueError: another `ry_frame`.
    """
    if ry_frame not in RY_FRAMES:
        raise ConfigError(f"ry_frame is {ry_frame!r}, expected one of {', '.join(RY_FRAMES)}; see docs/geometry.md")
    if ry_frame == "ground":
        return scene.ground.frame()
    return torch.eye(3, device=scene.cameras.K.device).expand_as(scene.cameras.K)
