"""Model inputs: lists of dicts of pictures that may differ in size."""

import torch
from torch import Tensor

Boxes = list[tuple[int, int, int, int]]


def by_shape(batched_inputs: list[dict]) -> list[list[int]]:
    """Places of pictures of equal size together, in the order of their first."""
    groups: dict[tuple, list[int]] = {}
    for place, entry in enumerate(batched_inputs):
        groups.setdefault(tuple(entry["image"].shape), []).append(place)
    return list(groups.values())


def stack(images: list[Tensor]) -> Tensor:
    """(B, 3, H, W), channels last."""
    return torch.stack(images).contiguous(memory_format=torch.channels_last)


def tile_size(boxes: Boxes) -> tuple[int, int]:
    """Height and width of tiles (top, left, bottom, right)."""
    top, left, bottom, right = boxes[0]
    return bottom - top, right - left


def name_of(entry: dict) -> str:
    """What to call a picture in messages."""
    return str(entry.get("file_name", entry.get("image_id", "picture without a name")))
