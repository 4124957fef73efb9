"""The camera of a view: what stands on the pole, and where it looks."""

from dataclasses import dataclass

import numpy as np

from d2road.structures.camera import Camera

WIDTH, HEIGHT = 960, 540
NEAR_M, FAR_M = 10.0, 80.0


@dataclass(frozen=True)
class View:
    """A calibrated view. `R` (3, 3) takes world directions to the camera frame; the camera is at (0, 0, height_m).

    size: width and height of the image, pixels.
    """

    camera: Camera
    R: np.ndarray
    height_m: float
    pitch_rad: float
    roll_rad: float
    size: tuple[int, int] = (WIDTH, HEIGHT)

    @property
    def position(self) -> np.ndarray:
        """(3,) camera centre in the world frame."""
        return np.array([0.0, 0.0, self.height_m])

    def to_camera(self, points: np.ndarray) -> np.ndarray:
        """(..., 3) world points in the camera frame."""
        return (np.asarray(points, dtype=np.float64) - self.position) @ self.R.T


def make_view(K: np.ndarray, height_m: float, pitch_rad: float, roll_rad: float) -> View:
    """A view with intrinsics `K` (3, 3) that looks down by `pitch_rad` and is turned by `roll_rad` about its axis."""
    level = np.array([[1.0, 0.0, 0.0], [0.0, 0.0, -1.0], [0.0, 1.0, 0.0]])
    cp, sp, cr, sr = np.cos(pitch_rad), np.sin(pitch_rad), np.cos(roll_rad), np.sin(roll_rad)
    pitch = np.array([[1, 0, 0], [0, cp, -sp], [0, sp, cp]])
    roll = np.array([[cr, -sr, 0], [sr, cr, 0], [0, 0, 1]])
    R = roll @ pitch @ level
    up = R @ np.array([0.0, 0.0, 1.0])
    # Rounded as the calibration files hold them, so that labels and files speak of one and the same camera.
    ground = np.round(np.append(up, height_m), 9)
    return View(Camera(np.round(K, 6), ground), R, height_m, pitch_rad, roll_rad)


def sample_view(rng: np.random.Generator, heights_m: tuple[float, float] = (5.0, 8.0)) -> View:
    """Draw pole, lens and pitch; `heights_m` is the range of the pole's height.

    The pitch puts the ground at 9 to 14 m on the image's lower edge, unless that would push the ground at 80 m closer
    than 1.5 to 5 degrees to the upper edge: a high pole with a long lens then loses some of its near range instead.
    """
    fx = rng.uniform(1000.0, 1400.0)
    fy = fx * rng.uniform(0.98, 1.02)
    fy = float(np.clip(fy, 1000.0, 1400.0))
    cx = WIDTH / 2 + np.clip(rng.normal(0, 8), -20, 20)
    cy = HEIGHT / 2 + np.clip(rng.normal(0, 6), -15, 15)
    height_m = rng.uniform(*heights_m)
    below, above = np.arctan((HEIGHT - cy) / fy), np.arctan(cy / fy)
    near_pitch = np.arctan(height_m / rng.uniform(9.0, 14.0)) - below
    far_pitch = np.arctan(height_m / FAR_M) + above - np.deg2rad(rng.uniform(1.5, 5.0))
    roll = np.deg2rad(np.clip(rng.normal(0, 0.9), -2.2, 2.2))
    K = np.array([[fx, 0.0, cx], [0.0, fy, cy], [0.0, 0.0, 1.0]])
    return make_view(K, round(float(height_m), 6), float(min(near_pitch, far_pitch)), float(roll))


def rotation_to_quaternion(R: np.ndarray) -> np.ndarray:
    """(4,) unit quaternion w x y z of a rotation matrix, w >= 0."""
    # The eigenvector form (Bar-Itzhack 2000) has no special cases.
    (a, b, c), (d, e, f), (g, h, i) = R
    table = np.array(
        [
            [a - e - i, d + b, g + c, h - f],
            [d + b, e - a - i, h + f, c - g],
            [g + c, h + f, i - a - e, d - b],
            [h - f, c - g, d - b, a + e + i],
        ]
    )
    x, y, z, w = np.linalg.eigh(table / 3)[1][:, -1]
    quaternion = np.array([w, x, y, z])
    return quaternion if w >= 0 else -quaternion
