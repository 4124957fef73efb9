"""Hungarian matcher of queries with labelled objects, and the losses of the matched pairs.

Letters: B images, N sentences, Q queries, C classes, M objects, P matched queries.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from d2road.structures.boxes2d import iou_and_giou, with_area
from d2road.structures.camera_batch import upright_frame
from d2road.structures.depth_cues import view_boxes
from mono3dvg.detection.box_coding import LOG_SIDE_RANGE, RawBoxes
from mono3dvg.detection.detection_losses import Mean, identity, losses_2d, losses_3d
from mono3dvg.detection.objects import Objects, cat_objects
from mono3dvg.detection.query_head import DecodeContext, RawQueries


@torch.no_grad()
def match_queries(raw: RawQueries, objects: Sequence[Objects], context: DecodeContext) -> list[tuple]:
    """Hungarian matching of queries to all objects of each sentence's image, whether meant or not.

    Returns:
        for each sentence the queries and the objects of the pairs, index tensors.
    Source: Carion et al., End-to-End Object Detection with Transformers, ECCV 2020; focal class cost of Zhu et al.,
    Deformable DETR, ICLR 2021; weights 2, 5, 2.
    """
    predicted = RawBoxes.unpack(raw.regression)
    sides = predicted.ltrb.clamp(*LOG_SIDE_RANGE).exp() * context.stride
    places = context.centers(raw.cells)
    boxes = torch.cat([places - sides[..., :2], places + sides[..., 2:]], dim=-1)
    size = context.sizes_hw.to(boxes).flip(-1).repeat(1, 2)
    pairs = []
    for n, labels in enumerate(objects):
        prob = raw.heat[n].float().sigmoid()[:, labels.classes]  # (Q, M)
        cost = 0.25 * (1 - prob) ** 2 * -prob.clamp(min=1e-8).log() - 0.75 * prob**2 * -(1 - prob).clamp(min=1e-8).log()
        cost = 2 * cost + 5 * torch.cdist(boxes[n] / size[n], labels.boxes_xyxy.float() / size[n], p=1)
        cost = cost - 2 * iou_and_giou(with_area(boxes[n])[:, None], with_area(labels.boxes_xyxy.float())[None])[1]
        there = torch.where(raw.valid[n])[0]
        rows, columns = linear_sum_assignment(cost[there].nan_to_num(1e4, 1e4, -1e4).cpu().numpy())
        rows, columns = (torch.as_tensor(part, device=boxes.device) for part in (rows, columns))
        pairs.append((there[rows], columns))
    return pairs


def query_losses(
    outputs: Sequence[RawQueries],
    objects: Sequence[Objects],
    meant: Sequence[Tensor],
    context: DecodeContext,
    mean: Mean = identity,
) -> dict[str, Tensor]:
    """Losses by name, summed over the stages: heat, refer, box2d, giou, offset, depth, dims, heading.

    Args:
        objects: of each sentence's image, none to be ignored; meant: positions of the targets among them.
    """
    totals: dict[str, Tensor] = {}
    for raw in outputs:
        for name, value in _stage_losses(raw, objects, meant, context, mean).items():
            totals[name] = totals.get(name, 0) + value
    return totals


def _stage_losses(
    raw: RawQueries, objects: Sequence[Objects], meant: Sequence[Tensor], context: DecodeContext, mean: Mean
) -> dict[str, Tensor]:
    pairs = match_queries(raw, objects, context)
    query = torch.cat([rows for rows, _ in pairs])
    labels, sentence, _ = cat_objects([labels[columns] for labels, (_, columns) in zip(objects, pairs)])
    wanted = torch.cat([torch.isin(columns, m.to(columns)) for m, (_, columns) in zip(meant, pairs)])
    each = context.scene[sentence]
    views = view_boxes(labels.rows, each.cameras, upright_frame(each, context.ry_frame))
    predicted = RawBoxes.unpack(raw.regression[sentence, query])
    places = context.centers(raw.cells[sentence, query])
    has_3d = labels.has_3d
    numbers = mean(torch.stack([has_3d.new_tensor(len(has_3d), dtype=torch.float32), has_3d.sum().float()]))
    numbers = numbers.clamp(min=1)
    heat = torch.zeros_like(raw.heat, dtype=torch.float32)
    heat[sentence, query, labels.classes] = 1
    refer = torch.zeros_like(raw.referral, dtype=torch.float32)
    refer[sentence, query] = wanted.float()
    in_2d = losses_2d(predicted, places, labels.boxes_xyxy, context.stride)
    in_3d = losses_3d(
        predicted[has_3d],
        places[has_3d],
        labels[has_3d],
        views[has_3d],
        each[has_3d],
        context.stride,
        context.priors_hwl,
    )
    return {
        "heat": (_focal(raw.heat, heat) * raw.valid[..., None]).sum() / numbers[0],
        "refer": (_focal(raw.referral, refer) * raw.valid).sum() / numbers[0],
        **{name: value.sum() / numbers[0] for name, value in in_2d.items()},
        **{name: value.sum() / numbers[1] for name, value in in_3d.items()},
    }


def _focal(logits: Tensor, targets: Tensor, alpha: float = 0.5, gamma: float = 2.0) -> Tensor:
    """Focal loss of each logit. Source: Lin et al., Focal Loss for Dense Object Detection, ICCV 2017, Eq. 5."""
    logits = logits.float()
    miss = (logits.sigmoid() - targets).abs()
    weight = alpha * targets + (1 - alpha) * (1 - targets)
    return weight * miss**gamma * F.binary_cross_entropy_with_logits(logits, targets, reduction="none")
