"""Losses of detection and referral: plain functions, in single precision whatever the network computes in.

Sums are divided by numbers of objects or sentences, which the caller averages over the processes of a training
(`mean_over_processes`); without any object they are 0 with gradient 0. Letters: B images, N sentences, C classes,
P objects, K candidates.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from d2road.structures.camera_batch import SceneGeometry
from d2road.utils.uploads import upload
from mono3dvg.detection.dense_head import RawMaps, cells_to_pixels, gather_rows
from mono3dvg.detection.detection_targets import DenseTargets
from mono3dvg.detection.object_losses import IN_2D, NAMES, box_truth, object_losses
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
    hit = targets == 1
    return focal_loss(logits, hit, torch.where(hit, 1.0, (1 - targets) ** beta * weight[:, None]), alpha, number)


def focal_loss(logits: Tensor, positive: Tensor, weight: Tensor, gamma: float, number: Tensor) -> Tensor:
    """Focal binary cross entropy, weighted, summed and over a number, 1 at least.

    Source: Lin et al., Focal Loss for Dense Object Detection, ICCV 2017, Eq. 4.
    """
    wrong = logits.float() * torch.where(positive, -1.0, 1.0)  # logit of being wrong
    return (weight * wrong.sigmoid() ** gamma * F.softplus(wrong)).sum() / number.clamp(min=1)


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
    positive = target == 1
    # Another object's middle may lie in the Gaussian of one that is meant: it is wrong all the same.
    reduced = torch.where(others == 1, 1.0, (1 - target) ** 4)
    weight = torch.where(positive, 1 + hard, reduced * (1 + hard * others))
    return focal_loss(logits, positive, weight, gamma, number)


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
    each = F.binary_cross_entropy_with_logits(logits, truth.expand_as(logits), reduction="none")
    if gamma:
        each = each * (torch.sigmoid(logits) - truth).abs() ** gamma
    number = valid.sum(-1)
    alone = torch.where(valid, each, 0.0).sum(-1) / number.clamp(min=1)  # (..., N)
    spoken = number > 0
    losses = torch.where(spoken, alone + contrast * choice_loss(logits, meant, valid), 0.0)
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
    """Losses of `DenseHead` by name: heat, those of `object_losses.NAMES`; attributes where it has them.

    Args:
        targets: of the same images.
        scene: camera and ground of each image; grounds as they are believed.
        priors_hwl: (C, 3) m, with the host.
        mean: averages numbers of objects and of those with a 3D box (6,), by loss, over processes.
    """
    device, owns, host = raw.heat.device, targets.owns.nonzero()[:, 0], scene.on_host()
    image, cells, objects = targets.image[owns], targets.cells[owns], targets.objects[owns]
    truth = box_truth(
        objects, targets.views[owns], targets.has_middle[owns], cells_to_pixels(cells, raw.heat.shape[-1], stride),
        stride, priors_hwl, host[image],
    ).to(device)  # fmt: skip
    counts = [float(len(owns) if name in IN_2D else objects.has_3d.sum()) for name in NAMES]
    numbers = mean(upload(torch.tensor(counts), device)).clamp(min=1)
    place = upload(image * raw.heat.shape[2] * raw.heat.shape[3] + cells, device)
    sums = object_losses(gather_rows(raw.regression, place), truth) / numbers
    losses = {"heat": heat_loss(raw.heat, targets.heat, targets.weight, numbers[0]), **dict(zip(NAMES, sums.unbind()))}
    if raw.attributes.shape[1]:
        each = gather_rows(raw.attributes, place)
        losses["attributes"] = attribute_loss(each, upload(objects.attributes, device)) / numbers[0]
    return losses


def attribute_loss(logits: Tensor, truths: Tensor) -> Tensor:
    """Cross entropy of attributes (P, L), sum over objects and those attributes of each that are known."""
    each = F.binary_cross_entropy_with_logits(logits.float(), truths.eq(int(YES)).float(), reduction="none")
    return (each * (truths != MAYBE)).sum()
