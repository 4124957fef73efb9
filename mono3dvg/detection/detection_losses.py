"""Losses of detection and referral: plain functions, in single precision whatever the network computes in.

Sums are divided by numbers of objects or sentences, which the caller averages over the processes of a training
(`mean_over_processes`); without any object they are 0 with gradient 0. Letters: B images, N sentences, C classes,
P objects, K candidates.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from d2road.structures.boxes2d import iou_and_giou, with_area
from d2road.structures.camera_batch import SceneGeometry
from d2road.structures.depth_cues import BoxViews
from d2road.structures.headings import heading_loss
from d2road.utils.uploads import upload
from mono3dvg.detection.box_coding import LOG_SIDE_RANGE, LOG_STD_RANGE, MIN_SIDE, RawBoxes, decode, encode
from mono3dvg.detection.dense_head import RawMaps, cells_to_pixels, gather_cells
from mono3dvg.detection.detection_targets import DenseTargets
from mono3dvg.detection.objects import Objects
from mono3dvg.language.form_parts import ANCHOR
from mono3dvg.language.kleene import MAYBE, YES

Mean = Callable[[Tensor], Tensor]


def identity(numbers: Tensor) -> Tensor:
    """The mean over the one process of a training without others."""
    return numbers


def heat_loss(
    logits: Tensor, targets: Tensor, weight: Tensor, number: Tensor, alpha: float = 2.0, beta: float = 4.0
) -> Tensor:
    """Penalty-reduced focal loss.

    Args:
        logits, targets: (B, C, Hf, Wf); targets are 1 at objects and fall off around them.
        weight: (B, Hf, Wf) of cells that are no object.
        number: () of objects.
    Source: Zhou et al., Objects as Points, 2019, Eq. 1.
    """
    logits = logits.float()
    prob = logits.sigmoid()
    hit = targets == 1
    positive = (1 - prob) ** alpha * F.softplus(-logits)
    negative = (1 - targets) ** beta * prob**alpha * F.softplus(logits) * weight[:, None]
    return torch.where(hit, positive, negative).sum() / number.clamp(min=1)


def refer_loss(
    logits: Tensor, target: Tensor, others: Tensor, number: Tensor, *, hard: float = 2.0, gamma: float = 2.0
) -> Tensor:
    """Focal binary cross entropy of the referral maps; background counts little, other objects much.

    Args:
        logits: (N, Hf, Wf).
        target, others: (N, Hf, Wf) Gaussians of the objects that are meant, and of those that are not.
        number: () of objects that sentences mean or do not mean, all together.
        hard: how much more another object's middle weighs than background.
    """
    logits = logits.float()
    prob = logits.sigmoid()
    positive = target == 1
    miss = (1 - prob) ** gamma * F.softplus(-logits)
    # Another object's middle may lie in the Gaussian of one that is meant: it is wrong all the same.
    reduced = torch.where(others == 1, torch.ones_like(target), (1 - target) ** 4)
    false = reduced * (1 + hard * others) * prob**gamma * F.softplus(logits)
    return torch.where(positive, miss * (1 + hard), false).sum() / number.clamp(min=1)


def relation_loss(
    logits: Tensor, meant: Tensor, valid: Tensor, *, contrast: float = 0.5, gamma: float = 0.0
) -> tuple[Tensor, Tensor]:
    """How far the answers to N sentences are off: each candidate by itself, and all of a sentence against each other.

    The first is (focal) binary cross entropy, mean over the candidates; the second the cross entropy of a softmax over
    the candidates and "none" (logit 0) against equal shares for those that are meant, which teaches comparison faster.

    Args:
        logits: (N, K), or (S, N, K) of S blocks, of which the mean is taken.
        meant: (N, K) bool; valid: (N, K) candidates that count.
        contrast: weight of the second part.
    Returns:
        sum over the sentences that have candidates, and their number, to divide by.
    """
    losses, spoken = sentence_losses(logits, meant, valid, contrast=contrast, gamma=gamma)
    return losses.sum(), spoken.sum()


def sentence_losses(
    logits: Tensor, meant: Tensor, valid: Tensor, *, contrast: float = 0.5, gamma: float = 0.0
) -> tuple[Tensor, Tensor]:
    """`relation_loss` of each sentence (N,), 0 where it has no candidates, and 1 where it has some (N,)."""
    logits = logits.float()
    meant = meant & valid
    truth = meant.to(logits.dtype)
    miss = (torch.sigmoid(logits) - truth).abs()
    each = miss**gamma * F.binary_cross_entropy_with_logits(logits, truth.expand_as(logits), reduction="none")
    alone = torch.where(valid, each, torch.zeros_like(each)).sum(-1) / valid.sum(-1).clamp(min=1)  # (..., N)
    spoken = valid.any(-1)
    losses = torch.where(spoken, alone + contrast * choice_loss(logits, meant, valid), torch.zeros_like(alone))
    return losses.flatten(0, -2).mean(0) if losses.ndim > 1 else losses, spoken.to(logits.dtype)


def choice_loss(logits: Tensor, chosen: Tensor, valid: Tensor) -> Tensor:
    """(..., N) cross entropy of a softmax over candidates and "none" (logit 0) against equal shares for the chosen,
    less what equal shares cost at best.

    Args:
        logits: (..., N, K); chosen: (N, K) bool, none where not valid (N, K).
    """
    number = chosen.sum(-1, keepdim=True)
    share = torch.cat([(number == 0).to(logits.dtype), chosen / number.clamp(min=1)], dim=-1)  # (N, 1 + K)
    log_prob = F.pad(logits.masked_fill(~valid, -1e4), (1, 0)).log_softmax(-1)
    return -(share * log_prob).sum(-1) - number[:, 0].clamp(min=1).log()


def parts_loss(logits: Tensor, mentioned: Tensor, truths: Tensor, valid: Tensor) -> Tensor:
    """Cross entropy of the neural modules for the parts of sentences: truth of each part, and whether it is mentioned.

    Args:
        logits: (N, K, P); mentioned: (N, Q), of the first Q parts.
        truths: (N, K, P) of `language.kleene`; MAYBE is not asked, and where all are, the part is not mentioned.
        valid: (N, K) candidates that count.
    Returns:
        sum over the sentences of which anything is known: of each the sum over parts of the mean over candidates, the
        mean over the parts of whether they are mentioned, and the choice of the anchors among the candidates.
    """
    known = (truths != MAYBE) & valid[..., None]
    each = F.binary_cross_entropy_with_logits(logits.float(), truths.eq(int(YES)).float(), reduction="none")
    number = known.sum(1)  # (N, P)
    losses = (each * known).sum(1) / number.clamp(min=1)
    there = (number > 0)[:, : mentioned.shape[1]].float()
    missed = F.binary_cross_entropy_with_logits(mentioned.float(), there, reduction="none").mean(1)
    anchors = choice_loss(logits[..., ANCHOR].float(), known[..., ANCHOR] & (truths[..., ANCHOR] == YES), valid)
    return losses.sum() + (missed * (number > 0).any(1)).sum() + (anchors * (number[:, ANCHOR] > 0)).sum()


def box_losses(
    raw: RawMaps,
    targets: DenseTargets,
    scene: SceneGeometry,
    stride: float,
    priors_hwl: Tensor,
    mean: Mean = identity,
) -> dict[str, Tensor]:
    """Losses of `DenseHead` by name: heat, offset, box2d, giou, depth, dims, heading; attributes where it has them.

    Args:
        targets: of the same images.
        scene: camera and ground of each image; grounds as they are believed.
        priors_hwl: (C, 3) m.
        mean: averages the (2,) numbers of objects and of those with a 3D box over processes.
    """
    both = torch.stack([targets.owns, targets.owns & targets.objects.has_3d]).cpu()  # the one thing that is waited for
    numbers = mean(upload(both.sum(1).float(), raw.heat.device)).clamp(min=1)
    owns, has_3d = (upload(own.nonzero()[:, 0], raw.heat.device) for own in both)
    predicted = raw.at(targets.image, targets.cells)
    cells_px = cells_to_pixels(targets.cells, raw.heat.shape[-1], stride)
    in_2d = losses_2d(predicted[owns], cells_px[owns], targets.objects.boxes_xyxy[owns], stride)
    views = targets.views[has_3d]
    views.in_front = targets.has_middle[has_3d]
    in_3d = losses_3d(
        predicted[has_3d],
        cells_px[has_3d],
        targets.objects[has_3d],
        views,
        scene[targets.image[has_3d]],
        stride,
        priors_hwl,
    )
    return {
        "heat": heat_loss(raw.heat, targets.heat, targets.weight, numbers[0]),
        **{name: value.sum() / numbers[0] for name, value in in_2d.items()},
        **{name: value.sum() / numbers[1] for name, value in in_3d.items()},
        **({"attributes": attribute_loss(raw, targets) / numbers[0]} if raw.attributes.shape[1] else {}),
    }


def attribute_loss(raw: RawMaps, targets: DenseTargets) -> Tensor:
    """Cross entropy of the attributes of objects, sum over objects and those attributes of each that are known."""
    logits = gather_cells(raw.attributes, targets.image, targets.cells).float()
    truths = targets.objects.attributes
    each = F.binary_cross_entropy_with_logits(logits, truths.eq(int(YES)).float(), reduction="none")
    return (each * ((truths != MAYBE) & targets.owns[:, None])).sum()


def losses_2d(predicted: RawBoxes, cells_px: Tensor, boxes_xyxy: Tensor, stride: float) -> dict[str, Tensor]:
    """(P,) losses box2d and giou of predictions at P places (P, 2) in pixels, against boxes (P, 4)."""
    middle = cells_px.repeat(1, 2)
    signs = boxes_xyxy.new_tensor([-1.0, -1, 1, 1])
    sides = ((boxes_xyxy - middle) * signs / stride).clamp(min=MIN_SIDE).log()
    found = middle + predicted.ltrb.clamp(*LOG_SIDE_RANGE).exp() * stride * signs
    giou = iou_and_giou(with_area(found), with_area(boxes_xyxy))[1]
    return {"box2d": (predicted.ltrb - sides).abs().sum(1), "giou": 1 - giou}


def losses_3d(
    predicted: RawBoxes,
    cells_px: Tensor,
    objects: Objects,
    views: BoxViews,
    scene: SceneGeometry,
    stride: float,
    priors_hwl: Tensor,
) -> dict[str, Tensor]:
    """(P,) losses offset, depth, dims and heading of predictions at P places, one object, view and scene each."""
    prior = priors_hwl[objects.classes].float()
    truth = encode(objects.boxes_xyxy, views, objects.rows[:, 3:6], cells_px, stride, prior, scene)
    found = decode(predicted, cells_px, stride, prior, scene)
    placed = views.in_front.float()
    middle, bottom = point_distance(predicted.offset, truth.offset), point_distance(predicted.bottom, truth.bottom)
    return {
        "offset": placed * (middle + bottom),
        "depth": placed * depth_nll(found.log_depths, predicted, views.log_depth, found.usable).sum(1),
        "dims": (predicted.dims - truth.dims).abs().sum(1),
        "heading": heading_loss(predicted.bins, predicted.residuals, views.alpha),
    }


def depth_nll(log_depths: Tensor, predicted: RawBoxes, truth: Tensor, usable: Tensor) -> Tensor:
    """Negative log likelihood (P, 2) of the true log depths (P,), Laplace; 0 for ways that cannot be used."""
    log_std = predicted.log_std.clamp(*LOG_STD_RANGE)
    nll = 2**0.5 * (log_depths - truth[:, None]).abs() * (-log_std).exp() + log_std
    return torch.where(usable, nll, torch.zeros_like(nll))


def point_distance(found: Tensor, wanted: Tensor, near: float = 4.0) -> Tensor:
    """(P,) sum of absolute differences of (P, 2), in cells; from `near` on by its logarithm.

    The middle of a truncated object may lie tens of cells away, where a cell more or less is nothing.
    """
    error = (found - wanted).abs()
    far = near * (1 + (error.clamp(min=near) / near).log())
    # Far from its cell a point is known only in proportion.
    scale = (wanted.abs() / near).clamp(min=1)
    return (torch.where(error < near, error, far) / scale).sum(1)
