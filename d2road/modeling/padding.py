"""Batches of images that differ in size: each image is padded as it would be alone, whatever stands beside it."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from torch import nn

T = TypeVar("T")


def padded_size(entry: Mapping[str, Any], divisibility: int) -> tuple[int, int]:
    """(height, width) that the image of a model input is padded to: multiples of `divisibility`; 0 pads nothing."""
    height, width = entry["image"].shape[-2:]
    step = max(divisibility, 1)
    return -(-height // step) * step, -(-width // step) * step


def by_padded_size(
    forward: Callable[[list[dict]], list[T]], batched_inputs: Sequence[dict], backbone: nn.Module
) -> list[T]:
    """Outputs of a model for each image, images of one padded size passing through it together.

    Padding an image to a larger neighbour's size changes what a network sees near its border and beyond, and so what is
    found in it. In groups of one padded size, an image's output does not depend on its neighbours.

    Args:
        forward: the model, for images of one padded size.
        backbone: with Detectron2's `size_divisibility`.
    """
    divisibility: Any = backbone.size_divisibility
    groups: dict[tuple[int, int], list[int]] = {}
    for place, entry in enumerate(batched_inputs):
        groups.setdefault(padded_size(entry, divisibility), []).append(place)
    outputs: dict[int, T] = {}
    for places in groups.values():
        outputs.update(zip(places, forward([batched_inputs[place] for place in places]), strict=True))
    return [outputs[place] for place in range(len(batched_inputs))]
