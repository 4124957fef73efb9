"""Projection of 3D boxes to 2D boxes, with near-plane clipping of those that reach behind the camera."""

from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from d2road.structures.array_functions import cat, constant, namespace_of

if TYPE_CHECKING:
    from torch import Tensor

Floats = TypeVar("Floats", np.ndarray, "Tensor")

# The edges of a box as pairs of the corners drawn in upright_boxes.py: bottom, top, uprights.
EDGES = ((0, 1), (1, 2), (2, 3), (3, 0), (4, 5), (5, 6), (6, 7), (7, 4), (0, 4), (1, 5), (2, 6), (3, 7))


def project_corners(
    P: Floats, corners: Floats, size_wh: tuple[float, float] | None = None, near_m: float = 0.1
) -> tuple[Floats, Floats]:
    """2D boxes around the part of each 3D box that lies in front of the camera. Differentiable for tensors.

    Edges that pass through the plane at depth `near_m` are cut there, so that a vehicle beside the camera still covers
    its part of the image. Only then is the box clipped to the image.

    Args:
        P: (3, 4) projection.
        corners: (N, 8, 3) camera frame, m, in the order of the drawing in upright_boxes.py.
        size_wh: width and height of the image to clip to; None leaves the boxes as they are.
        near_m: depth of the cutting plane, positive.
    Returns:
        (N, 4) boxes x1 y1 x2 y2 in pixels, NaN for boxes wholly nearer than `near_m`; and (N,) visible: some part is
        in front of the camera and, with `size_wh`, the clipped box has an area.
    """
    xp: Any = namespace_of(corners)
    homogeneous = corners @ P[:, :3].T + P[:, 3]  # (N, 8, 3)
    start, end = (homogeneous[:, [edge[i] for edge in EDGES]] for i in (0, 1))  # (N, 12, 3)
    start_in, end_in = start[..., 2] >= near_m, end[..., 2] >= near_m
    crosses = start_in != end_in
    rise = xp.where(crosses, end[..., 2] - start[..., 2], 1.0)
    cut = start + ((near_m - start[..., 2]) / rise)[..., None] * (end - start)
    points = cat([homogeneous, cut], axis=1)  # (N, 20, 3)
    use = cat([homogeneous[..., 2] >= near_m, crosses], axis=1)
    # Points that are not used get a harmless depth: a division by 0 would spoil the gradient of the others.
    pixels = points[..., :2] / xp.clip(xp.where(use, points[..., 2], 1.0), near_m / 2, None)[..., None]
    low = xp.amin(xp.where(use[..., None], pixels, xp.inf), 1)
    high = xp.amax(xp.where(use[..., None], pixels, -xp.inf), 1)
    boxes, visible = cat([low, high], axis=1), use.any(1)
    if size_wh is not None:
        limit = constant(tuple(size_wh) * 2, boxes)
        boxes = xp.minimum(xp.clip(boxes, 0, None), limit)
        visible = visible & (boxes[:, 2] > boxes[:, 0]) & (boxes[:, 3] > boxes[:, 1])
    return xp.where(use.any(1)[:, None], boxes, xp.nan), visible
