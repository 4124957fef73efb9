"""Visibility of vehicles in a camera: their boxes in the image, and the share of each that is seen.

A nearer vehicle hides what its image box covers of a farther one's. Boxes of silhouettes cover a little more than the
silhouettes, so a share is a lower bound; parameters of seeing are fitted on shares computed in the same way.

Letters: N vehicles (of one frame), P sample points of a box.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:  # its package loads torch
    from d2road.structures.roadside_camera import RoadsideCamera

GRID = 6  # sample points of a box a side


def image_boxes(
    camera: RoadsideCamera, centers: np.ndarray, heading_rad: np.ndarray, sizes_m: np.ndarray
) -> np.ndarray:
    """Image boxes x1 y1 x2 y2 (N, 4) of 3D boxes that stand on the ground; NaN where a corner is behind the camera.

    Args:
        centers: (N, 2) of the bottom faces in the ground frame, m.
        heading_rad: (N,). sizes_m: (N, 3) length, width, height.
    """
    signs = np.array([(a, b, c) for a in (-0.5, 0.5) for b in (-0.5, 0.5) for c in (0.0, 1.0)])
    local = signs[None] * sizes_m[:, None, :]  # (N, 8, 3)
    cos, sin = np.cos(heading_rad)[:, None], np.sin(heading_rad)[:, None]
    x = centers[:, None, 0] + local[..., 0] * cos - local[..., 1] * sin
    y = centers[:, None, 1] + local[..., 0] * sin + local[..., 1] * cos
    pixels = camera.ground_to_image(np.stack([x, y, local[..., 2]], axis=-1))
    return np.concatenate([pixels.min(axis=1), pixels.max(axis=1)], axis=1)


def visible_shares(boxes: np.ndarray, distance_m: np.ndarray, width: int, height: int) -> np.ndarray:
    """Share of each image box that is inside of the image and covered by no box of a nearer vehicle: (N,).

    Args:
        boxes: (N, 4) x1 y1 x2 y2; NaN counts as not seen, and hides nobody. distance_m: (N,).
    """
    if not len(boxes):
        return np.zeros(0)
    steps = (np.arange(GRID) + 0.5) / GRID
    x = boxes[:, 0, None] + steps * (boxes[:, 2] - boxes[:, 0])[:, None]
    y = boxes[:, 1, None] + steps * (boxes[:, 3] - boxes[:, 1])[:, None]
    with np.errstate(invalid="ignore"):
        free = ((y >= 0) & (y < height))[:, :, None] & ((x >= 0) & (x < width))[:, None, :]  # (N, GRID, GRID)
        nearer = distance_m[None, :] < distance_m[:, None]
        overlap = (boxes[:, None, 0] < boxes[None, :, 2]) & (boxes[None, :, 0] < boxes[:, None, 2])
        overlap &= (boxes[:, None, 1] < boxes[None, :, 3]) & (boxes[None, :, 1] < boxes[:, None, 3])
        for i, j in np.argwhere(nearer & overlap):
            in_x = (x[i] >= boxes[j, 0]) & (x[i] <= boxes[j, 2])
            in_y = (y[i] >= boxes[j, 1]) & (y[i] <= boxes[j, 3])
            free[i] &= ~(in_y[:, None] & in_x[None, :])
    return free.reshape(len(boxes), -1).mean(axis=1)


def shares_by_frame(
    camera: RoadsideCamera, t: np.ndarray, centers: np.ndarray, heading_rad: np.ndarray, sizes_m: np.ndarray
) -> np.ndarray:
    """Visible share (N,) of vehicles of many frames; rows of one t are a frame."""
    boxes = image_boxes(camera, centers, heading_rad, sizes_m)
    distance = np.hypot(centers[:, 0], centers[:, 1])
    order = np.argsort(t, kind="stable")
    starts = np.flatnonzero(np.diff(t[order], prepend=-np.inf) > 0)
    shares = np.empty(len(t))
    for rows in np.split(order, starts[1:]) if len(t) else []:
        shares[rows] = visible_shares(boxes[rows], distance[rows], camera.width, camera.height)
    return shares
