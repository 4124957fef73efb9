"""Pinhole camera with an optional ground plane.

Camera frame: x right, y down, z forward, metres. Pixels are continuous: the image covers [0, width] x [0, height] and
the centre of the first pixel is (0.5, 0.5), so that a resize is a plain scaling.

            z (forward)                    ground plane  a x + b y + c z + d = 0
           /                               n = (a, b, c) has length 1 and points up (b < 0),
          o------ x (right)                so that d is the camera's height above the ground.
          |
          y (down)

When the image changes, the camera changes with it and the points stay where they are (`resized`, `cropped`, `padded`);
only a flip mirrors the world as well: points (x, y, z) become (-x, y, z), and `ry` becomes pi - ry (`flipped`).
"""

from dataclasses import dataclass, field

import numpy as np

from d2road.utils.errors import DataError


@dataclass(frozen=True)
class Camera:
    """A 3x4 projection and, where it is known, the ground plane in the camera frame.

    Args:
        P: (3, 4) projection matrix, `[K | K t]`; a (3, 3) intrinsic matrix is taken as `[K | 0]`.
        ground: (4,) a, b, c, d with a x + b y + c z + d = 0, any scale and sign (normalised to point up), or None.
    Raises:
        ValueError: wrong shapes, values that are not finite, focal lengths <= 0, a plane without normal.
    """

    P: np.ndarray
    ground: np.ndarray | None = field(default=None)

    def __post_init__(self) -> None:
        P = np.asarray(self.P, dtype=np.float64)
        if P.shape == (3, 3):
            P = np.concatenate([P, np.zeros((3, 1))], axis=1)
        if P.shape != (3, 4) or not np.isfinite(P).all() or P[0, 0] <= 0 or P[1, 1] <= 0:
            raise DataError(f"P must be a finite 3x4 (or 3x3) matrix with positive focal lengths, got {self.P!r}")
        object.__setattr__(self, "P", P)
        if self.ground is not None:
            object.__setattr__(self, "ground", normalize_plane(self.ground))

    @property
    def K(self) -> np.ndarray:
        """(3, 3) intrinsic matrix."""
        return self.P[:, :3]

    @property
    def center(self) -> np.ndarray:
        """(3,) where all rays start: the origin unless the projection has a fourth column."""
        return -np.linalg.solve(self.K, self.P[:, 3])

    @property
    def height_m(self) -> float:
        """Height of the frame's origin above the ground plane."""
        return float(self._need_ground()[3])

    def project(self, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Project points of the camera frame.

        Args:
            points: (..., 3) metres.
        Returns:
            (..., 2) pixels and (...,) depths. Pixels of points with depth <= 0 have no meaning.
        """
        points = np.asarray(points, dtype=np.float64)
        homogeneous = points @ self.K.T + self.P[:, 3]
        depth = homogeneous[..., 2]
        safe = np.where(np.abs(depth) < 1e-9, 1e-9, depth)
        return homogeneous[..., :2] / safe[..., None], depth

    def rays(self, pixels: np.ndarray) -> np.ndarray:
        """(..., 3) directions through (..., 2) pixels, scaled to z = 1, starting at `center`."""
        pixels = np.asarray(pixels, dtype=np.float64)
        ones = np.ones((*pixels.shape[:-1], 1))
        return np.concatenate([pixels, ones], axis=-1) @ np.linalg.inv(self.K).T

    def unproject(self, pixels: np.ndarray, depth_m: np.ndarray) -> np.ndarray:
        """(..., 3) points at `depth_m` (...,) on the rays through (..., 2) pixels; inverse of `project`."""
        # Projective depth counts from the camera centre, which the fourth column may move along z.
        return self.center + self.rays(pixels) * np.asarray(depth_m, dtype=np.float64)[..., None]

    def intersect_plane(self, pixels: np.ndarray, height_m: float = 0.0) -> np.ndarray:
        """Where the rays through pixels meet the plane `height_m` above the ground.

        Returns:
            (..., 3) points of the camera frame; NaN for rays that are parallel to the plane or leave it behind them.
        """
        plane = self._need_ground()
        rays = self.rays(pixels)
        slope = rays @ plane[:3]
        offset = self.center @ plane[:3] + plane[3] - height_m
        with np.errstate(divide="ignore", invalid="ignore"):
            distance = -offset / slope
            points = self.center + rays * distance[..., None]
        return np.where((distance > 0)[..., None] & np.isfinite(points), points, np.nan)

    def ground_rotation(self) -> np.ndarray:
        """Rotation from the ground frame to the camera frame, (3, 3); the identity without a ground plane.

        The ground frame is the camera frame levelled: y is the downward normal, x is the camera's x laid into the
        plane, z = x cross y. Columns are those axes in the camera frame. Rope3D's `ry` turns in this frame.
        """
        if self.ground is None:
            return np.eye(3)
        down = -self.ground[:3]
        right = np.array([1.0, 0.0, 0.0]) - down[0] * down
        right /= np.linalg.norm(right)
        return np.stack([right, down, np.cross(right, down)], axis=1)

    def horizon(self) -> np.ndarray:
        """Where the ground plane vanishes: (3,) a, b, c with a u + b v + c = 0.

        Scaled so that a u + b v + c is the distance in pixels, positive on the side where the ground is seen.

        Raises:
            ValueError: no ground plane, or a camera that looks straight down or up and so has no horizon.
        """
        line = -np.linalg.solve(self.K.T, self._need_ground()[:3])
        length = np.hypot(line[0], line[1])
        if length < 1e-12:
            raise DataError(f"the image is parallel to the ground plane {self.ground}: it has no horizon")
        return line / length

    def horizon_v(self, u: np.ndarray) -> np.ndarray:
        """(...,) row of the horizon at columns `u` (...,); infinite if the horizon is upright."""
        a, b, c = self.horizon()
        with np.errstate(divide="ignore"):
            return -(a * np.asarray(u, dtype=np.float64) + c) / b

    def resized(self, scale_x: float, scale_y: float) -> "Camera":
        """The camera of the image scaled by these factors (new size / old size).

        Raises:
            ValueError: a factor is not positive.
        """
        if not (scale_x > 0 and scale_y > 0):
            raise ValueError(f"resize factors must be positive (new size / old size), got {scale_x}, {scale_y}")
        return self._warped(np.diag([scale_x, scale_y, 1.0]))

    def cropped(self, left: float, top: float) -> "Camera":
        """The camera of the part of the image that begins at pixel (left, top)."""
        return self._warped(np.array([[1.0, 0, -left], [0, 1, -top], [0, 0, 1]]))

    def padded(self, left: float = 0.0, top: float = 0.0) -> "Camera":
        """The camera of the image with a border added; borders at the right and the bottom change nothing."""
        return self.cropped(-left, -top)

    def flipped(self, width: float) -> "Camera":
        """The camera of the image of this width mirrored left to right. Exact, but it sees a mirrored world:

        points (x, y, z) become (-x, y, z), headings `ry` become pi - ry in the camera frame and in the ground frame,
        and the normal of the ground is mirrored like the points.
        """
        mirror = np.diag([-1.0, 1, 1, 1])
        P = np.array([[-1.0, 0, width], [0, 1, 0], [0, 0, 1]]) @ self.P @ mirror
        return Camera(P, None if self.ground is None else self.ground @ mirror)

    def _warped(self, warp: np.ndarray) -> "Camera":
        return Camera(warp @ self.P, self.ground)

    def _need_ground(self) -> np.ndarray:
        if self.ground is None:
            raise DataError("this camera has no ground plane: pass `ground` (a, b, c, d of a denorm file)")
        return self.ground


def normalize_plane(plane: np.ndarray) -> np.ndarray:
    """Scale a plane (4,) so that its normal has length 1 and points up, towards -y of the camera frame.

    Raises:
        ValueError: not four finite numbers, or no normal.
    """
    plane = np.asarray(plane, dtype=np.float64)
    length = np.linalg.norm(plane[:3]) if plane.shape == (4,) else 0.0
    if plane.shape != (4,) or not np.isfinite(plane).all() or length < 1e-9:
        raise DataError(f"a ground plane has four finite numbers a b c d and a normal that is not 0, got {plane!r}")
    return plane / (length if plane[1] <= 0 else -length)
