"""Calibrated roadside camera: lens, ground plane, how well both are known, and the road it looks at.

    camera frame   x right, y down, z forward, m; the ground is a x + b y + c z + d = 0
    ground frame   origin at the camera's foot point, X right, Y the viewing direction laid into the ground, Z up, m;
                   headings from +X towards +Y, rad
    pitch, roll    how far the camera looks down, and is turned about its axis: the upward normal is
                   (sin r cos p, -cos r cos p, -sin p)

Pixels are those of the image as it is, with its distortion, and continuous: the centre of the first is (0.5, 0.5).
Plain numpy: neither torch nor OpenCV.
"""

import hashlib
from dataclasses import dataclass, field, replace

import numpy as np

from d2road.structures.camera import Camera
from d2road.structures.lens_distortion import check_distortion, distort, undistort
from d2road.structures.road_axis import RoadAxis
from d2road.utils.errors import DataError

PARAMETERS = ("log_focal", "pitch_rad", "roll_rad", "log_height")  # rows of the covariance
NEAR_M = 1e-3
STEP = 1e-6  # of numeric derivatives


def ground_axes(pitch_rad: float | np.ndarray, roll_rad: float | np.ndarray) -> np.ndarray:
    """(3, 3) columns: axes X, Y, Z of the ground frame in the camera frame."""
    cp, sp, cr, sr = np.cos(pitch_rad), np.sin(pitch_rad), np.cos(roll_rad), np.sin(roll_rad)
    return np.array([[cr, sr * sp, sr * cp], [sr, -cr * sp, -cr * cp], [0.0, cp, -sp]])


def plane_from_angles(pitch_rad: float, roll_rad: float, height_m: float) -> np.ndarray:
    """(4,) ground plane a b c d of a camera so high that looks down by `pitch_rad` and is turned by `roll_rad`."""
    return np.append(ground_axes(pitch_rad, roll_rad)[:, 2], height_m)


def angles_of_plane(plane: np.ndarray) -> tuple[float, float]:
    """Pitch and roll, rad, of a plane (4,) whose normal has length 1 and points up."""
    return float(np.arcsin(np.clip(-plane[2], -1, 1))), float(np.arctan2(plane[0], -plane[1]))


