"""3D bounding boxes: corners, headings, and the 2D box that they cover in the image.

Boxes are described as in `upright_boxes`, which draws their corners and has the same geometry for arrays.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from d2road.structures.camera import Camera
from d2road.structures.projection import project_corners
from d2road.structures.upright_boxes import CORNERS

_CORNERS = torch.from_numpy(CORNERS)  # (8, 3), in l, h, w


class Boxes3D:
    """N boxes in the camera frame; a field of Detectron2's `Instances`, which slices, joins and moves it.

    Args:
        location: (N, 3) bottom centres, m.
        dimensions: (N, 3) height, width, length, m.
        rotation: (N, 3, 3); columns are the box's axes in the camera frame: along the length to the front, down, along
            the width (x, y, z of the drawing).
    Raises:
        ValueError: wrong shapes.
    """

    def __init__(self, location: Tensor, dimensions: Tensor, rotation: Tensor) -> None:
        n = len(location)
        if location.shape != (n, 3) or dimensions.shape != (n, 3) or rotation.shape != (n, 3, 3):
            got = ", ".join(str(tuple(t.shape)) for t in (location, dimensions, rotation))
            raise ValueError(f"Boxes3D needs location (N, 3), dimensions (N, 3) and rotation (N, 3, 3), got {got}")
        self.location, self.dimensions, self.rotation = location, dimensions, rotation

    @classmethod
    def from_kitti(cls, rows: Tensor, frame: Tensor | np.ndarray | None = None) -> "Boxes3D":
        """Boxes from rows x, y, z (bottom centre, camera frame), h, w, l, ry.

        Args:
            rows: (N, 7) m and rad.
            frame: (3, 3) or (N, 3, 3), columns = axes of the frame in whose y axis `ry` turns:
                `Camera.ground_rotation()` for Rope3D, None (the camera frame) for KITTI.
        Raises:
            ValueError: wrong shapes.
        """
        rows = _float_tensor(rows)
        rows = rows.reshape(0, 7) if rows.numel() == 0 else rows
        if rows.ndim != 2 or rows.shape[1] != 7:
            raise ValueError(f"KITTI boxes are (N, 7): x, y, z, h, w, l, ry; got {tuple(rows.shape)}")
        cos, sin = rows[:, 6].cos(), rows[:, 6].sin()
        zero, one = torch.zeros_like(cos), torch.ones_like(cos)
        turn = torch.stack([cos, zero, sin, zero, one, zero, -sin, zero, cos], dim=1).reshape(-1, 3, 3)
        return cls(rows[:, :3], rows[:, 3:6], turn if frame is None else _frame_like(frame, rows) @ turn)

    def to_kitti(self, frame: Tensor | np.ndarray | None = None) -> Tensor:
        """(N, 7) rows as in `from_kitti`, `ry` in [-pi, pi]; a tilt against `frame` is lost."""
        return torch.cat([self.location, self.dimensions, self.yaw(frame)[:, None]], dim=1)

    def in_frame(self, frame: Tensor | np.ndarray) -> "Boxes3D":
        """The same boxes in the axes of `frame`, a (3, 3) rotation about the camera; `ry` does not change with it.

        `boxes.in_frame(camera.ground_rotation()).to_kitti()` are rows in the ground frame, where Rope3D's boxes stand
        upright.
        """
        frame = _frame_like(frame, self.location)
        location = (self.location[:, None] @ frame)[:, 0]
        return Boxes3D(location, self.dimensions, frame.transpose(-1, -2) @ self.rotation)

    def flipped(self) -> "Boxes3D":
        """The boxes in the world that `Camera.flipped` sees: x becomes -x, `ry` becomes pi - ry."""
        mirror = self.location.new_tensor([-1.0, 1, 1])
        # A mirrored frame is left-handed: the width axis, which has no sense of its own, turns round.
        return Boxes3D(self.location * mirror, self.dimensions, mirror[:, None] * self.rotation * mirror.flip(0))

    def corners(self) -> Tensor:
        """(N, 8, 3) corners in the camera frame, in the order of the drawing."""
        lhw = self.dimensions[:, None, [2, 0, 1]]
        offsets = lhw * _CORNERS.to(self.location)
        return self.location[:, None] + offsets @ self.rotation.transpose(1, 2)

    def yaw(self, frame: Tensor | np.ndarray | None = None) -> Tensor:
        """(N,) `ry`: the turn of the length axis about the y axis of `frame` (None: of the camera), rad."""
        heading = self.rotation[:, None, :, 0]  # (N, 1, 3)
        heading = (heading if frame is None else heading @ _frame_like(frame, self.location))[:, 0]
        return torch.atan2(-heading[:, 2], heading[:, 0])

    def alpha(self, frame: Tensor | np.ndarray | None = None) -> Tensor:
        """(N,) observation angle in [-pi, pi): `ry` less the bearing atan2(x, z) in the camera frame, as in labels."""
        alpha = self.yaw(frame) - torch.atan2(self.location[:, 0], self.location[:, 2])
        return (alpha + torch.pi) % (2 * torch.pi) - torch.pi

    def bev_polygons(self, frame: Tensor | np.ndarray | None = None) -> Tensor:
        """(N, 4, 2) x and z of the bottom corners 0 to 3 in the axes of `frame` (None: of the camera), m."""
        bottom = self.corners()[:, :4]
        return (bottom if frame is None else bottom @ _frame_like(frame, self.location))[..., [0, 2]]

    def project(
        self, camera: Camera, size_wh: tuple[float, float] | None = None, near_m: float = 0.1
    ) -> tuple[Tensor, Tensor]:
        """(N, 4) boxes in the image and (N,) whether they are visible; see `project_corners`."""
        corners = self.corners()
        return project_corners(corners.new_tensor(camera.P), corners, size_wh, near_m)

    @classmethod
    def cat(cls, boxes: Sequence["Boxes3D"]) -> "Boxes3D":
        """One after the other; no boxes for an empty sequence."""
        if not boxes:
            return cls(torch.zeros(0, 3), torch.zeros(0, 3), torch.zeros(0, 3, 3))
        return cls(*(torch.cat([getattr(b, name) for b in boxes]) for name in ("location", "dimensions", "rotation")))

    def clone(self) -> "Boxes3D":
        return Boxes3D(self.location.clone(), self.dimensions.clone(), self.rotation.clone())

    def to(self, *args: Any, **kwargs: Any) -> "Boxes3D":
        """As `Tensor.to`."""
        return Boxes3D(*(t.to(*args, **kwargs) for t in (self.location, self.dimensions, self.rotation)))

    @property
    def device(self) -> torch.device:
        return self.location.device

    def __getitem__(self, item: int | slice | Tensor) -> "Boxes3D":
        """Boxes by index (one box remains a `Boxes3D`), slice, mask or index tensor."""
        index = [item] if isinstance(item, int) else item
        return Boxes3D(self.location[index], self.dimensions[index], self.rotation[index])

    def __len__(self) -> int:
        return len(self.location)

    def __repr__(self) -> str:
        return f"Boxes3D({len(self)} boxes, x y z h w l ry =\n{self.to_kitti()})"


def _float_tensor(values: Tensor | np.ndarray | Sequence) -> Tensor:
    values = torch.as_tensor(values)
    return values if values.is_floating_point() else values.to(torch.get_default_dtype())


def _frame_like(frame: Tensor | np.ndarray, values: Tensor) -> Tensor:
    """A frame in the dtype and on the device of `values` (N, ...), checked."""
    frame = torch.as_tensor(frame).to(values)
    if frame.shape not in ((3, 3), (len(values), 3, 3)):
        raise ValueError(
            f"frame is a (3, 3) rotation, or one for each of {len(values)} boxes; got {tuple(frame.shape)}"
        )
    return frame
