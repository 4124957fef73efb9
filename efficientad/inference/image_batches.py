"""Model inputs: lists of dicts of images that may differ in size."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from d2road.utils.errors import DataError


def by_shape(batched_inputs: Sequence[Mapping[str, Any]]) -> list[list[int]]:
    """Places of images of equal size together, in the order of their first."""
    groups: dict[tuple[int, ...], list[int]] = {}
    for place, entry in enumerate(batched_inputs):
        groups.setdefault(tuple(entry["image"].shape), []).append(place)
    return list(groups.values())


def stack(images: list[Tensor]) -> Tensor:
    """(B, 3, H, W), channels last."""
    return torch.stack(images).contiguous(memory_format=torch.channels_last)


def name_of(entry: Mapping[str, Any]) -> str:
    """What to call an image in messages."""
    return str(entry.get("file_name", entry.get("image_id", "image without a name")))


def output_size(entry: Mapping[str, Any], size: tuple[int, int]) -> tuple[int, int]:
    """Height and width of the anomaly map: those of the entry, else those of the network input."""
    return int(entry.get("height", size[0])), int(entry.get("width", size[1]))


def normalise_image(entry: Mapping[str, Any], key: str, mean: Tensor, std: Tensor) -> Tensor:
    """An image (3, H, W) of a model input as float32 on the device of `mean`, less `mean` and divided by `std`.

    Raises:
        DataError: not three channels, or pixels that are NaN or infinite.
    """
    image = entry[key]
    if image.ndim != 3 or image.shape[0] != 3:
        raise DataError(f"{name_of(entry)}: {key} is {tuple(image.shape)}, expected (3, height, width) in RGB order")
    # On the CPU, where images come from; a GPU would have to wait for the answer.
    if image.is_floating_point() and image.device.type == "cpu" and not bool(torch.isfinite(image).all()):
        raise DataError(f"{name_of(entry)}: {key} has pixels that are NaN or infinite; repair or leave out the image")
    return (image.to(mean.device).float() - mean) / std


def resize_rgb(rgb: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """(H, W, 3) uint8 in RGB order at `size` (height, width), with antialiasing as the mapper; as it is for (0, 0)."""
    height, width = size
    if not height or not width:
        return rgb
    return np.asarray(Image.fromarray(rgb).resize((width, height), Image.Resampling.BILINEAR))
