"""Sutherland-Hodgman clipping of convex polygons."""

import numpy as np


def clip_convex(points: np.ndarray, inside: np.ndarray) -> np.ndarray:
    """The part of a convex polygon, or of the line between two points, in which a linear function is >= 0.

    Args:
        points: (K, D) corners in order, or two ends.
        inside: (K,) the function's values at the points.
    Returns:
        (L, D) points in the same order; L = 0 where nothing is left.
    Source: Sutherland and Hodgman, Reentrant polygon clipping, CACM 1974.
    """
    stays = inside >= 0
    if stays.all():
        return np.asarray(points, dtype=np.float64)
    kept = []
    for i in range(len(points)):
        j = i - 1
        if stays[i] != stays[j] and (i or len(points) > 2):  # a line has no closing edge
            kept.append(points[j] + (points[i] - points[j]) * (inside[j] / (inside[j] - inside[i])))
        if stays[i]:
            kept.append(points[i])
    return np.array(kept, dtype=np.float64).reshape(-1, points.shape[1])
