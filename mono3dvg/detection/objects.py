"""Labelled objects of one image.

Letters: B images, M objects of an image.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from d2road.structures.tensor_record import TensorRecord
from d2road.utils.uploads import upload
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


def cat_objects(objects: Sequence[Objects], device: torch.device | None = None) -> tuple[Objects, Tensor, Tensor]:
    """Objects of B images in one list, the image (P,) of each and its position in that image (P,).

    On a device, by default that of the objects.
    """
    device = device or objects[0].classes.device
    image = torch.tensor([b for b, own in enumerate(objects) for _ in range(len(own))], dtype=torch.long)
    position = torch.tensor([m for own in objects for m in range(len(own))], dtype=torch.long)
    return Objects.cat(objects).to(device), upload(image, device), upload(position, device)


def pad_objects(objects: Sequence[Objects], device: torch.device) -> tuple[Objects, Tensor]:
    """Objects of B images side by side, fields (B, M, ...) on a device, and where there are any (B, M), M at least 1.

    Padding has boxes, classes and rows of zeros.
    """
    most = max([len(own) for own in objects] + [1])
    joined, image, position = cat_objects(objects)
    there = torch.zeros(len(objects), most, dtype=torch.bool, device=image.device)
    there[image, position] = True

    def pad(value: Tensor) -> Tensor:
        whole = value.new_zeros(len(objects), most, *value.shape[1:])
        whole[image, position] = value
        return whole

    return joined.map(pad).to(device), upload(there, device)
