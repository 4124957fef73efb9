"""Cameras and boxes in 3D and their overlaps: plain tensors and arrays, no Detectron2."""

from d2road.structures.boxes3d import Boxes3D
from d2road.structures.camera import Camera
from d2road.structures.iou3d import (
    aligned_giou_3d,
    aligned_giou_bev,
    aligned_iou_3d,
    aligned_iou_bev,
    pairwise_iou_3d,
    pairwise_iou_bev,
)

__all__ = [
    "Boxes3D",
    "Camera",
    "aligned_giou_3d",
    "aligned_giou_bev",
    "aligned_iou_3d",
    "aligned_iou_bev",
    "pairwise_iou_3d",
    "pairwise_iou_bev",
]
