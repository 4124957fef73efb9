"""Hungarian matcher of queries with labelled objects, and the losses of the matched pairs.

Letters: B images, N sentences, Q queries, C classes, M objects, P matched queries.
"""

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from d2road.structures.boxes2d import iou_and_giou, with_area
from d2road.structures.camera_batch import upright_frame
from d2road.structures.depth_cues import view_boxes
from d2road.utils.uploads import upload
from mono3dvg.detection.box_coding import LOG_SIDE_RANGE, RawBoxes
from mono3dvg.detection.detection_losses import Mean, identity
from mono3dvg.detection.object_losses import IN_2D, NAMES, box_truth, object_losses
from mono3dvg.detection.objects import Objects, cat_objects, pad_objects
from mono3dvg.detection.query_head import DecodeContext, RawQueries


@torch.no_grad()
def match_queries(raw: RawQueries, objects: Sequence[Objects], context: DecodeContext) -> list[tuple]:
    """Hungarian matching of queries to all objects of each sentence's image, whether meant or not.

    Returns:
        for each sentence the queries and the objects of the pairs, index tensors of the host.
    Source: Carion et al., End-to-End Object Detection with Transformers, ECCV 2020; focal class cost of Zhu et al.,
    Deformable DETR, ICLR 2021; weights 2, 5, 2.
    """
    return assign_queries([query_costs(raw, objects, context)], objects)[0]


def query_costs(raw: RawQueries, objects: Sequence[Objects], context: DecodeContext) -> Tensor:
    """Matching costs (N, Q, M) of queries and objects, infinite for queries that are none and for padding."""
    labels, there = pad_objects(objects, raw.heat.device)
    predicted = RawBoxes.unpack(raw.regression)
    sides = predicted.ltrb.clamp(*LOG_SIDE_RANGE).exp() * context.stride
    places = context.centers(raw.cells)
    boxes = torch.cat([places - sides[..., :2], places + sides[..., 2:]], dim=-1)
    size = context.sizes_hw.to(boxes).flip(-1).repeat(1, 2)[:, None]
    wanted = labels.boxes_xyxy.float()
    classes = labels.classes[:, None].expand(-1, boxes.shape[1], -1)
    prob = raw.heat.float().sigmoid().gather(2, classes)  # (N, Q, M)
    cost = 0.25 * (1 - prob) ** 2 * -prob.clamp(min=1e-8).log() - 0.75 * prob**2 * -(1 - prob).clamp(min=1e-8).log()
    cost = 2 * cost + 5 * torch.cdist(boxes / size, wanted / size, p=1)
    cost = cost - 2 * iou_and_giou(with_area(boxes)[:, :, None], with_area(wanted)[:, None])[1]
    possible = raw.valid[:, :, None] & there[:, None]
    return torch.where(possible, cost.nan_to_num(1e4, 1e4, -1e4), torch.inf)


def assign_queries(costs: Sequence[Tensor], objects: Sequence[Objects]) -> list[list[tuple]]:
    """Pairs of `match_queries` for each of several `query_costs`; all of them go to the host at once, who assigns."""
    from scipy.optimize import linear_sum_assignment  # scipy.optimize takes half a second

    stages = []
    for cost in torch.stack(list(costs)).cpu().numpy():
        pairs = []
        for own, labels in zip(cost, objects):
            there = np.flatnonzero(np.isfinite(own[:, : len(labels)]).any(1))
            rows, columns = linear_sum_assignment(own[there, : len(labels)])
            pairs.append((torch.as_tensor(there[rows]), torch.as_tensor(columns)))
        stages.append(pairs)
    return stages


def query_losses(
    outputs: Sequence[RawQueries],
    objects: Sequence[Objects],
    meant: Sequence[Tensor],
    context: DecodeContext,
    mean: Mean = identity,
) -> dict[str, Tensor]:
    """Losses by name, summed over the stages: heat, refer, box2d, giou, offset, depth, dims, heading.

    Args:
        objects: of each sentence's image, none to be ignored; meant: positions of the targets among them; both with
            the host.
    """
    totals: dict[str, Tensor] = {}
    with torch.no_grad():
        pairs = assign_queries([query_costs(raw, objects, context) for raw in outputs], objects)
    for raw, matched in zip(outputs, pairs):
        for name, value in _stage_losses(raw, matched, objects, meant, context, mean).items():
            totals[name] = totals.get(name, 0) + value
    return totals


def _stage_losses(
    raw: RawQueries,
    pairs: Sequence[tuple[Tensor, Tensor]],
    objects: Sequence[Objects],
    meant: Sequence[Tensor],
    context: DecodeContext,
    mean: Mean,
) -> dict[str, Tensor]:
    device = raw.heat.device
    query = upload(torch.cat([rows for rows, _ in pairs]), device)
    chosen = [labels[columns.to(labels.classes.device)] for labels, (_, columns) in zip(objects, pairs)]
    known = torch.cat([labels.has_3d for labels in chosen])
    counts = [float(len(known) if name in IN_2D else known.sum()) for name in NAMES]
    numbers = mean(upload(torch.tensor(counts), device)).clamp(min=1)
    wanted = upload(torch.cat([torch.isin(columns, m.to(columns)) for m, (_, columns) in zip(meant, pairs)]), device)
    labels, sentence, _ = cat_objects(chosen, device)
    each = context.scene[sentence]
    views = view_boxes(labels.rows, each.cameras, upright_frame(each, context.ry_frame))
    truth = box_truth(
        labels, views, views.in_front, context.centers(raw.cells[sentence, query]), context.stride, context.priors_hwl,
        each,
    )  # fmt: skip
    sums = object_losses(raw.regression[sentence, query], truth)
    heat = torch.zeros_like(raw.heat, dtype=torch.float32)
    heat[sentence, query, labels.classes] = 1.0
    refer = torch.zeros_like(raw.referral, dtype=torch.float32)
    refer[sentence, query] = wanted.float()
    return {
        "heat": (_focal(raw.heat, heat) * raw.valid[..., None]).sum() / numbers[0],
        "refer": (_focal(raw.referral, refer) * raw.valid).sum() / numbers[0],
        **dict(zip(NAMES, (sums / numbers).unbind())),
    }


def _focal(logits: Tensor, targets: Tensor, alpha: float = 0.5, gamma: float = 2.0) -> Tensor:
    """Focal loss of each logit. Source: Lin et al., Focal Loss for Dense Object Detection, ICCV 2017, Eq. 5."""
    logits = logits.float()
    miss = (logits.sigmoid() - targets).abs()
    weight = alpha * targets + (1 - alpha) * (1 - targets)
    return weight * miss**gamma * F.binary_cross_entropy_with_logits(logits, targets, reduction="none")
