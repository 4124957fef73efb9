"""Annotated image of a scene: 2D or 3D boxes and, where there is a camera, the view from above beside it."""

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import ArrayLike

from d2road.structures.camera import Camera
from d2road.visualization.bev_drawing import BevView, draw_bev, fit_view
from d2road.visualization.boxes2d_drawing import copy_image, draw_instances
from d2road.visualization.boxes3d_drawing import checked_corners, draw_boxes3d


class SceneObjects:
    """Objects of one image, from labels or from a model.

    Args:
        class_ids: (N,) integers.
        boxes_xyxy: (N, 4) pixels.
        scores: (N,) 0..1, or None.
        corners: (N, 8, 3) camera frame, m, NaN for objects without a 3D box; None if no object has one.
    Raises:
        ValueError: arrays of different lengths.
    """

    def __init__(
        self,
        class_ids: ArrayLike,
        boxes_xyxy: ArrayLike,
        scores: ArrayLike | None = None,
        corners: ArrayLike | None = None,
    ) -> None:
        self.class_ids = np.asarray(class_ids, dtype=int).reshape(-1)
        self.boxes_xyxy = np.asarray(boxes_xyxy, dtype=np.float64).reshape(-1, 4)
        count = len(self.class_ids)
        self.corners = checked_corners(np.full((count, 8, 3), np.nan) if corners is None else corners)
        self.scores = None if scores is None else np.asarray(scores, dtype=np.float64).reshape(-1)
        lengths = {len(a) for a in (self.class_ids, self.boxes_xyxy, self.corners, self.scores) if a is not None}
        if len(lengths) > 1:
            raise ValueError(
                f"SceneObjects: {count} class ids, {len(self.boxes_xyxy)} 2D boxes, {len(self.corners)} 3D boxes"
                + (f", {len(self.scores)} scores" if self.scores is not None else "")
            )

    @property
    def has_3d(self) -> np.ndarray:
        """(N,) which objects have a 3D box."""
        return np.logical_and.reduce(np.isfinite(self.corners), axis=(1, 2))

    def __len__(self) -> int:
        return len(self.class_ids)

    def __getitem__(self, index: np.ndarray | slice) -> "SceneObjects":
        scores = None if self.scores is None else self.scores[index]
        return SceneObjects(self.class_ids[index], self.boxes_xyxy[index], scores, self.corners[index])


def no_objects() -> SceneObjects:
    """A scene without objects."""
    return SceneObjects(np.zeros(0, dtype=int), np.zeros((0, 4)))


def draw_scene(
    image_rgb: np.ndarray,
    objects: SceneObjects,
    class_names: Sequence[str] = (),
    truth: SceneObjects | None = None,
    camera: Camera | None = None,
    all_boxes2d: bool = False,
    bev: bool = True,
    view: BevView | None = None,
) -> np.ndarray:
    """The image with its objects and, if any has a 3D box, the scene from above at its right.

    Objects with a 3D box are drawn as wire frames, the others as 2D boxes; ground truth in dashed white.

    Args:
        image_rgb: (H, W, 3) uint8.
        objects: drawn in solid lines in the colours of their classes.
        class_names: by class id.
        truth: ground truth for comparison.
        camera: of this image; needed where there are 3D boxes to draw.
        all_boxes2d: draw the 2D boxes of objects with a 3D box too.
        bev: whether to add the view from above where an object has a 3D box.
        view: add this one to every image, as all frames of a video need it; None fits it to the objects.
    Returns:
        (H, W', 3) uint8; W' = W without the view from above.
    """
    truth = no_objects() if truth is None else truth
    solid = objects.has_3d if camera is not None else np.zeros(len(objects), dtype=bool)
    dashed = truth.has_3d if camera is not None else np.zeros(len(truth), dtype=bool)
    flat, flat_truth = (o if all_boxes2d else o[~m] for o, m in ((objects, solid), (truth, dashed)))
    canvas = draw_instances(
        image_rgb,
        flat.boxes_xyxy,
        flat.class_ids,
        flat.scores,
        class_names,
        truth_boxes_xyxy=flat_truth.boxes_xyxy,
    )
    if camera is None or not (solid.any() or dashed.any() or view):
        return canvas
    deep, deep_truth = objects[solid], truth[dashed]
    # Labelled once: above the 2D box if that is drawn.
    labels = None if all_boxes2d else labels_of(deep, class_names)
    canvas = draw_boxes3d(canvas, deep.corners, camera, deep.class_ids, labels)
    canvas = draw_boxes3d(canvas, deep_truth.corners, camera, dashed=True)
    if not bev:
        return canvas
    size = (canvas.shape[1], canvas.shape[0])
    view = view or fit_view(size[1], camera, size, np.concatenate([deep.corners, deep_truth.corners]))
    panel = draw_bev(view, camera, size, deep.corners, deep.class_ids, deep_truth.corners, class_names)
    return side_by_side(canvas, panel)


def labels_of(objects: SceneObjects, class_names: Sequence[str]) -> list[str]:
    """Name of the class, with the score where there is one; a class beyond the names is its number."""
    names = [class_names[i] if 0 <= i < len(class_names) else str(i) for i in objects.class_ids]
    if objects.scores is None:
        return names
    return [f"{name} {score:.2f}" for name, score in zip(names, objects.scores)]


def side_by_side(left: np.ndarray, right: np.ndarray, gap: int = 4) -> np.ndarray:
    """Two images next to each other, the right one scaled to the height of the left one."""
    left, right = copy_image(left), copy_image(right)
    height = left.shape[0]
    if right.shape[0] != height:
        width = max(1, round(right.shape[1] * height / right.shape[0]))
        right = cv2.resize(right, (width, height), interpolation=cv2.INTER_AREA)
    return np.concatenate([left, np.full((height, gap, 3), 255, dtype=np.uint8), right], axis=1)
