"""Overlaps of boxes by shapely (upright boxes) and by scipy's half-space intersection (any orientation)."""

import numpy as np
import torch
from scipy.optimize import linprog
from scipy.spatial import ConvexHull, HalfspaceIntersection
from shapely import MultiPoint, Polygon

from d2road.structures import Boxes3D


def shapely_overlaps(a, b):
    """IoU from above, IoU, and their generalised forms by shapely, in float64."""
    p, q = (Polygon(Boxes3D.from_kitti(torch.tensor([v], dtype=torch.float64)).bev_polygons()[0]) for v in (a, b))
    overlap, union = p.intersection(q).area, p.area + q.area - p.intersection(q).area
    hull = MultiPoint([*p.exterior.coords, *q.exterior.coords]).convex_hull.area
    shared = max(0.0, min(a[1], b[1]) - max(a[1] - a[3], b[1] - b[3]))
    extent = max(a[1], b[1]) - min(a[1] - a[3], b[1] - b[3])
    volume = overlap * shared
    total = p.area * a[3] + q.area * b[3] - volume
    giou_3d = volume / total - (hull * extent - total) / (hull * extent)
    return overlap / union, volume / total, overlap / union - (hull - union) / hull, giou_3d


def half_space_iou(a: np.ndarray, b: np.ndarray) -> float:
    """By scipy: the hull of the intersection of all half-spaces, from the centre of the largest ball in it."""
    planes = np.concatenate([ConvexHull(box).equations for box in (a, b)])
    rows = np.column_stack([planes[:, :3], np.ones(len(planes))])
    ball = linprog([0, 0, 0, -1], A_ub=rows, b_ub=-planes[:, 3], bounds=[(None, None)] * 4)
    if ball.x[3] <= 1e-7:
        return 0.0
    inter = ConvexHull(HalfspaceIntersection(planes, ball.x[:3]).intersections).volume
    return inter / (ConvexHull(a).volume + ConvexHull(b).volume - inter)
