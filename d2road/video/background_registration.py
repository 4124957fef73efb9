"""Background registration: how far a fixed camera has turned since a reference image, by points that stand still.

Corners of the reference are found again by pyramids of Lucas and Kanade in images of evened-out light, there and back;
the rotation that takes their rays there is the weighted one of Kabsch, re-weighted by Tukey's function until vehicles,
shadows and leaves count nothing. The reference is the median of frames, so that who drives is not in it.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from scipy.spatial.transform import Rotation

from d2road.structures.roadside_camera import RoadsideCamera
from d2road.traffic.calibration.camera_turn import turn_of_matrix
from d2road.video.optical_flow import follow_points

CORNERS, CELLS = 600, 6  # in all, spread over so many cells a side
QUALITY, LEAST_DISTANCE_PX = 0.01, 6
WINDOW_PX, LEVELS = 21, 4
BACK_PX = 0.7  # between a corner and where it comes back to
EVEN_PX = 15.0  # Gaussian that light is evened out by
ROUNDS, TUKEY = 12, 4.685
LEAST_SCALE_PX = 0.05
FEWEST, LEAST_SHARE = 30, 0.2  # corners that are found again and agree


@dataclass(frozen=True)
class Registration:
    """turn_deg: (3,) yaw, pitch, roll. points: that agree. share: of the reference's corners. spread_px: of these."""

    turn_deg: np.ndarray
    points: int
    share: float
    spread_px: float


class RegisteredBackground:
    """A reference image of a camera.

    Args:
        image: (H, W) or (H, W, 3) uint8. camera: of the image's size, for its rays.
        turn_deg: (3,) of the camera at the time of the image, which results are added to.
    """

    def __init__(self, image: np.ndarray, camera: RoadsideCamera, turn_deg: np.ndarray | None = None):
        camera.require_size(image.shape[1], image.shape[0], "the reference image")
        self.image, self.camera = even_light(image), camera
        self.turn_deg = np.zeros(3) if turn_deg is None else np.asarray(turn_deg, dtype=float)
        self.corners = find_corners(self.image)
        self._rays = self._to_rays(self.corners)

    def register(self, image: np.ndarray) -> Registration | None:
        """The turn since the reference; None where too little is found again: fog, night, or another view."""
        if len(self.corners) < FEWEST:
            return None
        now, error_px = follow_points(self.image, even_light(image), self.corners, WINDOW_PX, LEVELS)
        found = error_px < BACK_PX
        if found.sum() < FEWEST:
            return None
        rays, before = self._to_rays(now[found].astype(float)), self._rays[found]
        M, weights, scale = robust_rotation(before, rays, float(self.camera.K[0, 0]))
        points = int((weights > 0.5).sum())
        if points < FEWEST or points < LEAST_SHARE * len(self.corners):
            return None
        return Registration(turn_of_matrix(M) + self.turn_deg, points, points / len(self.corners), scale)

    def _to_rays(self, pixels: np.ndarray) -> np.ndarray:
        """(N, 3) of length 1; OpenCV's first pixel has its centre at 0."""
        ideal = self.camera.undistort(pixels + 0.5)
        rays = np.column_stack([ideal, np.ones(len(ideal))]) @ np.linalg.inv(self.camera.K).T
        return rays / np.linalg.norm(rays, axis=1, keepdims=True)


def even_light(image: np.ndarray) -> np.ndarray:
    """(H, W) uint8: grey values against the mean of their surroundings, in units of their deviation there."""
    grey = cv2.cvtColor(image, cv2.COLOR_BGR2GRAY) if image.ndim == 3 else image
    values = grey.astype(np.float32)
    apart = values - cv2.GaussianBlur(values, (0, 0), EVEN_PX)
    spread = np.sqrt(cv2.GaussianBlur(apart * apart, (0, 0), EVEN_PX))
    return np.asarray(np.clip(128 + 40 * apart / (spread + 2.0), 0, 255).astype(np.uint8))


def find_corners(image: np.ndarray) -> np.ndarray:
    """(N, 2) pixels of corners, as many from each cell of the image."""
    height, width = image.shape
    found = []
    for top in range(CELLS):
        for left in range(CELLS):
            y0, y1 = height * top // CELLS, height * (top + 1) // CELLS
            x0, x1 = width * left // CELLS, width * (left + 1) // CELLS
            own = cv2.goodFeaturesToTrack(image[y0:y1, x0:x1], CORNERS // CELLS**2, QUALITY, LEAST_DISTANCE_PX)
            if own is not None:
                found.append(own[:, 0] + [x0, y0])
    return np.concatenate(found) if found else np.zeros((0, 2))


def robust_rotation(before: np.ndarray, after: np.ndarray, focal_px: float) -> tuple[np.ndarray, np.ndarray, float]:
    """(3, 3) M that takes rays (N, 3) to others, weights (N,) from 0 to 1, and the spread of residuals, px."""
    weights = np.ones(len(before))
    M = _median_turn(before, after)
    for _ in range(ROUNDS):
        residual = np.linalg.norm(after - before @ M.T, axis=1) * focal_px
        scale = max(float(np.median(residual)) * 1.2, LEAST_SCALE_PX)
        weights = np.clip(1 - (residual / (TUKEY * scale)) ** 2, 0, None) ** 2
        if weights.sum() < 3:
            break
        M = Rotation.align_vectors(after, before, weights=weights)[0].as_matrix()
    return M, weights, scale


def _median_turn(before: np.ndarray, after: np.ndarray) -> np.ndarray:
    """A first rotation: the median of cross products, about both axes of the image."""
    vector = np.median(np.cross(before, after), axis=0)
    return np.asarray(Rotation.from_rotvec(vector).as_matrix())


def median_background(images: Sequence[np.ndarray]) -> np.ndarray:
    """(H, W) uint8 median of grey frames."""
    return np.median(np.stack(images), axis=0).astype(np.uint8)
