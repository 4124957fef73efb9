"""Inputs of the grounder from Detectron2's input dicts, checked: labelled objects and sentences of a batch."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from d2road.utils.errors import DataError
from d2road.utils.uploads import upload
from mono3dvg.detection.objects import Objects, unknown_attributes

# Stands for every sentence where the model is given none (image only), and in a batch without sentences.
PLACEHOLDER_TEXT = "object"


def objects_of(x: dict) -> Objects:
    """The labels of an image.

    Raises:
        DataError: it has none.
    """
    if "instances" not in x:
        raise DataError(f"image {x.get('file_name', '')!r} comes without `instances`, which training needs")
    i = x["instances"]
    ignore = i.gt_ignore if i.has("gt_ignore") else torch.zeros(len(i), dtype=torch.bool)
    attributes = i.gt_attributes if i.has("gt_attributes") else unknown_attributes(len(i))
    return Objects(i.gt_boxes.tensor.float(), i.gt_classes, i.gt_boxes3d.float(), i.gt_has_3d, ignore, attributes)


@dataclass
class Sentences:
    """All N sentences of a batch: text, image (N,) and targets of each (positions in its instances), what messages call
    it, and what its parts say of the objects of its image, (P, M) of `language.part_truths`, where it has a form.
    `images` are those of `image_of`, known to the host, which targets and parts are with. `teaches` is False where
    there are no sentences and one stands in."""

    texts: list[str]
    image_of: Tensor
    meant: list[Tensor]
    places: list[str]
    parts: list[Tensor | None]
    images: list[int]
    teaches: bool = True


def sentences_of(batched_inputs: Sequence[dict], counts: Sequence[int], device: torch.device | str) -> Sentences:
    """The sentences that a batch trains on.

    Args:
        counts: objects of each image.
        device: of `image_of`.
    Raises:
        DataError: targets that the image does not have.
    """
    found = []
    for b, x in enumerate(batched_inputs):
        for expression in x.get("expressions", ()):
            place, targets = place_of(expression, x), expression.get("targets")
            if targets is None or any(not 0 <= t < counts[b] for t in targets):
                raise DataError(
                    f"{place}: targets are {targets!r}, expected positions in the {counts[b]} instances of its image"
                )
            found.append((expression.get("text"), b, list(targets), place, expression.get("parts")))
    # Distributed training waits for a gradient of every parameter, so that one sentence must be there.
    texts, images, meant, places, parts = map(
        list, zip(*(found or [(PLACEHOLDER_TEXT, 0, [], PLACEHOLDER_TEXT, None)]))
    )
    image_of = upload(torch.tensor(images), device)
    meant = [torch.tensor(targets, dtype=torch.long) for targets in meant]
    return Sentences(texts, image_of, meant, places, parts, images, teaches=bool(found))


def place_of(expression: dict, x: dict) -> str:
    """What messages call a sentence."""
    return f"image {x.get('file_name', '')!r}, expression {expression.get('id')!r}"
