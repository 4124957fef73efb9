"""Which convention makes labelled 3D boxes cover their 2D boxes: the stated one, or another that files often have."""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from d2road.structures.upright_boxes import box_corners

NAMES = ("height", "width", "length")
# Another convention is named only if it explains the labels well and the stated one does not, or if it is better for
# nearly every one of many objects: exchanged sides of like length, say. Correct labels are best as they are.
MIN_FIT, MIN_GAIN, MAX_STATED = 0.75, 0.25, 0.5
MIN_FIT_OF_MANY, MIN_GAIN_OF_MANY, MIN_WINS = 0.85, 0.08, 0.8
MIN_OBJECTS, MANY_OBJECTS = 5, 20
NEAR_M = 0.1


@dataclass(frozen=True)
class LabelSample:
    """Boxes as labelled: (N, ...) arrays.

    location: (N, 3) bottom centres, m. dimensions_hwl: (N, 3) m. ry: (N,) rad, about the second axis of `axes`
    (N, 3, 3). P: (N, 3, 4) projections. size_wh: (N, 2) of the images. boxes_xyxy: (N, 4) labelled 2D boxes.
    """

    location: np.ndarray
    dimensions_hwl: np.ndarray
    ry: np.ndarray
    axes: np.ndarray
    P: np.ndarray
    size_wh: np.ndarray
    boxes_xyxy: np.ndarray

    def __len__(self) -> int:
        return len(self.location)

    def fit(
        self,
        location: np.ndarray | None = None,
        dimensions_hwl: np.ndarray | None = None,
        ry: np.ndarray | None = None,
        scale: float = 1.0,
    ) -> np.ndarray:
        """(N,) IoU of projected 3D boxes with the labelled 2D boxes, with other values in place of the labelled ones.

        Boxes that reach behind the camera have 0.

        Args:
            scale: of the pixels of the camera.
        """
        boxes, in_front = self._project(location, dimensions_hwl, ry, scale)
        limits = np.concatenate([self.size_wh, self.size_wh], axis=1)
        seen, told = np.clip(boxes, 0, limits), self.boxes_xyxy
        both = (np.minimum(seen[:, 2:], told[:, 2:]) - np.maximum(seen[:, :2], told[:, :2])).clip(min=0).prod(axis=1)
        union = (seen[:, 2:] - seen[:, :2]).prod(axis=1) + (told[:, 2:] - told[:, :2]).prod(axis=1) - both
        return np.where(in_front & (union > 0), both / np.where(union > 0, union, 1), 0.0)

    def camera_scale(self) -> float:
        """Factor between labelled 2D boxes and projected 3D boxes, of their places in the image; NaN if none tells."""
        boxes, in_front = self._project(None, None, None, 1.0)
        inside = (self.boxes_xyxy[:, :2] > 1).all(axis=1) & (self.boxes_xyxy[:, 2:] < self.size_wh - 1).all(axis=1)
        use = in_front & inside
        seen, told = boxes[use].ravel(), self.boxes_xyxy[use].ravel()
        far = seen > 50  # a place near the corner of the image tells no factor
        return float(np.median(told[far] / seen[far])) if far.any() else float("nan")

    def _project(
        self,
        location: np.ndarray | None,
        dimensions_hwl: np.ndarray | None,
        ry: np.ndarray | None,
        scale: float,
    ) -> tuple[np.ndarray, np.ndarray]:
        location = self.location if location is None else location
        dimensions = self.dimensions_hwl if dimensions_hwl is None else dimensions_hwl
        local = box_corners(np.zeros_like(location), dimensions, self.ry if ry is None else ry)
        corners = local @ self.axes.transpose(0, 2, 1) + location[:, None]
        homogeneous = corners @ self.P[:, :, :3].transpose(0, 2, 1) + self.P[:, None, :, 3]
        depth = homogeneous[..., 2]
        pixels = scale * homogeneous[..., :2] / np.maximum(depth, NEAR_M)[..., None]
        return np.concatenate([pixels.min(axis=1), pixels.max(axis=1)], axis=1), depth.min(axis=1) > NEAR_M


def better_convention(sample: LabelSample, wide: bool) -> str:
    """The convention that the labels follow in place of the stated one, with the cure; "" if the stated one fits.

    Args:
        wide: vehicles are wider than long as labelled, which tells exchanged sides from a heading a quarter turn off.
    """
    if len(sample) < MIN_OBJECTS:
        return ""
    as_stated = sample.fit()
    stated = float(np.median(as_stated))
    if stated >= MAX_STATED and len(sample) < MANY_OBJECTS:
        return ""
    fits = [(text, iou, float(np.median(iou))) for text, iou in _conventions(sample, wide)]
    best = max(fit for *_, fit in fits)
    text, iou, _ = next(entry for entry in fits if entry[2] >= best - 0.01)
    much = best >= MIN_FIT and best - stated >= MIN_GAIN
    wins = float((iou > as_stated + 0.01).mean()) if len(sample) >= MANY_OBJECTS else 0.0
    if not much and not (best >= MIN_FIT_OF_MANY and best - stated >= MIN_GAIN_OF_MANY and wins >= MIN_WINS):
        return ""
    return (
        f"projected 3D boxes overlap their 2D boxes by a median IoU of {stated:.2f} ({len(sample)} objects). It would "
        f"be {best:.2f} if {text}"
    )


def _conventions(sample: LabelSample, wide: bool) -> Iterator[tuple[str, np.ndarray]]:
    """Text and (N,) IoU of each; of equal ones the first is the likelier."""
    down = sample.axes[:, :, 1]
    for order in list(itertools.permutations(range(3)))[1:]:
        if order == (0, 2, 1) and not wide:
            continue  # the same outline as a heading a quarter turn off, which is below
        found = " ".join(NAMES[side] for side in order)
        # Position k of the file holds the side `order[k]`.
        sides = np.empty_like(sample.dimensions_hwl)
        sides[:, list(order)] = sample.dimensions_hwl
        yield f"the dimensions were {found}: write them as height width length", sample.fit(dimensions_hwl=sides)
    centre = sample.location + down * sample.dimensions_hwl[:, :1] / 2
    yield "y were that of the centre of the box: write that of its bottom face, y + h / 2", sample.fit(location=centre)
    for unit, factor in (("centimetres", 0.01), ("millimetres", 0.001)):
        sizes, places = factor * sample.dimensions_hwl, factor * sample.location
        yield f"the dimensions were in {unit}: write metres", sample.fit(dimensions_hwl=sizes)
        yield f"the locations were in {unit}: write metres", sample.fit(location=places)
    yield "rotation_y were in degrees: write radians", sample.fit(ry=np.radians(sample.ry))
    yield "rotation_y turned the other way: write -rotation_y", sample.fit(ry=-sample.ry)
    yield "rotation_y were a quarter turn off: add or subtract pi / 2", sample.fit(ry=sample.ry + np.pi / 2)
    lidar = sample.fit(ry=-sample.ry - np.pi / 2)
    yield "rotation_y were the yaw in a LiDAR frame (x ahead, z up): write -yaw - pi / 2", lidar
    scale = sample.camera_scale()
    if np.isfinite(scale) and scale > 0:
        text = f"the camera were that of an image {1 / scale:.3g} times as large: scale the first two rows of its "
        yield text + f"projection by {scale:.3g}", sample.fit(scale=scale)
