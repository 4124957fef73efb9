"""Grounding criterion: the losses of a batch from outputs and targets, in the manner of DETR's SetCriterion.

Letters: B images, N sentences, K candidates.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from d2road.engine.distributed import mean_over_processes
from d2road.utils.uploads import upload
from mono3dvg.data.model_inputs import Sentences, objects_of, sentences_of
from mono3dvg.detection.detection_losses import box_losses, parts_loss, refer_loss, sentence_losses
from mono3dvg.detection.detection_targets import (
    DenseTargets,
    dense_targets,
    part_targets,
    refer_targets,
    relation_targets,
)
from mono3dvg.detection.labelled_candidates import match_objects
from mono3dvg.detection.objects import Objects
from mono3dvg.detection.query_head import DecodeContext, RawQueries
from mono3dvg.detection.query_losses import query_losses
from mono3dvg.grounding_features import GroundingOutputs, ImageFeatures, ScoredCandidates


@dataclass
class GroundingTargets:
    """Labels of a batch, with the host as they come: objects of each of B images, and the sentences about them (None: a
    stage without)."""

    objects: list[Objects]
    sentences: Sentences | None


def read_targets(
    batched_inputs: Sequence[dict], device: torch.device | str, with_sentences: bool = True
) -> GroundingTargets:
    """Targets of Detectron2's input dicts, see `Mono3DVG.forward`.

    Raises:
        DataError: an image without labels, targets that it does not have.
    """
    objects = [objects_of(x) for x in batched_inputs]
    sentences = sentences_of(batched_inputs, [len(o) for o in objects], device) if with_sentences else None
    return GroundingTargets(objects, sentences)


class GroundingCriterion(nn.Module):
    """Weighted losses by name: `criterion(outputs, targets)`; of outputs that are not there, there are none.

    Args:
        priors_hwl: (C, 3) m, stride: side of a cell in pixels, ry_frame: "camera" or "ground"; as the heads have them.
        match_iou: a peak is the object that its 2D box overlaps by this.
        weights: by name; 1 for those left out.
    """

    def __init__(
        self,
        priors_hwl: Sequence[Sequence[float]],
        stride: int,
        ry_frame: str,
        match_iou: float = 0.5,
        weights: Mapping[str, float] | None = None,
    ):
        super().__init__()
        self.stride, self.ry_frame, self.match_iou, self.weights = stride, ry_frame, match_iou, dict(weights or {})
        self.priors_hwl = torch.tensor(priors_hwl)  # with the host, as all that targets are made from

    def forward(self, outputs: GroundingOutputs, targets: GroundingTargets) -> dict[str, Tensor]:
        """Losses `loss_NAME` of a batch."""
        losses: dict[str, Tensor] = {}
        if outputs.image is not None:
            losses = self._detection(outputs.image, outputs.refer, targets)
        if targets.sentences is not None:
            if outputs.scored is not None:
                losses |= self._scored_losses(outputs.scored, targets.objects, targets.sentences)
                losses |= _presence_losses(outputs.scored, targets.sentences)
            if outputs.queries is not None:
                # The dense head, where queries start, is the first stage of the decoder.
                for name, value in _query_losses(*outputs.queries, targets.objects, targets.sentences).items():
                    losses[name] = losses.get(name, 0) + value * targets.sentences.teaches
        if outputs.unused is not None:
            # Distributed training waits for a gradient of every parameter.
            first = next(iter(losses))
            losses[first] = losses[first] + 0 * outputs.unused
        weights = {name: self.weights.get(name, 1.0) for name in losses}
        return {
            f"loss_{name}": value if weights[name] == 1 else weights[name] * value for name, value in losses.items()
        }

    def _detection(self, image: ImageFeatures, refer: Tensor | None, targets: GroundingTargets) -> dict[str, Tensor]:
        """Losses of the dense head, and of the referral maps if there are any."""
        scene, map_hw = image.batch.scene, (image.raw.heat.shape[2], image.raw.heat.shape[3])
        dense = dense_targets(targets.objects, scene, len(self.priors_hwl), map_hw, self.stride, self.ry_frame)
        losses = box_losses(image.raw, dense, scene, self.stride, self.priors_hwl, mean_over_processes)
        if refer is not None and targets.sentences is not None:
            losses["refer"] = _referral_loss(refer, dense, targets.sentences)
        return losses

    def _scored_losses(
        self, scored: ScoredCandidates, objects: Sequence[Objects], sentences: Sentences
    ) -> dict[str, Tensor]:
        """relation and parts on labelled objects, relation_peaks: the means over sentences."""
        found, sets, batch = scored.candidates, scored.sets, len(objects)
        position = torch.arange(found.cells.shape[1], device=found.cells.device).expand(batch, -1)
        # (B, K) each: the object that a candidate is, below 0 none, below -1 in doubt
        matched = [position if name == "labelled" else match_objects(found[batch * z : batch * (z + 1)], objects,
                                                                     self.match_iou)
                   for z, name in enumerate(sets)]  # fmt: skip
        joined = torch.cat(matched)
        counts = (found.valid & (joined >= -1))[scored.rows] & sentences.teaches
        meant = relation_targets(joined, sentences.meant * len(sets), scored.rows)
        each, spoken = sentence_losses(scored.scores.answers, meant, counts)  # (Z * N,)
        numbers = mean_over_processes(spoken.unflatten(0, (len(sets), -1)).sum(1)).clamp(min=1)
        means = dict(zip(sets, (each.unflatten(0, (len(sets), -1)).sum(1) / numbers).unbind()))
        own = slice(len(sentences.meant))  # of the labelled, which come first
        truths = part_targets(position, sentences.parts, sentences.image_of)
        parts = parts_loss(scored.scores.parts[own], scored.scores.mentioned[own], truths, counts[own])
        losses = {"relation": means.pop("labelled"), "parts": parts / numbers[0]}
        return losses | {f"relation_{name}": value for name, value in means.items()}


def _referral_loss(refer: Tensor, dense: DenseTargets, sentences: Sentences) -> Tensor:
    target, others = refer_targets(dense, sentences.meant, sentences.images)
    objects = sum(image == own for own in sentences.images for image in dense.image.tolist()) * sentences.teaches
    number = torch.full((), float(objects), device=refer.device)
    return sentences.teaches * refer_loss(refer, target, others, mean_over_processes(number))


def _presence_losses(scored: ScoredCandidates, sentences: Sentences) -> dict[str, Tensor]:
    """presence: the cross entropy on labelled objects and on peaks, the mean over sentences of their sum."""
    logits = scored.scores.presence
    if logits is None:
        return {}
    truth = torch.tensor([float(len(meant) > 0) for meant in sentences.meant] * len(scored.sets), dtype=logits.dtype)
    total = F.binary_cross_entropy_with_logits(logits, upload(truth, logits.device), reduction="sum")
    count = len(sentences.meant) * sentences.teaches
    number = mean_over_processes(torch.full((), float(count), device=logits.device)).clamp(min=1)
    return {"presence": sentences.teaches * total / number}


def _query_losses(
    outputs: Sequence[RawQueries], context: DecodeContext, objects: Sequence[Objects], sentences: Sentences
) -> dict[str, Tensor]:
    kept = [~o.ignore for o in objects]
    return query_losses(
        outputs,
        [objects[b][kept[b]] for b in sentences.images],
        [(kept[b].cumsum(0) - 1)[m] for b, m in zip(sentences.images, sentences.meant)],  # positions among those kept
        context,
        mean_over_processes,
    )
