"""Bird's-eye view of a scene: footprints with headings, range rings, and what the camera sees. Arrays in, arrays out.

20 m  - - -            up: z, to the right: x, of the ground frame (`Camera.ground_rotation`, its origin at
  \\    .-.   /         the camera's foot) or, without a ground plane, of the camera frame. Rings stand 10 m
   \\  10 m  /          apart. The lighter field is the ground that the camera sees.
     \\ | /
       ^  camera
"""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import ArrayLike

from d2road.structures.camera import Camera
from d2road.structures.polygons import clip_convex
from d2road.visualization.boxes2d_drawing import FONT
from d2road.visualization.boxes3d_drawing import checked_corners, colors_of, heading_line
from d2road.visualization.line_drawing import NEAR_M, Color, draw_line, draw_path, fill_polygon

RING_M = 10.0
BACKGROUND, SEEN, RING, INK = (26, 29, 33), (44, 49, 55), (84, 90, 98), (176, 182, 190)
MIN_RANGE_M, MAX_RANGE_M = 20.0, 150.0
FILL_ALPHA = 0.45


@dataclass(frozen=True)
class BevView:
    """How metres become pixels.

    Args:
        size_wh: of the drawing, pixels.
        range_m: distance from the camera that the upper edge shows.
        behind_m: distance behind the camera that the lower edge shows.
    """

    size_wh: tuple[int, int]
    range_m: float
    behind_m: float = 2.0

    @property
    def scale(self) -> float:
        """Pixels of a metre, both ways."""
        return self.size_wh[1] / (self.range_m + self.behind_m)

    def to_pixels(self, xz: np.ndarray) -> np.ndarray:
        """(..., 2) metres x, z -> (..., 2) pixels."""
        xz = np.asarray(xz, dtype=np.float64)
        origin = np.array([self.size_wh[0] / 2, self.size_wh[1] - self.behind_m * self.scale])
        return origin + xz * self.scale * [1, -1]


def fit_view(
    height: int, camera: Camera, image_wh: tuple[int, int], corners: ArrayLike = (), range_m: float | None = None
) -> BevView:
    """A view of a given height in pixels that shows all boxes, up to 150 m, and as wide as the camera sees there.

    Args:
        range_m: the range; None takes what the boxes need, in steps of 10 m.
    Raises:
        ValueError: range_m <= 0 or height < 1.
    """
    if height < 1 or (range_m is not None and range_m <= 0):
        raise ValueError(f"fit_view: height {height} pixels, range_m {range_m}; both must be above 0")
    xz = footprints(camera, corners)
    xz = xz[np.isfinite(xz).all(axis=(1, 2)) & (xz[..., 1].max(axis=1) > 0)].reshape(-1, 2)
    if range_m is None:
        farthest = xz[:, 1].max(initial=0.0)
        range_m = float(np.clip(RING_M * np.ceil((farthest + 1) / RING_M), MIN_RANGE_M, MAX_RANGE_M))
    near = xz[xz[:, 1] < range_m]
    # Half the drawing's width: that of the view at three quarters of the range, or what the boxes need.
    half_m = max(0.75 * range_m * image_wh[0] / 2 / camera.K[0, 0], np.abs(near[:, 0]).max(initial=0.0) + 2)
    view = BevView((1, height), range_m)
    half_m = np.clip(half_m, 0.35 * range_m, 0.75 * range_m)
    return BevView((round(2 * half_m * view.scale), height), range_m)


def footprints(camera: Camera, corners: ArrayLike) -> np.ndarray:
    """(N, 4, 2) x and z, m, of bottom corners 0 to 3 of boxes (N, 8, 3), in the frame of this module."""
    return (checked_corners(corners)[:, :4] @ camera.ground_rotation())[..., [0, 2]]


def visible_ground(camera: Camera, image_wh: tuple[int, int], reach_m: float) -> np.ndarray:
    """(K, 2) x and z, m: the convex part of the ground within a square of +-reach_m that the image shows.

    Without a ground plane: of the level plane through the camera, of which a level camera sees a sector.
    """
    square = reach_m * np.array([[-1.0, -1], [1, -1], [1, 1], [-1, 1]])
    frame = camera.ground_rotation()
    height = 0.0 if camera.ground is None else camera.height_m
    for limit in _image_limits(image_wh):
        points = np.stack([square[:, 0], np.full(len(square), height), square[:, 1]], axis=1) @ frame.T
        # Linear in the point, as clipping needs: (u, v, w) of the projection before its division by w.
        square = clip_convex(square, (points @ camera.K.T + camera.P[:, 3]) @ limit)
    return square


def draw_bev(
    view: BevView,
    camera: Camera,
    image_wh: tuple[int, int],
    corners: ArrayLike = (),
    class_ids: Sequence[int] | np.ndarray | None = None,
    truth_corners: ArrayLike = (),
    class_names: Sequence[str] = (),
    background: np.ndarray | None = None,
) -> np.ndarray:
    """The scene from above.

    Args:
        view: from `fit_view`.
        camera, image_wh: camera and size of the image beside it, for the field that it sees.
        corners: (N, 8, 3) camera frame, m; filled in the colours of their classes.
        class_ids: (N,); None, or ids below 0, give white.
        truth_corners: (M, 8, 3) ground truth, dashed and white.
        class_names: by class id, for the legend of the classes that occur; empty for no legend.
        background: of `draw_background` for the same view, which all frames of a video share; None draws it.
    Returns:
        (H, W, 3) uint8 RGB of the view's size.
    Raises:
        ValueError: wrong shapes or lengths.
    """
    canvas = draw_background(view, camera, image_wh) if background is None else background.copy()
    corners, truth = checked_corners(corners), checked_corners(truth_corners)
    colors = colors_of(class_ids, len(corners))
    width = max(1, round(view.size_wh[1] / 800))
    for box, color in zip(corners, colors):
        _draw_footprint(canvas, view, camera, box, color, width, dashed=False)
    for box in truth:
        _draw_footprint(canvas, view, camera, box, (255, 255, 255), width, dashed=True)
    _draw_camera(canvas, view)
    _draw_legend(canvas, class_ids if class_ids is not None else (), class_names, len(truth) > 0)
    return canvas


