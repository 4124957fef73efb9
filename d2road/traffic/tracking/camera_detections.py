"""From a detector's 3D boxes to detections on the ground, with the covariance that a camera gives them.

A point of the image that is a pixel off is centimetres off at 15 m and metres at 100 m, nearly all of it along the ray.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from d2road.structures.roadside_camera import RoadsideCamera
from d2road.traffic.tracking.ground_detections import GroundDetections
from d2road.utils.errors import DataError


@dataclass(frozen=True)
class PixelNoise:
    """Standard deviation of a detector's point on the road below the middle of a vehicle.

    Args:
        base_px: of each of u and v, for the smallest boxes.
        share_of_height: more of it for each pixel of the 2D box's height.
        cut_share: added to share_of_height where the box touches the border of the image: a part of the vehicle is
            not seen there, and its middle is guessed.
        border_px: how near to the border a box touches it.
        metres: on the ground, however near the vehicle is.
        farthest_m: detections beyond are left out: their place means nothing.
    """

    base_px: float = 1.0
    share_of_height: float = 0.02
    cut_share: float = 0.25
    border_px: float = 4.0
    metres: float = 0.1
    farthest_m: float = 150.0

    def pixels(self, boxes_xyxy: np.ndarray, width: int, height: int) -> np.ndarray:
        """(N, 1) standard deviations for boxes (N, 4) of an image of width x height pixels."""
        first, last = boxes_xyxy[:, :2], boxes_xyxy[:, 2:]
        cut = (first[:, 0] < self.border_px) | (last > np.array([width, height]) - self.border_px).any(1)
        share = self.share_of_height + self.cut_share * cut
        return self.base_px + (share * (last[:, 1] - first[:, 1]))[:, None]


def detections_on_ground(
    camera: RoadsideCamera,
    frame: int,
    t: float,
    boxes: np.ndarray,
    boxes_xyxy: np.ndarray,
    cls: Sequence[str],
    scores: np.ndarray,
    noise: PixelNoise | None = None,
) -> GroundDetections:
    """Put the detections of one frame on the ground plane.

    The direction of a box's bottom centre is taken, its distance is where that direction meets the road.

    Args:
        frame: its number. t: its presentation time, s.
        boxes: (N, 7) x, y, z of the bottom centre, h, w, l (m), ry (rad) in the camera frame; sizes that are not
            positive, and headings that are not finite, are taken as unknown.
        boxes_xyxy: (N, 4) px of the camera's image.
        cls: N names. scores: (N,) in 0..1.
    Returns:
        at most N rows in the given order: those above the horizon or beyond `noise.farthest_m` are left out.
    Raises:
        DataError: counts differ, or times and scores that are none.
    """
    noise = noise or PixelNoise()
    boxes, boxes_xyxy = np.asarray(boxes, float).reshape(-1, 7), np.asarray(boxes_xyxy, float).reshape(-1, 4)
    counts = {len(boxes), len(boxes_xyxy), len(cls), len(scores)}
    if len(counts) > 1:
        raise DataError(
            f"frame {frame} has {len(boxes)} 3D boxes, {len(boxes_xyxy)} 2D boxes, {len(cls)} classes and "
            f"{len(scores)} scores: expected as many of each"
        )
    pixels = camera.camera_to_image(boxes[:, :3])
    place = camera.image_to_ground(pixels)
    pixel_std = noise.pixels(boxes_xyxy, camera.width, camera.height)
    covariance = camera.ground_covariance(pixels, pixel_std, calibration=False)
    covariance = covariance + noise.metres**2 * np.eye(2)
    sizes = np.where(boxes[:, [5, 4, 3]] > 0, boxes[:, [5, 4, 3]], np.nan)
    rows = pd.DataFrame(
        {
            "frame": frame,
            "t": t,
            "cls": pd.Series(list(cls), dtype=object),
            "score": scores,
            "x": place[:, 0],
            "y": place[:, 1],
            "var_x": covariance[:, 0, 0],
            "cov_xy": covariance[:, 0, 1],
            "var_y": covariance[:, 1, 1],
            "heading": camera.heading_of_ry(boxes[:, 6]),
            **dict(zip(("length", "width", "height"), sizes.T)),
            **dict(zip(("x1", "y1", "x2", "y2"), boxes_xyxy.T)),
        }
    )
    with np.errstate(invalid="ignore"):
        on_ground = np.isfinite(covariance).all((1, 2)) & (np.linalg.norm(place, axis=1) <= noise.farthest_m)
    return GroundDetections.from_frame(rows[on_ground])


def in_view(camera: RoadsideCamera, points: np.ndarray) -> np.ndarray:
    """(N,) bool: which points (N, 2) of the ground the camera sees."""
    pixels = camera.ground_to_image(points)
    with np.errstate(invalid="ignore"):
        return np.asarray(((pixels >= 0) & (pixels <= [camera.width, camera.height])).all(axis=1))