@dataclass(frozen=True)
class RoadsideCamera:
    """A fixed camera above a flat ground.

    Args:
        width, height: of the image, pixels.
        K: (3, 3) intrinsic matrix.
        ground: (4,) a b c d in the camera frame, any scale and sign; kept with a normal of length 1 that points up
            (b < 0), so that d is the height of the camera.
        distortion: up to five coefficients k1 k2 p1 p2 k3, as OpenCV's.
        covariance: (4, 4) of the errors of `PARAMETERS`, or None where they are not known.
        road: the road, where it is known.
    Raises:
        DataError: an image without area, K or plane that is none, a camera below its ground, a covariance that is none.
    """

    width: int
    height: int
    K: np.ndarray
    ground: np.ndarray
    distortion: np.ndarray = field(default_factory=lambda: np.zeros(5))
    covariance: np.ndarray | None = None
    road: RoadAxis | None = None

    def __post_init__(self) -> None:
        if not (self.width >= 1 and self.height >= 1):
            raise DataError(f"an image of {self.width} x {self.height} pixels: expected a width and a height")
        K = np.asarray(self.K, dtype=np.float64)
        if K.shape != (3, 3) or not np.allclose(K[[1, 2, 2, 2], [0, 0, 1, 2]], [0, 0, 0, 1]):
            raise DataError(f"K is a 3x3 matrix with rows fx s cx, 0 fy cy, 0 0 1; got {self.K!r}")
        pinhole = Camera(K, self.ground)
        if pinhole.height_m <= 0:
            raise DataError(
                f"the camera lies {-pinhole.height_m:g} m below its ground plane; expected a x + b y + c z + d = 0 in "
                "the camera frame (y down), with b and d of opposite signs"
            )
        for name, value in (("K", K), ("ground", pinhole.ground), ("distortion", check_distortion(self.distortion))):
            object.__setattr__(self, name, value)
        if self.covariance is not None:
            object.__setattr__(self, "covariance", _checked_covariance(self.covariance))

    @classmethod
    def from_camera(cls, camera: Camera, width: int, height: int, **more: object) -> "RoadsideCamera":
        """From a projection and ground plane, as calibration files hold them.

        Raises:
            DataError: no ground plane, or a projection that starts beside the origin of the camera frame.
        """
        if camera.ground is None:
            raise DataError("a roadside camera needs its ground plane: give its a b c d (a denorm file)")
        if np.abs(camera.center).max() > 1e-6:
            raise DataError(
                f"the projection's fourth column puts the camera at {camera.center.round(4).tolist()} m of its frame; "
                "expected the camera itself at the origin: P2 = [K | 0]"
            )
        return cls(width, height, camera.K, camera.ground, **more)  # type: ignore[arg-type]

    @property
    def pinhole(self) -> Camera:
        """The camera without its distortion: projection and ground plane, for models and label files."""
        return Camera(self.K, self.ground)

    @property
    def digest(self) -> str:
        """Sixteen hexadecimal digits that tell lenses, planes and sizes of cameras apart."""
        known = repr((self.width, self.height, self.K.tolist(), self.ground.tolist(), self.distortion.tolist()))
        return hashlib.blake2b(known.encode(), digest_size=8).hexdigest()

    @property
    def height_m(self) -> float:
        """Height of the camera above the ground."""
        return float(self.ground[3])

    @property
    def pitch_rad(self) -> float:
        """How far the camera looks down."""
        return angles_of_plane(self.ground)[0]

    @property
    def roll_rad(self) -> float:
        """How far the camera is turned about its axis: positive where the image's horizon falls to the right."""
        return angles_of_plane(self.ground)[1]

    @property
    def axes(self) -> np.ndarray:
        """(3, 3) columns: axes of the ground frame in the camera frame."""
        return ground_axes(self.pitch_rad, self.roll_rad)

    @property
    def deviations(self) -> dict[str, float] | None:
        """Standard deviations focal_px, pitch_deg, roll_deg and height_m; None where they are not known."""
        if self.covariance is None:
            return None
        focal, pitch, roll, height = np.sqrt(np.diag(self.covariance))
        return {
            "focal_px": float(focal * self.K[0, 0]),
            "pitch_deg": float(np.rad2deg(pitch)),
            "roll_deg": float(np.rad2deg(roll)),
            "height_m": float(height * self.height_m),
        }

    def undistort(self, pixels: np.ndarray) -> np.ndarray:
        """(..., 2) pixels of the pinhole camera at which the points seen at pixels (..., 2) would be."""
        if not self.distortion.any():
            return np.asarray(pixels, dtype=np.float64)
        return _to_pixels(undistort(_normalised(pixels, self.K), self.distortion), self.K)

    def distort(self, pixels: np.ndarray) -> np.ndarray:
        """(..., 2) pixels of the image at which points of the pinhole camera's pixels (..., 2) are; see `undistort`."""
        if not self.distortion.any():
            return np.asarray(pixels, dtype=np.float64)
        return _to_pixels(distort(_normalised(pixels, self.K), self.distortion), self.K)

    def undistortion_maps(self) -> tuple[np.ndarray, np.ndarray]:
        """x and y (height, width) float32, as `cv2.remap` takes them to make the pinhole camera's image of this one."""
        v, u = np.mgrid[: self.height, : self.width] + 0.5
        source = self.distort(np.stack([u, v], axis=-1)) - 0.5  # OpenCV's first pixel centre is (0, 0)
        return source[..., 0].astype(np.float32), source[..., 1].astype(np.float32)

    def image_to_ground(self, pixels: np.ndarray, height_m: float = 0.0) -> np.ndarray:
        """(..., 2) X and Y, m, where the rays of pixels (..., 2) meet the plane `height_m` above the ground.

        NaN at and above the horizon.
        """
        return _meet_plane(self.undistort(pixels), self.K, self.axes, self.height_m - height_m)

    def ground_to_image(self, points: np.ndarray) -> np.ndarray:
        """(..., 2) pixels of points of the ground frame, (..., 2) on the ground or (..., 3) above it.

        NaN beside and behind the camera.
        """
        points = np.asarray(points, dtype=np.float64)
        if points.shape[-1] == 2:
            points = np.concatenate([points, np.zeros_like(points[..., :1])], axis=-1)
        return self.camera_to_image(self.ground_to_camera(points))

    def camera_to_image(self, points: np.ndarray) -> np.ndarray:
        """(..., 2) pixels of points (..., 3) of the camera frame; NaN beside and behind the camera."""
        points = np.asarray(points, dtype=np.float64)
        depth = points[..., 2:]
        pixels, _ = self.pinhole.project(points)
        return self.distort(np.where(depth > NEAR_M, pixels, np.nan))

    def camera_to_ground(self, points: np.ndarray) -> np.ndarray:
        """(..., 3) points of the camera frame in the ground frame."""
        return np.asarray(points, dtype=np.float64) @ self.axes + [0.0, 0.0, self.height_m]

    def ground_to_camera(self, points: np.ndarray) -> np.ndarray:
        """(..., 3) points of the ground frame in the camera frame."""
        return (np.asarray(points, dtype=np.float64) - [0.0, 0.0, self.height_m]) @ self.axes.T

    def heading_of_ry(self, ry: np.ndarray) -> np.ndarray:
        """(...,) headings in the ground frame, in [-pi, pi), of label angles `ry` about the ground's normal."""
        return (self._ry_offset() - np.asarray(ry, dtype=np.float64) + np.pi) % (2 * np.pi) - np.pi

    def ry_of_heading(self, heading_rad: np.ndarray) -> np.ndarray:
        """(...,) label angles `ry` in [-pi, pi) of headings; inverse of `heading_of_ry`."""
        return self.heading_of_ry(heading_rad)

    def _ry_offset(self) -> float:
        """Heading of ry = 0: labels level the camera's x axis into the ground, this frame its viewing direction."""
        x = self.pinhole.ground_rotation()[:, 0] @ self.axes
        return float(np.arctan2(x[1], x[0]))

    def homography(self) -> np.ndarray:
        """(3, 3) from pixels of the pinhole camera to the ground: X, Y = (H p)[:2] / (H p)[2], p = (u, v, 1).

        Scaled so that H[2] p is positive below the horizon. With distortion, `undistort` comes first.
        """
        to_image = self.K @ np.stack([*self.axes.T[:2], -self.axes[:, 2] * self.height_m], axis=1)
        inverse = np.linalg.inv(to_image)
        foot = self.K @ (self.axes @ [0.0, 1.0, 0.0] * 1e3 - self.axes[:, 2] * self.height_m)
        return inverse / np.linalg.norm(inverse[2, :2]) * np.sign(inverse[2] @ foot)

    def horizon(self) -> np.ndarray:
        """(3,) line a u + b v + c = 0 of the pinhole camera's image, scaled to pixels, positive below it.

        Raises:
            DataError: a camera that looks straight down has none.
        """
        return self.pinhole.horizon()

    def ground_covariance(
        self, pixels: np.ndarray, pixel_std: np.ndarray | float, calibration: bool = True
    ) -> np.ndarray:
        """(..., 2, 2) covariance, m^2, of the ground points that pixels (..., 2) show.

        Args:
            pixel_std: of u and v, px: one number or (..., 2).
            calibration: whether the errors of the calibration, which all points share, are added where they are known.
        Returns:
            NaN at and above the horizon.
        """
        ideal = self.undistort(pixels)
        J = _derivatives(lambda move: _meet_plane(ideal + move, self.K, self.axes, self.height_m), 2, STEP * 1e3)
        std = np.broadcast_to(np.asarray(pixel_std, dtype=np.float64), ideal.shape)
        total = np.einsum("...ik,...k,...jk->...ij", J, std**2, J)
        if calibration and self.covariance is not None:
            J = self.ground_jacobian(pixels)
            total = total + J @ self.covariance @ np.swapaxes(J, -1, -2)
        return total

    def ground_jacobian(self, pixels: np.ndarray) -> np.ndarray:
        """(..., 2, 4) derivatives of the ground points of pixels (..., 2) by `PARAMETERS`."""
        ideal = self.undistort(pixels)

        def moved(step: np.ndarray) -> np.ndarray:
            K = self.K.copy()
            K[[0, 1], [0, 1]] *= np.exp(step[0])
            axes = ground_axes(self.pitch_rad + step[1], self.roll_rad + step[2])
            return _meet_plane(ideal, K, axes, self.height_m * np.exp(step[3]))

        return _derivatives(moved, 4, STEP)

    def _has_shape(self, width: int, height: int) -> bool:
        """Whether an image of this size can be the camera's resized, to within a pixel."""
        return abs(width * self.height - height * self.width) <= max(self.width, self.height)

    def scaled(self, width: int, height: int) -> "RoadsideCamera":
        """The camera of the image resized to other pixels.

        Raises:
            DataError: another aspect ratio (by more than a pixel), which no resize of the whole image gives.
        """
        if not self._has_shape(width, height):
            raise DataError(
                f"the camera was calibrated for {self.width}x{self.height} images, these have {width}x{height}: "
                "another shape, so they are cut or show another view; calibrate anew"
            )
        scale = np.diag([width / self.width, height / self.height, 1.0])
        return replace(self, width=width, height=height, K=scale @ self.K)

    def require_size(self, width: int, height: int, what: str = "the video") -> None:
        """Raise DataError unless images have the size that the camera was calibrated for."""
        if (width, height) != (self.width, self.height):
            same_view = self._has_shape(width, height)
            cure = "ask for scaling if it is the same view resized" if same_view else "calibrate anew"
            raise DataError(
                f"{what} has {width}x{height} pixels, its calibration was made for {self.width}x{self.height}: {cure}"
            )