def draw_background(view: BevView, camera: Camera, image_wh: tuple[int, int]) -> np.ndarray:
    """(H, W, 3) uint8 RGB: the ground that the camera sees, and range rings."""
    canvas = np.full((view.size_wh[1], view.size_wh[0], 3), BACKGROUND, dtype=np.uint8)
    fill_polygon(canvas, view.to_pixels(visible_ground(camera, image_wh, 2 * view.range_m)), SEEN)
    _draw_rings(canvas, view, camera, image_wh)
    return canvas


def _image_limits(image_wh: tuple[int, int]) -> np.ndarray:
    """(5, 3) rows f with f (u w, v w, w) >= 0 for points in front of the camera and inside the image."""
    width, height = image_wh
    return np.array([[0, 0, 1.0], [1, 0, 0], [-1, 0, width], [0, 1, 0], [0, -1, height]])


def _draw_rings(canvas: np.ndarray, view: BevView, camera: Camera, image_wh: tuple[int, int]) -> None:
    center = view.to_pixels(np.zeros(2))
    for radius in np.arange(RING_M, view.range_m + 0.5 * view.size_wh[0] / view.scale, RING_M):
        angles = np.linspace(-np.pi, np.pi, 181)
        ring = center + radius * view.scale * np.stack([np.sin(angles), np.cos(angles)], axis=1)
        draw_path(canvas, ring, RING)
    scale = text_scale(canvas)
    (_, text_height), _ = cv2.getTextSize("0", FONT, scale, 1)
    step = RING_M * max(1, np.ceil(1.6 * text_height / (RING_M * view.scale)))
    for radius in np.arange(step, view.range_m + 1e-6, step):
        draw_text(canvas, _label_place(view, camera, image_wh, radius), f"{radius:.0f} m", scale)


def _label_place(view: BevView, camera: Camera, image_wh: tuple[int, int], radius: float) -> np.ndarray:
    """Pixel on a ring just right of what the camera sees, where no box hides the label, or at the drawing's edge."""
    angles = np.radians(np.arange(0.0, 90.0))
    xz = radius * np.stack([np.sin(angles), np.cos(angles)], axis=1)
    height = 0.0 if camera.ground is None else camera.height_m
    points = np.stack([xz[:, 0], np.full(len(xz), height), xz[:, 1]], axis=1) @ camera.ground_rotation().T
    pixels, depth = camera.project(points)
    right = (depth < NEAR_M) | (pixels[:, 0] > image_wh[0])
    place = view.to_pixels(xz[min(np.argmax(right) + 2, len(xz) - 1)])
    room = 4.5 * view.size_wh[1] * 0.02
    if place[0] > view.size_wh[0] - room:
        place[0] = view.size_wh[0] - room
        offset = (place[0] - view.size_wh[0] / 2) / view.scale
        place[1] = view.to_pixels(np.array([0.0, np.sqrt(max(radius**2 - offset**2, 0.0))]))[1]
    return place


def _draw_footprint(
    canvas: np.ndarray, view: BevView, camera: Camera, box: np.ndarray, color: Color, width: int, dashed: bool
) -> None:
    if not np.isfinite(box).all():
        return
    polygon = view.to_pixels(footprints(camera, box[None])[0])
    if not dashed:
        fill_polygon(canvas, polygon, color, FILL_ALPHA)
    draw_path(canvas, polygon, color, width, dashed, closed=True)
    tick = (heading_line(box) @ camera.ground_rotation())[:, [0, 2]]
    draw_line(canvas, view.to_pixels(tick), color, width)


def _draw_camera(canvas: np.ndarray, view: BevView) -> None:
    size = max(1.0, 10 / view.scale)
    fill_polygon(canvas, view.to_pixels(size * np.array([[0, 0.7], [0.5, -0.5], [-0.5, -0.5]])), (255, 255, 255))


def _draw_legend(
    canvas: np.ndarray, class_ids: Sequence[int] | np.ndarray, class_names: Sequence[str], truth: bool
) -> None:
    scale = text_scale(canvas)
    (_, text_height), base = cv2.getTextSize("Ag", FONT, scale, 1)
    step = text_height + base + 3
    entries = [(class_names[i], colors_of([i], 1)[0]) for i in sorted(set(class_ids)) if 0 <= i < len(class_names)]
    for row, (name, color) in enumerate(entries + [("- - ground truth", (255, 255, 255))] * truth):
        draw_text(canvas, np.array([text_height * 0.6, (row + 1) * step]), name, scale, color)


def text_scale(canvas: np.ndarray) -> float:
    """OpenCV's size of letters that suit a panel of this height."""
    return float(np.clip(canvas.shape[0] / 1300, 0.35, 2.0))


def draw_text(canvas: np.ndarray, place: np.ndarray, text: str, scale: float, color: Color = INK) -> None:
    """Text with its lower left corner at a pixel."""
    text = text.encode("ascii", "replace").decode()  # OpenCV's built-in letters
    thick = max(1, round(1.5 * scale))
    cv2.putText(canvas, text, tuple(int(v) for v in np.round(place)), FONT, scale, color, thick, cv2.LINE_AA)
