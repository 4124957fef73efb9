"""SimOTA's dynamic-k assignment by its rule: one object at a time."""

import torch
from torchvision.ops import box_iou, generalized_box_iou

from diffusion_det.matcher import focal_class_cost


def settle(chosen, cost):
    for i in range(len(cost)):
        asking = torch.nonzero(chosen[i]).flatten()
        if len(asking) > 1:
            chosen[i] = torch.arange(cost.shape[1]) == asking[cost[i, asking].argmin()]


def loop_match(logits, boxes, gt, labels, whwh):
    """The rule, one object at a time, with conflicts resolved among the queries in conflict now."""
    if not len(gt):
        return torch.full((len(boxes),), -1)
    iou = box_iou(boxes, gt)
    centers = (boxes[:, :2] + boxes[:, 2:]) / 2
    inside = torch.stack([((centers > g[:2]) & (centers < g[2:])).all(1) for g in gt], 1)
    near = torch.stack([((centers - (g[:2] + g[2:]) / 2).abs() < 2.5 * (g[2:] - g[:2])).all(1) for g in gt], 1)
    cost = 5 * (boxes[:, None] / whwh - gt[None] / whwh).abs().sum(-1)
    cost = cost + 2 * focal_class_cost(logits[None], labels[None], 0.25, 2.0)[0] - 2 * generalized_box_iou(boxes, gt)
    cost = cost + 100.0 * ~inside
    cost[~near.any(1)] += 10000.0
    chosen = torch.zeros_like(cost, dtype=torch.bool)
    for j in range(len(gt)):
        k = max(int(iou[:, j].topk(min(5, len(boxes))).values.sum()), 1)
        chosen[cost[:, j].topk(min(k, len(boxes)), largest=False).indices, j] = True
    settle(chosen, cost)
    while (~chosen.any(0)).any() and (~chosen.any(1)).any():
        cost[chosen.any(1)] += 100000.0
        for j in torch.nonzero(~chosen.any(0)).flatten().tolist():
            chosen[cost[:, j].argmin(), j] = True
        settle(chosen, cost)
    return torch.where(chosen.any(1), chosen.int().argmax(1), -1)
