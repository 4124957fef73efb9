"""Pyramidal Lucas-Kanade with the forward-backward check.

Sources: Bouguet, Pyramidal implementation of the Lucas Kanade feature tracker, 2000; Kalal, Mikolajczyk and Matas,
Forward-backward error, ICPR 2010.
"""

import cv2
import numpy as np


def follow_points(
    before: np.ndarray, after: np.ndarray, points: np.ndarray, window_px: int, levels: int
) -> tuple[np.ndarray, np.ndarray]:
    """Where points of an image are in the next one, and how far from themselves they end when followed back.

    Args:
        before, after: (H, W) uint8.
        points: (N, 2) px, one or more; the first pixel's centre is 0.
        window_px, levels: of the search.
    Returns:
        (N, 2) float32 px; (N,) px, infinite where a point was lost on either way.
    """
    start, window = points.astype(np.float32), (window_px, window_px)
    end, there, _ = cv2.calcOpticalFlowPyrLK(before, after, start, None, winSize=window, maxLevel=levels)  # type: ignore[call-overload]
    back, again, _ = cv2.calcOpticalFlowPyrLK(after, before, end, None, winSize=window, maxLevel=levels)  # type: ignore[call-overload]
    is_found = (there[:, 0] > 0) & (again[:, 0] > 0)
    return end, np.where(is_found, np.linalg.norm(back - start, axis=1), np.inf)
