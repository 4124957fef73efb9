"""Cameras and boxes in 3D and their overlaps: plain tensors and arrays, no Detectron2.

What is named here is loaded when it is asked for, so that the modules that are plain numpy, such as `camera` and
`roadside_camera`, do without torch.
"""

from typing import TYPE_CHECKING

from d2road.utils.lazy_package import lazy_package

if TYPE_CHECKING:
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
    from d2road.structures.roadside_camera import RoadsideCamera

__all__ = [
    "Boxes3D",
    "Camera",
    "RoadsideCamera",
    "aligned_giou_3d",
    "aligned_giou_bev",
    "aligned_iou_3d",
    "aligned_iou_bev",
    "pairwise_iou_3d",
    "pairwise_iou_bev",
]

__getattr__ = lazy_package(
    __name__,
    {
        "Boxes3D": "boxes3d",
        "Camera": "camera",
        "RoadsideCamera": "roadside_camera",
        "aligned_giou_3d": "iou3d",
        "aligned_giou_bev": "iou3d",
        "aligned_iou_3d": "iou3d",
        "aligned_iou_bev": "iou3d",
        "pairwise_iou_3d": "iou3d",
        "pairwise_iou_bev": "iou3d",
    },
)
