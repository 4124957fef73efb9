"""Drawing 3D boxes as wire frames that show where the front is. Arrays in, arrays out.

Corners are in the order of `d2road/structures/upright_boxes.py`: 0 to 3 around the bottom face, 4 to 7 above them, and
0, 3, 7, 4 the front face, which is filled. A line on the ground leads from the bottom centre through the middle of the
front's lower edge: the heading.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from d2road.structures.camera import Camera
from d2road.structures.projection import EDGES
from d2road.visualization.boxes2d_drawing import class_color, copy_image, draw_label, line_width
from d2road.visualization.line_drawing import NEAR_M, Color, draw_line, fill_polygon, project_convex

FRONT = (0, 3, 7, 4)
FRONT_ALPHA = 0.4
HEADING_REACH = 1.6  # of the way from the centre to the front
WHITE = (255, 255, 255)


def draw_boxes3d(
    image_rgb: np.ndarray,
    corners: np.ndarray,
    camera: Camera,
    class_ids: Sequence[int] | np.ndarray | None = None,
    labels: Sequence[str] | None = None,
    dashed: bool = False,
    near_m: float = NEAR_M,
) -> np.ndarray:
    """A copy of the image with wire frames, the nearest on top; what is behind the camera or outside is cut off.

    Args:
        image_rgb: (H, W, 3) uint8.
        corners: (N, 8, 3) camera frame, m, in the order of this module; boxes that are not finite are left out.
        camera: of this image at this size.
        class_ids: (N,) for the colours of `class_color`; None, or ids below 0, give white.
        labels: (N,) texts above the boxes; None for none.
        dashed: dashed lines and no filled front, as ground truth is drawn over predictions.
        near_m: edges that come closer to the camera's plane than this are cut there.
    Raises:
        ValueError: not such an image, or arrays of different lengths.
    """
    canvas = copy_image(image_rgb)
    corners = checked_corners(corners)
    colors = colors_of(class_ids, len(corners))
    if labels is not None and len(labels) != len(corners):
        raise ValueError(f"draw_boxes3d: {len(corners)} boxes but {len(labels)} labels")
    # Far ones first. Sorted by the nearest corner: a long truck may have its centre behind the car beside it.
    depths = camera.project(corners)[1].min(axis=1) if len(corners) else np.zeros(0)
    order = [i for i in np.argsort(-depths, kind="stable") if np.isfinite(corners[i]).all()]
    for i in order:
        _draw_frame(canvas, corners[i], camera, colors[i], dashed, near_m)
    for i in order:
        if labels is None:
            break
        seen = [p for edge in EDGES for p in project_convex(camera, corners[i][list(edge)], near_m)]
        box = np.concatenate([np.min(seen, axis=0), np.max(seen, axis=0)]) if seen else np.full(4, np.nan)
        height, width = canvas.shape[:2]
        if labels[i] and seen and box[0] < width and box[1] < height and min(box[2:]) > 0:
            draw_label(canvas, box, labels[i], colors[i])
    return canvas


def heading_line(corners: np.ndarray, reach: float = HEADING_REACH) -> np.ndarray:
    """(2, 3) from the centre of the bottom face of a box (8, 3) forwards; reach 1 ends at the front's lower edge."""
    center, front = corners[:4].mean(axis=0), corners[[0, 3]].mean(axis=0)
    return np.stack([center, center + reach * (front - center)])


def checked_corners(corners: ArrayLike) -> np.ndarray:
    """Corners as float64 (N, 8, 3); an empty list gives N = 0.

    Raises:
        ValueError: another shape.
    """
    array = np.asarray(corners, dtype=np.float64)
    if array.size == 0:
        return array.reshape(0, 8, 3)
    if array.ndim != 3 or array.shape[1:] != (8, 3):
        raise ValueError(f"corners of 3D boxes are (N, 8, 3) in the camera frame, got {array.shape}")
    return array


def colors_of(class_ids: Sequence[int] | np.ndarray | None, count: int) -> list[Color]:
    """Class colours; white where there is no class.

    Raises:
        ValueError: as many ids as boxes are needed.
    """
    ids = np.full(count, -1) if class_ids is None else np.asarray(class_ids, dtype=int).reshape(-1)
    if len(ids) != count:
        raise ValueError(f"{count} 3D boxes but {len(ids)} class ids")
    return [WHITE if i < 0 else class_color(int(i)) for i in ids]


def _draw_frame(
    canvas: np.ndarray, corners: np.ndarray, camera: Camera, color: Color, dashed: bool, near_m: float
) -> None:
    width = line_width(canvas)
    lines = [project_convex(camera, corners[list(edge)], near_m) for edge in EDGES]
    lines.append(project_convex(camera, heading_line(corners), near_m))
    if not dashed:
        fill_polygon(canvas, project_convex(camera, corners[list(FRONT)], near_m), color, FRONT_ALPHA)
    for ends in lines:
        draw_line(canvas, ends, color, max(1, width - 1) if dashed else width, dashed)
