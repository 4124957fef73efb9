"""Labelled objects of one image.

Letters: B images, M objects of an image.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from d2road.structures.tensor_record import TensorRecord
from mono3dvg.language.attributes import ATTRIBUTES
from mono3dvg.language.kleene import MAYBE


@dataclass
class Objects(TensorRecord):
    """Labels of one image in pixels of the network input.

    boxes_xyxy (M, 4). classes (M,) int64. rows (M, 7): x, y, z of the bottom centre in the camera frame, h, w, l, ry as
    the annotations have them. has_3d (M,): False where `rows` means nothing. ignore (M,): neither an object nor
    background. attributes (M, L): truth of `ATTRIBUTES`, MAYBE where it is not known.
    """

    boxes_xyxy: Tensor
    classes: Tensor
    rows: Tensor
    has_3d: Tensor
    ignore: Tensor
    attributes: Tensor

    @staticmethod
    def of(boxes_xyxy: Tensor, classes: Tensor, rows: Tensor, has_3d: Tensor | None = None) -> "Objects":
        """Objects none of which is to be ignored; all have a 3D box unless `has_3d` says otherwise."""
        nothing = torch.zeros(len(classes), dtype=torch.bool, device=classes.device)
        return Objects(
            boxes_xyxy, classes, rows, ~nothing if has_3d is None else has_3d, nothing, unknown_attributes(len(classes))
        ).to(classes.device)

    def __len__(self) -> int:
        return len(self.classes)


def unknown_attributes(count: int) -> Tensor:
    """(M, L) of objects whose labels are boxes and classes."""
    return torch.full((count, len(ATTRIBUTES)), int(MAYBE), dtype=torch.int8)


def cat_objects(objects: Sequence[Objects]) -> tuple[Objects, Tensor, Tensor]:
    """Objects of B images in one list, the image (P,) of each and its position in that image (P,)."""
    device = objects[0].classes.device
    counts = torch.tensor([len(o) for o in objects], device=device)
    image = torch.arange(len(objects), device=device).repeat_interleave(counts)
    position = torch.cat([torch.arange(len(o), device=device) for o in objects])
    return Objects.cat(objects), image, position
