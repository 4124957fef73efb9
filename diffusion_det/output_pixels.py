"""Detections of a batch in pixels of the images that are put out."""

from collections.abc import Sequence

import torch
from detectron2.structures import Boxes, Instances

from d2road.utils.uploads import upload


def in_output_pixels(found: Sequence[Instances], sizes_hw: Sequence[tuple[int, int]]) -> list[Instances]:
    """Detectron2's `detector_postprocess` of all images of a batch at once: scale, clip, leave out what has no area.

    There each image waits for the device, here the batch waits once.

    Args:
        found: of each image, with pred_boxes in pixels of `image_size`.
        sizes_hw: of each image that is put out.
    Raises:
        FloatingPointError: a box is infinite or not a number.
    """
    numbers = [len(one) for one in found]
    boxes = torch.cat([one.pred_boxes.tensor for one in found])
    rows = []
    for one, (height, width), number in zip(found, sizes_hw, numbers):
        scale = (width / one.image_size[1], height / one.image_size[0])
        rows.append(torch.tensor([*scale * 2, width, height, width, height], dtype=boxes.dtype).expand(number, 8))
    scale, limit = upload(torch.cat(rows), boxes.device).split(4, dim=1)
    boxes = boxes * scale
    finite = boxes.isfinite().all(1)
    boxes = boxes.clamp(min=0).minimum(limit)
    area = (boxes[:, 2:] > boxes[:, :2]).all(1)
    kept, sound = (part.split(numbers) for part in torch.stack([area, finite]).cpu())
    if not all(bool(part.all()) for part in sound):
        raise FloatingPointError("a predicted box is infinite or not a number; have the weights diverged?")
    outputs = []
    for one, own, size, keep in zip(found, boxes.split(numbers), sizes_hw, kept):
        scaled = Instances(size, **(one.get_fields() | {"pred_boxes": Boxes(own)}))
        outputs.append(scaled if bool(keep.all()) else scaled[upload(keep.nonzero()[:, 0], own.device)])
    return outputs
