"""Set losses of DiffusionDet over the matches of all decoder stages.

Letters: S stages, B images, N queries, K classes, M objects (padded).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from d2road.structures.boxes2d import iou_and_giou
from d2road.utils.registry import Registry
from diffusion_det.matcher import Targets, match_dynamic_k

# Criteria by the name in MODEL.DiffusionDet.BOX_LOSS: classes of SetCriterion, built with its arguments.
BOX_LOSS_REGISTRY = Registry("MODEL.DiffusionDet.BOX_LOSS")
CROWD_SHARE = 0.5  # of a box inside a crowd region, from which on it is the crowd's


def sigmoid_focal(logits: Tensor, targets: Tensor, alpha: float, gamma: float) -> Tensor:
    """Focal loss of each logit, unreduced.

    Source: Lin et al., Focal Loss for Dense Object Detection, ICCV 2017, Eq. 5.
    """
    prob = logits.sigmoid()
    ce = F.binary_cross_entropy_with_logits(logits, targets, reduction="none")
    miss = prob + targets - 2 * prob * targets  # 1 - p_t
    weight = alpha * targets + (1 - alpha) * (1 - targets)
    return weight * miss**gamma * ce


def federated_classes(present: Tensor, count: int, num_classes: int, frequency_weight: Tensor) -> Tensor:
    """Classes that share in the loss: those present and a weighted draw of others up to `count`.

    Args:
        present: (n,) class of each object of the batch; `num_classes` stands for none.
        frequency_weight: (K,) sampling weight of each class.
    Returns:
        (num_classes,) bool.
    Source: Zhou et al., Probabilistic two-stage detection, 2021 (federated loss for LVIS).
    """
    mask = torch.zeros(num_classes + 1, dtype=torch.bool, device=present.device)
    mask = mask.index_fill(0, present, True)[:-1]
    weight = frequency_weight.to(present.device).float()
    # As torch.multinomial draws without replacement, by a race, but for a number that the host does not know.
    race = torch.where(mask, 0.0, weight) / torch.empty_like(weight).exponential_()
    rank = race.argsort(descending=True).argsort()
    return mask | (rank < count - mask.sum())


def in_crowd(boxes_xyxy: Tensor, crowds_xyxy: Tensor) -> Tensor:
    """Whether CROWD_SHARE of a box lies inside one crowd region, as COCO's evaluation ignores detections.

    Args:
        boxes_xyxy: (G, N, 4); crowds_xyxy: (G, M, 4), of which empty ones hold nothing.
    Returns:
        (G, N) bool.
    """
    boxes, crowds = boxes_xyxy[:, :, None], crowds_xyxy[:, None]
    sides = torch.minimum(boxes[..., 2:], crowds[..., 2:]) - torch.maximum(boxes[..., :2], crowds[..., :2])
    area = (boxes[..., 2:] - boxes[..., :2]).clamp(min=0).prod(-1)
    return ((sides.clamp(min=0).prod(-1) >= CROWD_SHARE * area) & (crowds[..., 2:] > crowds[..., :2]).all(-1)).any(-1)


def of_one_process(counts: Tensor) -> Tensor:
    """Numbers of matched queries as they are, where nothing is averaged over processes."""
    return counts


@dataclass(frozen=True)
class LossOptions:
    """Weights of the losses, which are those of the matching costs too, and the form of the classification loss.

    Args:
        use_focal: sigmoid focal loss over K classes; else softmax over K + 1 with "no object" down-weighted.
        alpha, gamma: of the focal loss.
    """

    class_weight: float = 2.0
    l1_weight: float = 5.0
    giou_weight: float = 2.0
    use_focal: bool = True
    alpha: float = 0.25
    gamma: float = 2.0
    no_object_weight: float = 0.1


@BOX_LOSS_REGISTRY.register(name="set")
class SetCriterion(nn.Module):
    """Set criterion: classification, L1 and GIoU losses of matched queries, each divided by their number.

    Args:
        options: weights and form of the losses.
        candidates: overlaps that vote for the number of queries of an object (OTA_K).
        deep_supervision: all decoder stages learn, else the last alone.
        as_published: see match_dynamic_k.
        fed_loss_weights: (K,) class weights for the federated loss, or None for all classes.
        fed_loss_classes: classes that share in the federated loss.
        mean_over_processes: averages the (S,) numbers of matched queries over the processes of a training, so that
            splitting a batch over processes does not change its losses.
        unseen: classes whose scores have no focal loss, see MODEL.DiffusionDet.TEXT.UNSEEN.
    """

    fed_loss_cls_weights: Tensor | None

    def __init__(
        self,
        *,
        num_classes: int,
        options: LossOptions | None = None,
        candidates: int = 5,
        deep_supervision: bool = True,
        as_published: bool = False,
        fed_loss_weights: Tensor | None = None,
        fed_loss_classes: int = 50,
        mean_over_processes: Callable[[Tensor], Tensor] = of_one_process,
        unseen: Sequence[int] = (),
    ):
        super().__init__()
        self.num_classes = num_classes
        self.options = o = options or LossOptions()
        self.weights = {"loss_ce": o.class_weight, "loss_bbox": o.l1_weight, "loss_giou": o.giou_weight}
        self.candidates = candidates
        self.deep_supervision, self.as_published = deep_supervision, as_published
        self.fed_loss_classes, self.mean_over_processes = fed_loss_classes, mean_over_processes
        self.register_buffer("fed_loss_cls_weights", fed_loss_weights)
        self.unseen = list(unseen)

    def match(self, logits: Tensor, boxes_xyxy: Tensor, targets: Targets) -> Tensor:
        """Object of each query, -1 for none: logits (G, N, K), boxes (G, N, 4) -> (G, N)."""
        return match_dynamic_k(
            logits,
            boxes_xyxy,
            targets,
            use_focal=self.options.use_focal,
            alpha=self.options.alpha,
            gamma=self.options.gamma,
            class_weight=self.options.class_weight,
            l1_weight=self.options.l1_weight,
            giou_weight=self.options.giou_weight,
            candidates=self.candidates,
            as_published=self.as_published,
        )

    def assign(self, logits: Tensor, boxes_xyxy: Tensor, targets: Targets) -> Tensor:
        """Matches of the supervised stages: all, or the last alone without deep supervision.

        Args:
            logits: (S, B, N, K), boxes_xyxy: (S, B, N, 4) pixels.
        Returns:
            (S or 1, B, N) index of the object of each query, -1 for none.
        """
        if not self.deep_supervision:
            logits, boxes_xyxy = logits[-1:], boxes_xyxy[-1:]
        logits, boxes = logits.detach().flatten(0, 1).float(), boxes_xyxy.detach().flatten(0, 1).float()
        return self.match(logits, boxes, targets.repeat(len(boxes_xyxy))).view(boxes_xyxy.shape[:3])

    def count(self, matched: Tensor) -> Tensor:
        """(S,) numbers of matched queries that the losses of each stage are divided by, from (S, B, N) matches."""
        return self.mean_over_processes((matched >= 0).flatten(1).sum(1).float()).clamp(min=1)

    def forward(
        self, logits: Tensor, boxes_xyxy: Tensor, targets: Targets, matched: Tensor | None = None
    ) -> dict[str, Tensor]:
        """Weighted losses by name; stages before the last carry the suffix _0, _1, ...

        Args:
            logits: (S, B, N, K), boxes_xyxy: (S, B, N, 4) pixels.
            matched: what `assign` returns for the same arguments, if it is known already.
        """
        if matched is None:
            matched = self.assign(logits, boxes_xyxy, targets)
        number = self.count(matched)
        logits, boxes_xyxy = logits[-len(matched) :], boxes_xyxy[-len(matched) :]
        stages = len(logits)
        every = targets.repeat(stages)
        logits, boxes = logits.flatten(0, 1).float(), boxes_xyxy.flatten(0, 1).float()
        matched = matched.flatten(0, 1)  # (S * B, N)
        positive = matched >= 0
        counted = torch.ones_like(positive)
        if every.crowds is not None:
            counted = positive | ~in_crowd(boxes.detach(), every.crowds)

        picked = matched.clamp(min=0)
        classes = every.classes.gather(1, picked)
        if self.options.use_focal:
            loss_ce = (self._focal(logits, classes, positive) * counted).view(stages, -1).sum(1) / number
        else:
            loss_ce = self._softmax(logits, classes, positive, counted, stages)

        gt = every.boxes_xyxy.gather(1, picked[..., None].expand(-1, -1, 4))
        whwh = every.whwh[:, None]
        # A query without an object compares the whole image with itself, which is no loss and has no gradient.
        image = torch.cat([torch.zeros_like(whwh[..., :2]), whwh[..., 2:]], dim=-1)
        boxes, gt = (torch.where(positive[..., None], part, image) for part in (boxes, gt))
        box_losses = self.box_losses(boxes, gt, every)
        losses = {name: value.view(stages, -1).sum(1) / number for name, value in box_losses.items()}
        losses = {"loss_ce": loss_ce, **losses}
        suffixes = [f"_{i}" for i in range(stages - 1)] + [""]
        return {
            name + suffix: self.weights[name] * value
            for name, values in losses.items()
            for suffix, value in zip(suffixes, values.unbind())
        }

    def box_losses(self, boxes_xyxy: Tensor, gt_xyxy: Tensor, targets: Targets) -> dict[str, Tensor]:
        """Loss of each query's box by name, unweighted; each must be 0 where the box is the true one.

        Args:
            boxes_xyxy, gt_xyxy: (G, N, 4) pixels, predicted and true.
            targets: of G images times stages.
        Returns:
            (G, N) each.
        """
        whwh = targets.whwh[:, None]
        l1 = (boxes_xyxy / whwh - gt_xyxy / whwh).abs().sum(2)
        return {"loss_bbox": l1, "loss_giou": 1 - iou_and_giou(boxes_xyxy, gt_xyxy)[1]}

    def _focal(self, logits: Tensor, classes: Tensor, positive: Tensor) -> Tensor:
        """Focal loss summed over the classes that count, (S * B, N)."""
        onehot = F.one_hot(classes, self.num_classes).to(logits.dtype) * positive[..., None]
        loss = sigmoid_focal(logits, onehot, self.options.alpha, self.options.gamma)
        if self.fed_loss_cls_weights is not None:
            present = torch.where(positive, classes, self.num_classes).flatten()
            loss = loss * federated_classes(present, self.fed_loss_classes, self.num_classes, self.fed_loss_cls_weights)
        if self.unseen:
            loss = loss.index_fill(-1, torch.tensor(self.unseen, device=loss.device), 0)
        return loss.sum(-1)

    def _softmax(self, logits: Tensor, classes: Tensor, positive: Tensor, counted: Tensor, stages: int) -> Tensor:
        """Mean cross-entropy of the queries that count in each stage, weighted by class, (S,)."""
        wanted = torch.where(positive, classes, self.num_classes).view(stages, -1)
        weight = torch.ones(self.num_classes + 1, device=logits.device)
        weight[-1] = self.options.no_object_weight
        loss = F.cross_entropy(logits.flatten(0, 1), wanted.flatten(), weight, reduction="none")
        counted = counted.view(stages, -1)
        return (loss.view_as(wanted) * counted).sum(1) / (weight[wanted] * counted).sum(1).clamp(min=1e-6)
