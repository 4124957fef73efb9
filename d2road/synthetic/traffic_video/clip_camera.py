"""The camera of a clip: on its pole beside or above SUMO's road, with a lens that may distort.

The scene is drawn without distortion on a canvas a little larger than the image; `ClipCamera.film_map` bends it into
the image, so that everything in it, ground and vehicles, is bent alike.
"""

from dataclasses import dataclass, replace

import cv2
import numpy as np

from d2road.structures.road_axis import RoadAxis
from d2road.structures.roadside_camera import RoadsideCamera
from d2road.synthetic.roadside.street_traffic import Street
from d2road.synthetic.roadside.views import HEIGHT, WIDTH, View, make_view, sample_view
from d2road.synthetic.traffic_incidents.network import LANE_WIDTH_M, Road

HEIGHTS_M = (5.0, 10.0)
PLACES_M = (800.0, 1380.0)  # of poles along SUMO's road, clear of the ramp
MAP_CELL = 6  # pixels
K1, K2 = (-0.28, -0.08), (0.0, 0.08)  # of OpenCV's model: barrels


@dataclass(frozen=True)
class ClipCamera:
    """A camera over a road.

    model: what the calibration says; view: of the canvas, without distortion; margin: pixels of the canvas left and
    above of the image; street: SUMO's road in the ground frame; x_m: the camera's place along SUMO's road; downstream:
    whether it looks with the traffic.
    """

    model: RoadsideCamera
    view: View
    margin: tuple[int, int]
    street: Street
    x_m: float
    downstream: bool

    def ground_from_sumo(self) -> np.ndarray:
        """(3, 3) homogeneous: places x, y, 1 on SUMO's map to X, Y, 1 of the ground frame."""
        sense = 1.0 if self.downstream else -1.0
        origin = self.street.to_world(-sense * self.x_m, 0.0)
        x, y = self.street.to_world(sense * (1 - self.x_m), 0.0), self.street.to_world(-sense * self.x_m, -sense)
        return np.vstack([np.stack([x - origin, y - origin, origin], axis=1), [0.0, 0.0, 1.0]])

    def to_ground(self, xy: np.ndarray) -> np.ndarray:
        """(..., 2) places on SUMO's map in the ground frame."""
        T = self.ground_from_sumo()
        return np.asarray(xy) @ T[:2, :2].T + T[:2, 2]

    def heading(self, sumo_rad: np.ndarray) -> np.ndarray:
        """Headings on SUMO's map in the ground frame, in [-pi, pi)."""
        turn = np.asarray(sumo_rad) + (0.0 if self.downstream else np.pi)
        return (self.street.heading(0.0) + turn + np.pi) % (2 * np.pi) - np.pi

    def in_image(self, canvas_px: np.ndarray) -> np.ndarray:
        """Pixels (..., 2) of the canvas as pixels of the image, bent by the lens."""
        return self.model.distort(np.asarray(canvas_px) - np.array(self.margin))

    def film_map(self) -> tuple[np.ndarray, np.ndarray] | None:
        """Where in the canvas each pixel of the image is seen, for `cv2.remap`; None if both are the same."""
        if not self.model.distortion.any():
            return None
        # Solved at the middles of coarse cells, one beyond each edge, and linear between them: to 0.01 pixels.
        u, v = np.meshgrid(*((np.arange(-1, size // MAP_CELL + 2) + 0.5) * MAP_CELL for size in (WIDTH, HEIGHT)))
        coarse = self.model.undistort(np.stack([u, v], axis=-1))
        fine = cv2.resize(coarse, None, fx=MAP_CELL, fy=MAP_CELL, interpolation=cv2.INTER_LINEAR)
        # OpenCV's first pixel centre is (0, 0).
        ideal = fine[MAP_CELL:, MAP_CELL:][:HEIGHT, :WIDTH] + np.array(self.margin) - 0.5
        return cv2.convertMaps(ideal[..., 0].astype(np.float32), ideal[..., 1].astype(np.float32), cv2.CV_16SC2)


def sample_camera(
    rng: np.random.Generator, road: Road, key_x: float, share: float, distorted: bool, downstream: bool
) -> ClipCamera:
    """Draw a pole, a lens and where they look.

    Args:
        key_x: place on SUMO's road, m, that is to be seen at 25 to 50 m.
        share: in 0..1; where in HEIGHTS_M the pole's height is, so that a few clips have low and high poles.
    """
    height = HEIGHTS_M[0] + share * (HEIGHTS_M[1] - HEIGHTS_M[0])
    plain = sample_view(rng, (height, height))
    drawn = round(float(rng.uniform(*K1)), 4), round(float(rng.uniform(*K2)), 4)
    street = _sample_street(rng, road)
    ahead = float(rng.uniform(25.0, 50.0))
    x_m = round(float(np.clip(key_x - ahead if downstream else key_x + ahead, *PLACES_M)), 3)
    model = RoadsideCamera.from_camera(
        plain.camera, WIDTH, HEIGHT, distortion=np.array(drawn if distorted else (0.0, 0.0)),
        road=_road_axis(street, road, downstream),
    )  # fmt: skip
    margin = _margin(model)
    shifted = plain.camera.K + np.array([[0, 0, margin[0]], [0, 0, margin[1]], [0, 0, 0.0]])
    size = (WIDTH + 2 * margin[0], HEIGHT + 2 * margin[1])
    view = replace(make_view(shifted, plain.height_m, plain.pitch_rad, plain.roll_rad), size=size)
    return ClipCamera(model, view, margin, street, x_m, downstream)


def _road_axis(street: Street, road: Road, downstream: bool) -> RoadAxis:
    """The lanes that traffic drives in, from the right; the axis points where it drives to."""
    sense = 1.0 if downstream else -1.0
    middles = np.array([road.lane_y(lane) for lane in road.lanes])
    borders = np.append(middles - LANE_WIDTH_M / 2, middles[-1] + LANE_WIDTH_M / 2) + sense * street.camera_t
    heading = street.heading(0.0 if downstream else np.pi)
    return RoadAxis(float((heading + np.pi) % (2 * np.pi) - np.pi), borders, np.ones(len(middles), dtype=np.int64))


def _margin(model: RoadsideCamera) -> tuple[int, int]:
    """Pixels that the canvas needs on each side, in whole fours."""
    if not model.distortion.any():
        return 0, 0
    edge = np.linspace(0, 1, 65)
    border = np.concatenate([np.stack([edge, edge * 0 + k], axis=1) for k in (0, 1)])
    border = np.concatenate([border, border[:, ::-1]]) * [WIDTH, HEIGHT]
    half = np.array([WIDTH / 2, HEIGHT / 2])
    beyond = np.abs(model.undistort(border) - half).max(axis=0) - half
    across, down = (int(np.ceil((max(b, 0) + 2) / 4)) * 4 for b in beyond)
    return across, down


def _sample_street(rng: np.random.Generator, road: Road) -> Street:
    """SUMO's carriageway as a street of the renderer, and the camera beside or above it."""
    half = (len(road.lanes) + 2) * LANE_WIDTH_M / 2
    spot = rng.choice(["right", "left", "gantry"], p=[0.4, 0.35, 0.25])
    offset = half + rng.uniform(0.5, 3.0)
    camera_t = {"right": offset, "left": -offset, "gantry": rng.uniform(-0.6, 0.6) * half}[spot]
    aim_s, aim_t = rng.uniform(24, 45), rng.uniform(-0.4, 0.4) * half
    yaw = -np.arctan2(aim_t - camera_t, aim_s) + np.deg2rad(rng.normal(0, 3.0))
    return Street(
        yaw_rad=float(yaw), camera_t=float(camera_t), lane_width=LANE_WIDTH_M, lanes=1, median=0.0,
        shoulder=float(half - LANE_WIDTH_M), pavement=0.0, crossing_s=None, crossing_half=0.0, zebra_s=None,
        verge_is_paved=False,
    )  # fmt: skip
