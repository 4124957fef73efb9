"""IoU and GIoU of axis-parallel 2D boxes with any leading dimensions."""

import torch
from torch import Tensor


def iou_and_giou(a_xyxy: Tensor, b_xyxy: Tensor) -> tuple[Tensor, Tensor]:
    """Intersection over union and its generalised form, by broadcasting.

    `iou_and_giou(a[..., :, None, :], b[..., None, :, :])` gives all pairs. Boxes need positive area for a finite value.

    Args:
        a_xyxy, b_xyxy: (..., 4), broadcastable.
    Returns:
        iou in [0, 1] and giou in (-1, 1], shaped like the broadcast leading dimensions.
    Source: Rezatofighi et al., Generalized Intersection over Union, CVPR 2019.
    """
    wh_a, wh_b = a_xyxy[..., 2:] - a_xyxy[..., :2], b_xyxy[..., 2:] - b_xyxy[..., :2]
    low, high = a_xyxy[..., :2].max(b_xyxy[..., :2]), a_xyxy[..., 2:].min(b_xyxy[..., 2:])
    inter = (high - low).clamp(min=0).prod(-1)
    union = wh_a.prod(-1) + wh_b.prod(-1) - inter
    hull = (a_xyxy[..., 2:].max(b_xyxy[..., 2:]) - a_xyxy[..., :2].min(b_xyxy[..., :2])).clamp(min=0).prod(-1)
    iou = inter / union
    return iou, iou - (hull - union) / hull


def with_area(boxes_xyxy: Tensor) -> Tensor:
    """Boxes (..., 4) that have an area, if a tiny one, so that overlaps are finite."""
    return torch.cat([boxes_xyxy[..., :2], torch.maximum(boxes_xyxy[..., 2:], boxes_xyxy[..., :2] + 1e-3)], dim=-1)
