"""Which query learns which object: the dynamic-k assignment of simOTA, for all stages, images and objects at once.

Letters: G images times stages, N queries, M objects (padded to the most crowded image), K classes.

A worked example, one image, three queries, two objects:

    cost   a    b          overlaps   a     b
    q0    1.0  9.0         q0        .80   .00      a: top overlaps sum to 1.3 -> k = 1 -> q0
    q1    2.0  3.0         q1        .50   .30      b: top overlaps sum to 0.3 -> k = max(0, 1) = 1 -> q1
    q2    9.0  9.0         q2        .00   .00      q2 learns "no object"
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from d2road.structures.boxes2d import iou_and_giou

OUTSIDE_BOX_COST = 100.0  # centre of the query outside the object
FAR_AWAY_COST = 10000.0  # and outside the surroundings of all objects
TAKEN_COST = 100000.0  # query already serves another object, while an object goes without
# Rounds for objects that go without before which the host asks an accelerator whether there are any. The others run
# unasked, which changes nothing where all are served: asking means to wait.
ASKED_ROUNDS = (0, 2, 8)


@dataclass
class Targets:
    """Objects of G images, padded to the same number M.

    boxes_xyxy (G, M, 4) pixels, whwh (G, 4) pixels of each image, classes (G, M) int64, valid (G, M) bool. Of noised
    boxes also origin (G, N) int64, the object that each was made from, -1 for none, and sigma (G,), their noise level.
    crowds (G, M', 4) pixels, padded with empty boxes: regions whose objects have no class, or None.
    """

    boxes_xyxy: Tensor
    whwh: Tensor
    classes: Tensor
    valid: Tensor
    origin: Tensor | None = None
    sigma: Tensor | None = None
    crowds: Tensor | None = None

    @staticmethod
    def pad(
        boxes_xyxy: list[Tensor], classes: list[Tensor], whwh: Tensor, crowds_xyxy: Sequence[Tensor | None] = (None,)
    ) -> "Targets":
        """Bring lists of (M_i, 4) boxes and (M_i,) classes, one per image, to one shape.

        Args:
            crowds_xyxy: crowd regions (M'_i, 4) of each image; they count where every image tells them.
        """
        most = max([len(c) for c in classes] + [1])
        boxes = whwh.new_zeros(len(classes), most, 4)
        labels = torch.zeros(len(classes), most, dtype=torch.int64, device=whwh.device)
        valid = torch.zeros(len(classes), most, dtype=torch.bool, device=whwh.device)
        for i, (b, c) in enumerate(zip(boxes_xyxy, classes)):
            boxes[i, : len(c)], labels[i, : len(c)], valid[i, : len(c)] = b, c, True
        known = [crowds.to(whwh) for crowds in crowds_xyxy if crowds is not None]
        regions = pad_sequence(known, batch_first=True) if len(known) == len(classes) else None
        return Targets(boxes, whwh, labels, valid, crowds=regions)

    def repeat(self, times: int) -> "Targets":
        """The same targets `times` times, one copy of all images after the other (one per decoder stage)."""
        parts = {field.name: getattr(self, field.name) for field in fields(self)}
        known = {name: part for name, part in parts.items() if part is not None}
        return Targets(**{name: part.repeat(times, *[1] * (part.dim() - 1)) for name, part in known.items()})


def focal_class_cost(logits: Tensor, classes: Tensor, alpha: float, gamma: float) -> Tensor:
    """What choosing each object's class costs beyond "no object".

    Args:
        logits: (G, N, K).
        classes: (G, M).
    Returns:
        (G, N, M).
    """
    prob = logits.sigmoid()
    negative = (1 - alpha) * prob**gamma * -(1 - prob + 1e-8).log()
    positive = alpha * (1 - prob) ** gamma * -(prob + 1e-8).log()
    index = classes[:, None, :].expand(-1, logits.shape[1], -1)
    return (positive - negative).gather(2, index)


def softmax_class_cost(logits: Tensor, classes: Tensor) -> Tensor:
    """Minus the probability of each object's class; logits (G, N, K + 1) -> (G, N, M)."""
    return -logits.softmax(-1).gather(2, classes[:, None, :].expand(-1, logits.shape[1], -1))


@torch.no_grad()
def match_dynamic_k(
    logits: Tensor,
    boxes_xyxy: Tensor,
    targets: Targets,
    *,
    use_focal: bool = True,
    alpha: float = 0.25,
    gamma: float = 2.0,
    class_weight: float = 2.0,
    l1_weight: float = 5.0,
    giou_weight: float = 2.0,
    candidates: int = 5,
    as_published: bool = False,
) -> Tensor:
    """Assign queries to objects: each object takes as many of its cheapest queries as its best overlaps add up to.

    Args:
        logits: (G, N, K) class logits (K + 1 without focal loss).
        boxes_xyxy: (G, N, 4) predicted boxes in pixels.
        candidates: overlaps that vote for the number of queries of an object (OTA_K).
        as_published: settle conflicts as the published code does: a disputed query goes to the object that is cheapest
            for it, even to one that did not ask for it, and late disputes are looked for only among the queries that
            were disputed at first. Otherwise it goes to the cheapest of those that ask, whenever it is disputed.
    Returns:
        (G, N) int64, the object of each query, -1 for none. Where there are fewer queries than objects every query has
        an object and the most expensive objects go without.
    Source: Ge et al., YOLOX, 2021, section 2.1; published DiffusionDet.
    """
    groups, count = boxes_xyxy.shape[:2]
    cost, overlap = _costs(logits, boxes_xyxy, targets, use_focal, alpha, gamma, class_weight, l1_weight, giou_weight)
    wanted = overlap.topk(min(candidates, count), dim=1).values.sum(1).int().clamp(min=1)  # (G, M)
    most = min(candidates, count)  # overlaps are at most 1, so no object wants more
    cheapest = cost.topk(most, dim=1, largest=False).indices  # (G, k, M)
    taken = torch.arange(most, device=cost.device)[None, :, None] < wanted[:, None]
    chosen = torch.zeros_like(cost, dtype=torch.bool).scatter_(1, cheapest, taken & targets.valid[:, None])

    disputed = chosen.sum(2) > 1
    chosen = _settle(chosen, cost, disputed, as_published)
    rounds = None if cost.device.type == "cpu" else ASKED_ROUNDS
    chosen = _serve_lonely(chosen, cost, disputed, targets.valid, as_published, rounds)
    matched = chosen.to(torch.int8).argmax(2)
    return torch.where(chosen.any(2), matched, -1).view(groups, count)


def _serve_lonely(
    chosen: Tensor,
    cost: Tensor,
    disputed: Tensor,
    valid: Tensor,
    as_published: bool,
    asked_rounds: Sequence[int] | None = None,
) -> Tensor:
    """Objects that lost all their queries take the cheapest that is free, round by round.

    Args:
        chosen, cost: (G, N, M); disputed: (G, N), at first; valid: (G, M).
        asked_rounds: rounds before which to look whether it is over; None is each.
    Returns:
        `chosen` after it.
    """
    for number in range(valid.shape[1]):
        lonely = valid & ~chosen.any(1)  # (G, M)
        served = chosen.any(2)  # (G, N)
        lonely &= ~served.all(1, keepdim=True)
        if (asked_rounds is None or number in asked_rounds) and not lonely.any():
            break
        # The published loop adds the cost again in each round, per image and only while that image needs it.
        active = lonely.any(1)[:, None]
        cost = cost + TAKEN_COST * (served & active)[:, :, None]
        best = cost.argmin(1, keepdim=True)  # (G, 1, M)
        chosen = chosen | torch.zeros_like(chosen).scatter_(1, best, lonely[:, None])
        now = chosen.sum(2) > 1
        chosen = _settle(chosen, cost, disputed & now.any(1)[:, None] if as_published else now, as_published)
    return chosen


def _settle(chosen: Tensor, cost: Tensor, rows: Tensor, among_all: bool) -> Tensor:
    """Leave one object to each of the given queries (G, N): the cheapest of those that chose it, or of all."""
    price = cost if among_all else cost.masked_fill(~chosen, torch.inf)
    best = torch.zeros_like(chosen).scatter_(2, price.argmin(2, keepdim=True), True)
    return torch.where(rows[..., None], best, chosen)


def _costs(
    logits: Tensor,
    boxes: Tensor,
    targets: Targets,
    use_focal: bool,
    alpha: float,
    gamma: float,
    class_weight: float,
    l1_weight: float,
    giou_weight: float,
) -> tuple[Tensor, Tensor]:
    """Matching cost and overlap, (G, N, M) each; padded objects cost infinity and overlap nothing."""
    gt = targets.boxes_xyxy
    overlap, giou = iou_and_giou(boxes[:, :, None], gt[:, None])
    if use_focal:
        classes = focal_class_cost(logits, targets.classes, alpha, gamma)
    else:
        classes = softmax_class_cost(logits, targets.classes)
    l1 = torch.cdist(boxes / targets.whwh[:, None], gt / targets.whwh[:, None], p=1)

    center = (boxes[..., :2] + boxes[..., 2:])[:, :, None] / 2  # (G, N, 1, 2)
    low, high = gt[:, None, :, :2], gt[:, None, :, 2:]
    inside = ((center > low) & (center < high)).all(-1)
    middle, reach = (low + high) / 2, 2.5 * (high - low)
    near = ((center > middle - reach) & (center < middle + reach)).all(-1)
    near_any = ((near | inside) & targets.valid[:, None]).any(2, keepdim=True)

    cost = l1_weight * l1 + class_weight * classes - giou_weight * giou + OUTSIDE_BOX_COST * ~(inside & near)
    cost = cost + FAR_AWAY_COST * ~near_any
    padding = ~targets.valid[:, None]
    return cost.masked_fill(padding, torch.inf), overlap.masked_fill(padding, 0)
