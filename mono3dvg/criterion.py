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
from mono3dvg.detection.candidates import Candidates
from mono3dvg.detection.detection_losses import box_losses, parts_loss, refer_loss, relation_loss
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
        self.priors_hwl: Tensor
        self.register_buffer("priors_hwl", torch.tensor(priors_hwl), persistent=False)

    def forward(self, outputs: GroundingOutputs, targets: GroundingTargets) -> dict[str, Tensor]:
        """Losses `loss_NAME` of a batch."""
        losses: dict[str, Tensor] = {}
        if outputs.image is not None:
            losses = self._detection(outputs.image, outputs.refer, targets)
        if targets.sentences is not None:
            if outputs.labelled is not None:
                losses |= _labelled_losses(outputs.labelled, targets.sentences)
            if outputs.peaks is not None:
                losses["relation_peaks"] = self._peak_loss(outputs.peaks, targets.objects, targets.sentences)
            losses |= _presence_losses(outputs, targets.sentences)
            if outputs.queries is not None:
                # The dense head, where queries start, is the first stage of the decoder.
                for name, value in _query_losses(*outputs.queries, targets.objects, targets.sentences).items():
                    losses[name] = losses.get(name, 0) + value * targets.sentences.teaches
        if outputs.unused is not None:
            # Distributed training waits for a gradient of every parameter.
            first = next(iter(losses))
            losses[first] = losses[first] + 0 * outputs.unused
        return {f"loss_{name}": self.weights.get(name, 1.0) * value for name, value in losses.items()}

    def _detection(self, image: ImageFeatures, refer: Tensor | None, targets: GroundingTargets) -> dict[str, Tensor]:
        """Losses of the dense head, and of the referral maps if there are any."""
        scene, map_hw = image.batch.scene, (image.raw.heat.shape[2], image.raw.heat.shape[3])
        dense = dense_targets(targets.objects, scene, len(self.priors_hwl), map_hw, self.stride, self.ry_frame)
        losses = box_losses(image.raw, dense, scene, self.stride, self.priors_hwl, mean_over_processes)
        if refer is not None and targets.sentences is not None:
            losses["refer"] = _referral_loss(refer, dense, targets.sentences)
        return losses

    def _peak_loss(self, peaks: ScoredCandidates, objects: Sequence[Objects], sentences: Sentences) -> Tensor:
        matched = match_objects(peaks.candidates, objects, self.match_iou)
        return _relation_loss(peaks, matched, sentences, _counting(peaks.candidates, matched, sentences))[0]


def _referral_loss(refer: Tensor, dense: DenseTargets, sentences: Sentences) -> Tensor:
    target, others = refer_targets(dense, sentences.meant, sentences.images)
    objects = sum(image == own for own in sentences.images for image, _ in dense.places) * sentences.teaches
    number = torch.full((), float(objects), device=refer.device)
    return sentences.teaches * refer_loss(refer, target, others, mean_over_processes(number))


def _labelled_losses(labelled: ScoredCandidates, sentences: Sentences) -> dict[str, Tensor]:
    """relation and parts on labelled objects."""
    cells = labelled.candidates.cells
    position = torch.arange(cells.shape[1], device=cells.device).expand_as(cells)
    counts = _counting(labelled.candidates, position, sentences)
    relation, number = _relation_loss(labelled, position, sentences, counts)
    truths = part_targets(position, sentences.parts, sentences.image_of)
    parts = parts_loss(labelled.scores.parts, labelled.scores.mentioned, truths, counts)
    return {"relation": relation, "parts": parts / number}


def _presence_losses(outputs: GroundingOutputs, sentences: Sentences) -> dict[str, Tensor]:
    """presence: the cross entropy on labelled objects and on peaks, the mean over sentences of their sum."""
    scored = [s.scores.presence for s in (outputs.labelled, outputs.peaks) if s is not None]
    logits = [presence for presence in scored if presence is not None]
    if not logits:
        return {}
    truth = torch.tensor([float(len(meant) > 0) for meant in sentences.meant], dtype=logits[0].dtype)
    truth = upload(truth, logits[0].device)
    total = torch.stack([F.binary_cross_entropy_with_logits(one, truth, reduction="sum") for one in logits]).sum()
    number = mean_over_processes(truth.new_tensor(float(len(truth) * sentences.teaches))).clamp(min=1)
    return {"presence": sentences.teaches * total / number}


def _counting(candidates: Candidates, matched: Tensor, sentences: Sentences) -> Tensor:
    """(N, K) whether a candidate counts; `matched` (B, K) is its object, below 0 none, below -1 in doubt."""
    return (candidates.valid & (matched >= -1))[sentences.image_of] & sentences.teaches


def _relation_loss(
    scored: ScoredCandidates, matched: Tensor, sentences: Sentences, counts: Tensor
) -> tuple[Tensor, Tensor]:
    """The mean over sentences, and their number."""
    meant = relation_targets(matched, sentences.meant, sentences.image_of)
    total, number = relation_loss(scored.scores.answers, meant, counts)
    number = mean_over_processes(number).clamp(min=1)
    return total / number, number


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
