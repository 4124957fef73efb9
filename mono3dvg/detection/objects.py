"""What is known of the objects of one image, and in which frame their boxes stand upright.

Letters: B images, M objects of an image.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from d2road.structures.camera_batch import SceneGeometry
from d2road.structures.tensor_record import TensorRecord
from d2road.utils.errors import ConfigError
from mono3dvg.language.attributes import LOOKS
from mono3dvg.language.kleene import MAYBE

RY_FRAMES = ("camera", "ground")


@dataclass
class Objects(TensorRecord):
    """Labels of one image in pixels of the network input.

    boxes_xyxy (M, 4). classes (M,) int64. rows (M, 7): x, y, z of the bottom centre in the camera frame, h, w, l, ry as
    the annotations have them. has_3d (M,): False where `rows` means nothing. ignore (M,): neither an object nor
    background. looks (M, L): truth of `LOOKS`, MAYBE where it is not known.
    """

    boxes_xyxy: Tensor
    classes: Tensor
    rows: Tensor
    has_3d: Tensor
    ignore: Tensor
    looks: Tensor

    @staticmethod
    def of(boxes_xyxy: Tensor, classes: Tensor, rows: Tensor, has_3d: Tensor | None = None) -> "Objects":
        """Objects none of which is to be ignored; all have a 3D box unless `has_3d` says otherwise."""
        nothing = torch.zeros(len(classes), dtype=torch.bool, device=classes.device)
        return Objects(
            boxes_xyxy, classes, rows, ~nothing if has_3d is None else has_3d, nothing, unknown_looks(len(classes))
        ).to(classes.device)

    def __len__(self) -> int:
        return len(self.classes)


def unknown_looks(count: int) -> Tensor:
    """(M, L) of objects whose labels are boxes and classes."""
    return torch.full((count, len(LOOKS)), int(MAYBE), dtype=torch.int8)


def cat_objects(objects: Sequence[Objects]) -> tuple[Objects, Tensor, Tensor]:
    """Objects of B images in one list, the image (P,) of each and its position in that image (P,)."""
    device = objects[0].classes.device
    counts = torch.tensor([len(o) for o in objects], device=device)
    image = torch.arange(len(objects), device=device).repeat_interleave(counts)
    position = torch.cat([torch.arange(len(o), device=device) for o in objects])
    return Objects.cat(objects), image, position


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