def _checked_covariance(covariance: np.ndarray) -> np.ndarray:
    values = np.asarray(covariance, dtype=np.float64)
    good = values.shape == (4, 4) and np.isfinite(values).all() and np.allclose(values, values.T)
    if not good or np.linalg.eigvalsh(values).min() < -1e-9 * max(np.abs(values).max(), 1e-30):
        raise DataError(
            f"a calibration's covariance is a 4x4 symmetric matrix without negative directions, of {PARAMETERS}; got "
            f"{values.tolist()}"
        )
    return values


def _normalised(pixels: np.ndarray, K: np.ndarray) -> np.ndarray:
    pixels = np.asarray(pixels, dtype=np.float64)
    ones = np.ones_like(pixels[..., :1])
    return (np.concatenate([pixels, ones], axis=-1) @ np.linalg.inv(K).T)[..., :2]


def _to_pixels(xy: np.ndarray, K: np.ndarray) -> np.ndarray:
    return xy @ K[:2, :2].T + K[:2, 2]


def _meet_plane(pixels: np.ndarray, K: np.ndarray, axes: np.ndarray, drop_m: float) -> np.ndarray:
    """(..., 2) where rays of a pinhole camera's pixels meet a plane `drop_m` below it; NaN for those that rise."""
    rays = np.concatenate([_normalised(pixels, K), np.ones_like(pixels[..., :1])], axis=-1) @ axes  # X, Y, Z
    with np.errstate(divide="ignore", invalid="ignore"):
        reach = -drop_m / rays[..., 2:]
        return np.where((reach > 0) & np.isfinite(reach), rays[..., :2] * reach, np.nan)


def _derivatives(function, count: int, step: float) -> np.ndarray:  # type: ignore[no-untyped-def]
    """(..., D, count) central differences of a function of a (count,) step that returns (..., D)."""
    moves = step * np.eye(count)
    return np.stack([(function(move) - function(-move)) / (2 * step) for move in moves], axis=-1)
