"""Lines and polygons, clipped at the image and at the near plane of the camera.

Pixels are continuous as in `Camera`: the centre of the first pixel is (0.5, 0.5). Drawing functions change the image.
"""

import cv2
import numpy as np

from d2road.structures.camera import Camera
from d2road.structures.polygons import clip_convex

Color = tuple[int, int, int]
NEAR_M = 0.1
SHADOW = (0, 0, 0)
_SHIFT = 4  # bits of a sixteenth of a pixel, in which OpenCV is told coordinates


def clip_to_image(points: np.ndarray, size_wh: tuple[int, int], margin: float = 8.0) -> np.ndarray:
    """The part of a convex polygon or line (K, 2) inside the image and a small margin around it."""
    for axis, limit in enumerate(size_wh):
        for value in (lambda p, a=axis: p[:, a] + margin, lambda p, a=axis, top=limit: top + margin - p[:, a]):
            points = clip_convex(points, value(points))
    return points


def project_convex(camera: Camera, points: np.ndarray, near_m: float = NEAR_M) -> np.ndarray:
    """Pixels (L, 2) of a convex polygon or line (K, 3) of the camera frame, cut where it passes the near plane."""
    points = np.asarray(points, dtype=np.float64)
    if not np.isfinite(points).all():
        return np.zeros((0, 2))
    return camera.project(clip_convex(points, camera.project(points)[1] - near_m))[0]


def draw_line(image: np.ndarray, ends: np.ndarray, color: Color, width: int = 1, dashed: bool = False) -> None:
    """A smooth line between two points (2, 2); dashes lie on a dark shadow, without which white is lost on a road."""
    ends = np.asarray(ends, dtype=np.float64).reshape(-1, 2)
    if len(ends) != 2 or not np.isfinite(ends).all():
        return
    seen = clip_to_image(ends, (image.shape[1], image.shape[0]))
    if len(seen) != 2:
        return
    pieces = _dashes(seen, max(4.0, 4.0 * width)) if dashed else [seen]
    for ink, thickness in ((SHADOW, width + 1), (color, width)) if dashed else ((color, width),):
        for piece in pieces:
            (x0, y0), (x1, y1) = _fixed(piece).tolist()
            cv2.line(image, (x0, y0), (x1, y1), ink, thickness, cv2.LINE_AA, _SHIFT)


def draw_path(
    image: np.ndarray, points: np.ndarray, color: Color, width: int = 1, dashed: bool = False, closed: bool = False
) -> None:
    """Lines between following points (K, 2)."""
    for i in range(0 if closed else 1, len(points)):
        draw_line(image, np.stack([points[i - 1], points[i]]), color, width, dashed)


def fill_polygon(image: np.ndarray, points: np.ndarray, color: Color, alpha: float = 1.0) -> None:
    """Mix a colour into a convex polygon (K, 2): 0 leaves the image as it is, 1 covers it."""
    seen = clip_to_image(np.asarray(points, dtype=np.float64).reshape(-1, 2), (image.shape[1], image.shape[0]))
    if len(seen) < 3 or not np.isfinite(seen).all():
        return
    low = np.maximum(np.floor(seen.min(axis=0)).astype(int) - 1, 0)
    high = np.minimum(np.ceil(seen.max(axis=0)).astype(int) + 1, [image.shape[1], image.shape[0]])
    if (high <= low).any():
        return
    region = image[low[1] : high[1], low[0] : high[0]]
    mask = np.zeros(region.shape[:2], dtype=np.uint8)
    cv2.fillConvexPoly(mask, _fixed(seen - low), 255, cv2.LINE_AA, _SHIFT)
    weight = (mask.astype(np.float32) * (alpha / 255))[..., None]
    region[:] = np.round(region * (1 - weight) + np.array(color, dtype=np.float32) * weight).astype(np.uint8)


def _fixed(points: np.ndarray) -> np.ndarray:
    """OpenCV's fixed-point coordinates, which count from the centre of the first pixel."""
    return np.round((points - 0.5) * (1 << _SHIFT)).astype(np.int32)


def _dashes(ends: np.ndarray, dash: float) -> list[np.ndarray]:
    """Pieces of a line: as long as the gaps between them, and a piece at both ends."""
    length = float(np.linalg.norm(ends[1] - ends[0]))
    gaps = max(1, round((length / dash - 1) / 2)) if length > 2 * dash else 0
    edges = np.linspace(0, 1, 2 * gaps + 2)
    points = ends[0] + edges[:, None] * (ends[1] - ends[0])
    return list(points.reshape(-1, 2, 2))
