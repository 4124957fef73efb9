"""What a training step learns from: the losses of the grounder on a batch.

Pictures with sentences teach all parts. Two lessons (`MODEL.MONO3DVG.DATA.LESSON`) teach some of them for less, so
that a training of all had better start from there. "labels": what words say of objects whose place, size and class are
known; of pictures only the colours in their boxes. "boxes": what stands where, without sentences.

Letters: B images, N sentences, K candidates.
"""

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from d2road.engine.distributed import mean_over_processes
from mono3dvg.data.model_inputs import Sentences, objects_of, sentences_of
from mono3dvg.detection.candidates import Candidates, from_objects, match_objects
from mono3dvg.detection.detection_losses import box_losses, parts_loss, refer_loss, relation_loss
from mono3dvg.detection.detection_targets import (
    DenseTargets,
    dense_targets,
    part_targets,
    refer_targets,
    relation_targets,
)
from mono3dvg.detection.objects import Objects
from mono3dvg.detection.query_head import query_losses
from mono3dvg.grounding_features import Heard, Seen
from mono3dvg.relation.relation_features import describe
from mono3dvg.relation.relation_layer import Thoughts

if TYPE_CHECKING:
    from mono3dvg.grounder import Mono3DVG

# What learns in each lesson, by its name in the grounder.
LESSON_PARTS = {"labels": ("text_encoder", "text_filter", "relation"), "boxes": ("backbone", "dense_head")}


def training_losses(model: "Mono3DVG", batched_inputs: list[dict]) -> dict[str, Tensor]:
    """Weighted losses by name.

    Args:
        batched_inputs: as `Mono3DVG.forward` takes them for training.
    """
    objects = [objects_of(x).to(model.device) for x in batched_inputs]
    if model.lesson == "boxes":
        seen = model.see(batched_inputs)
        losses, _ = _box_losses(model, seen, objects)
        # The coarser maps are for sentences; distributed training waits for all gradients.
        losses["heat"] = losses["heat"] + 0 * sum(level.sum() for level in seen.maps[1:])
        return _weighted(model, losses)
    said = sentences_of(batched_inputs, [len(o) for o in objects], model.device)
    if model.lesson == "labels":
        losses = _label_losses(model, batched_inputs, objects, said)
    else:
        seen = model.see(batched_inputs)
        heard = model.hear(seen, said.texts, said.image_of, said.places)
        losses_of = _dense_losses if model.query_head is None else _query_losses
        losses = losses_of(model, seen, heard, objects, said)
        # Not every head listens to all that the neck says; distributed training waits for all gradients.
        losses["refer"] = losses["refer"] + 0 * (heard.fused.sentence.sum() + heard.fused.words.sum())
    return _weighted(model, losses)


def _weighted(model: "Mono3DVG", losses: dict[str, Tensor]) -> dict[str, Tensor]:
    return {f"loss_{name}": model.loss_weights.get(name, 1.0) * value for name, value in losses.items()}


def _box_losses(model: "Mono3DVG", seen: Seen, objects: list[Objects]) -> tuple[dict[str, Tensor], DenseTargets]:
    dense = dense_targets(objects, seen.scene, len(model.priors_hwl), seen.map_hw, model.stride, model.ry_frame)
    losses = box_losses(seen.raw, dense, seen.scene, model.stride, model.priors_hwl, mean_over_processes)
    return losses, dense


def _dense_losses(
    model: "Mono3DVG", seen: Seen, heard: Heard, objects: list[Objects], said: Sentences
) -> dict[str, Tensor]:
    losses, dense = _box_losses(model, seen, objects)
    target, others = refer_targets(dense, said.meant, said.image_of)
    spoken_of = torch.bincount(dense.image, minlength=len(objects))[said.image_of].sum() * said.teaches
    number = mean_over_processes(spoken_of.float())
    losses["refer"] = said.teaches * refer_loss(heard.refer, target, others, number)
    if model.relation is None:
        return losses
    labelled = model.labelled(objects, seen, model.jitter)
    thoughts = model.think(heard, labelled, model.describe(labelled, seen))
    losses |= _relation_losses(thoughts, labelled, said)
    peaks = model.peaks(seen)
    matched = match_objects(peaks, objects, model.match_iou)
    thoughts = model.think(heard, peaks, model.describe(peaks, seen))
    losses["relation_peaks"] = _relation_loss(thoughts, matched, said, _counting(peaks, matched, said))[0]
    return losses


def _label_losses(
    model: "Mono3DVG", batched_inputs: list[dict], objects: list[Objects], said: Sentences
) -> dict[str, Tensor]:
    """No maps: features of the candidates are zero, and what they look like is said by labels."""
    scene, images = model.scene_of(batched_inputs), model.preprocess(batched_inputs)
    map_hw = tuple(-(-side // model.stride) for side in images.tensor.shape[-2:])
    labelled = from_objects(
        objects, scene, len(model.priors_hwl), map_hw, model.stride, model.ry_frame,
        looks=model.dense_head.num_looks > 0, jitter=model.jitter,
    )  # fmt: skip
    sizes_hw = torch.tensor(images.image_sizes, dtype=torch.float32, device=model.device)
    facts = describe(labelled, scene, sizes_hw, model.ry_frame, model.colors(images.tensor))
    words = model.read(said.texts, said.places)
    unseen = words.features.new_zeros(len(words), labelled.cells.shape[1], words.features.shape[-1])
    thoughts = model.relation(facts, said.image_of, labelled.traits, unseen, words)
    return _relation_losses(thoughts, labelled, said)


def _relation_losses(thoughts: Thoughts, labelled: Candidates, said: Sentences) -> dict[str, Tensor]:
    """relation and parts on labelled objects."""
    place = torch.arange(labelled.cells.shape[1], device=labelled.cells.device).expand_as(labelled.cells)
    counts = _counting(labelled, place, said)
    relation, number = _relation_loss(thoughts, place, said, counts)
    truths = part_targets(place, said.parts, said.image_of)
    return {"relation": relation, "parts": parts_loss(thoughts.parts, thoughts.mentioned, truths, counts) / number}


def _counting(candidates: Candidates, matched: Tensor, said: Sentences) -> Tensor:
    """(N, K) whether a candidate counts; `matched` (B, K) is its object, below 0 none, below -1 in doubt."""
    return (candidates.valid & (matched >= -1))[said.image_of] & said.teaches


def _relation_loss(thoughts: Thoughts, matched: Tensor, said: Sentences, counts: Tensor) -> tuple[Tensor, Tensor]:
    """The mean over sentences, and their number."""
    total, number = relation_loss(thoughts.answers, relation_targets(matched, said.meant, said.image_of), counts)
    number = mean_over_processes(number).clamp(min=1)
    return total / number, number


def _query_losses(
    model: "Mono3DVG", seen: Seen, heard: Heard, objects: list[Objects], said: Sentences
) -> dict[str, Tensor]:
    """Those of the dense head, where queries start, and theirs, by name; the dense head is the first stage."""
    losses, _ = _box_losses(model, seen, objects)
    kept = [~o.ignore for o in objects]
    image_of = said.image_of.tolist()
    outputs, setting = model.ask(seen, heard, model.peaks(seen))
    of_queries = query_losses(
        outputs,
        [objects[b][kept[b]] for b in image_of],
        [(kept[b].cumsum(0) - 1)[m] for b, m in zip(image_of, said.meant)],  # positions among those kept
        setting,
        mean_over_processes,
    )
    return losses | {name: losses.get(name, 0) + value * said.teaches for name, value in of_queries.items()}
