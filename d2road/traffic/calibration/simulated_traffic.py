"""Simulated calibration observations: vehicles on straight roads through drawn cameras, with the errors of a detector.

Errors are those that matter to a calibration: of a vehicle in all its frames (its box is always a little too wide), of
single frames, misses, outliers, lane changes, wander within the lane, and sizes whose mean is not that of the prior.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from d2road.structures.roadside_camera import RoadsideCamera, plane_from_angles
from d2road.traffic.calibration.box_projection import Lens, boxes_of_vehicles
from d2road.traffic.calibration.observations import CalibrationObservations
from d2road.traffic.calibration.size_priors import COMMON_STD, size_prior

WIDTH, HEIGHT = 960, 540
SEEN = ("t", "x1", "y1", "x2", "y2", "bottom_u", "bottom_v")
CLASSES, SHARES = ("car", "van", "truck", "bus"), (0.66, 0.14, 0.15, 0.05)


@dataclass(frozen=True)
class TrafficNoise:
    """Standard deviations of what goes wrong.

    edge_px, edge_share: of an edge in one frame, px and share of the box's height. vehicle_px, vehicle_share: the same,
    of a vehicle in all its frames. growth_px: of all boxes. common_size: of the log of all sizes. miss, outlier: shares
    of rows. lane_change: share of vehicles. wander_m: across the lane.
    """

    edge_px: float = 0.7
    edge_share: float = 0.015
    vehicle_px: float = 0.4
    vehicle_share: float = 0.015
    growth_px: float = 0.3
    common_size: float = COMMON_STD
    miss: float = 0.15
    outlier: float = 0.02
    lane_change: float = 0.1
    wander_m: float = 0.15


def draw_camera(rng: np.random.Generator) -> RoadsideCamera:
    """A camera 5 to 10 m high, of 42 to 52 degrees, whose image shows the road from about 12 m to beyond 80 m."""
    f = rng.uniform(1000.0, 1400.0)
    cx, cy = WIDTH / 2 + np.clip(rng.normal(0, 8), -20, 20), HEIGHT / 2 + np.clip(rng.normal(0, 6), -15, 15)
    height = rng.uniform(5.0, 10.0)
    near = np.arctan(height / rng.uniform(9.0, 16.0)) - np.arctan((HEIGHT - cy) / f)
    far = np.arctan(height / 80.0) + np.arctan(cy / f) - np.deg2rad(rng.uniform(1.5, 5.0))
    roll = np.deg2rad(np.clip(rng.normal(0, 0.9), -2.2, 2.2))
    K = np.array([[f, 0, cx], [0, f, cy], [0, 0, 1]])
    return RoadsideCamera(WIDTH, HEIGHT, K, plane_from_angles(min(near, far), roll, height))


def simulate_traffic(
    camera: RoadsideCamera,
    rng: np.random.Generator,
    seconds: float = 60.0,
    rate_hz: float = 5.0,
    noise: TrafficNoise = TrafficNoise(),  # noqa: B008 - frozen
    size_shift: float | None = None,
    pose: bool = True,
) -> CalibrationObservations:
    """Tracks of the vehicles that pass in so many seconds.

    Args:
        size_shift: log of the common factor of all sizes; None draws it with noise.common_size.
        pose: whether bottom centres are measured too.
    """
    shift = rng.normal(0, noise.common_size) if size_shift is None else size_shift
    growth = rng.normal(0, noise.growth_px)
    road = np.pi / 2 + np.deg2rad(rng.uniform(-14, 14))
    lanes = rng.integers(2, 5)
    first = rng.uniform(-3.5 * lanes - 6, 6.0)
    two_way = rng.random() < 0.5
    flow = rng.uniform(0.15, 0.4)  # vehicles a second and lane
    parts, classes, track = [], [], 0
    for lane in range(lanes):
        back = two_way and lane >= lanes // 2
        speed, start = rng.uniform(10.0, 25.0), -8.0
        while start < seconds:
            start += 1.0 + rng.exponential(1 / flow)
            offset = first + 3.5 * (lane + 0.5)
            rows = _one_vehicle(camera, rng, noise, road + np.pi * back, -offset if back else offset, start, speed)
            rows = rows[(rows[:, 0] >= 0) & (rows[:, 0] < seconds)]
            seen, cls = _seen(camera, rows, rng, noise, shift, growth, rate_hz)
            parts.append(np.column_stack([seen, np.full(len(seen), track)]))
            classes.append(cls)
            track += 1
    frame = pd.DataFrame(np.concatenate(parts), columns=[*SEEN, "track"]).assign(score=0.9)
    frame["cls"] = np.array(classes)[frame["track"].astype(int)]
    frame = frame if pose else frame.drop(columns=["bottom_u", "bottom_v"])
    frame["frame"] = np.round(frame["t"] * rate_hz).astype(int)
    return CalibrationObservations.from_frame(frame.sort_values("t", kind="stable"), camera.width, camera.height)


def _one_vehicle(
    camera: RoadsideCamera,
    rng: np.random.Generator,
    noise: TrafficNoise,
    heading: float,
    offset: float,
    start: float,
    lane_speed: float,
) -> np.ndarray:
    """(T, 4) time, X, Y, heading of a vehicle that enters `start` s after the beginning; ten rows a second."""
    speed = lane_speed * rng.uniform(0.85, 1.15)
    t = np.arange(0, 150.0 / speed, 0.1)
    along = -20.0 + speed * t + rng.uniform(-0.3, 0.3) * t**2 / 2
    sway = noise.wander_m * np.sqrt(2) * np.sin(2 * np.pi * t / rng.uniform(6, 15) + rng.uniform(0, 7))
    across = offset + rng.normal(0, 0.2) + sway
    if rng.random() < noise.lane_change:
        begins = rng.uniform(0, t[-1])
        phase = np.clip((t - begins) / 4.0, 0, 1)
        across = across + rng.choice([-3.5, 3.5]) * (phase - np.sin(2 * np.pi * phase) / (2 * np.pi))
    if np.sin(heading) < 0:  # comes from afar
        along = along - 120.0
    x = along * np.cos(heading) - across * np.sin(heading)
    y = along * np.sin(heading) + across * np.cos(heading)
    turn = np.arctan2(np.gradient(y), np.gradient(x))
    return np.stack([start + t, x, y, turn], axis=1)


def _seen(
    camera: RoadsideCamera,
    rows: np.ndarray,
    rng: np.random.Generator,
    noise: TrafficNoise,
    shift: float,
    growth: float,
    rate_hz: float,
) -> tuple[np.ndarray, str]:
    """(T, 7) what a detector says of one vehicle, see SEEN, and its class."""
    cls = str(rng.choice(CLASSES, p=SHARES))
    prior = size_prior(cls)
    assert prior is not None
    size = np.log(prior.mean_hwl) + shift + np.clip(rng.normal(size=3), -2, 2) * prior.spread_hwl
    rows = rows[(rows[:, 2] > 4) & (rows[:, 2] < 110)][:: max(1, round(10 / rate_hz))]
    rows = rows[rng.random(len(rows)) > noise.miss]
    pixels = camera.ground_to_image(rows[:, 1:3])
    theta = np.array([0.0, camera.pitch_rad, camera.roll_rad, np.log(camera.height_m)])
    lens = Lens(camera.K, camera.distortion)
    boxes = boxes_of_vehicles(camera.undistort(pixels), np.tile(size, (len(rows), 1)), rows[:, 3], theta, lens)
    height = (boxes[:, 3:] - boxes[:, 1:2]).clip(1, 400)
    std = np.hypot(noise.edge_px, noise.edge_share * height)
    same = np.hypot(noise.vehicle_px, noise.vehicle_share * height)
    wild = np.where(rng.random((len(boxes), 1)) < noise.outlier, 12.0, 1.0)
    bottom = pixels + same * rng.normal(size=2) + 1.5 * std * rng.normal(size=pixels.shape)
    boxes = boxes + same * rng.normal(size=4) + std * wild * rng.normal(size=boxes.shape)
    boxes = boxes + growth * np.array([-1, -1, 1, 1])
    boxes = np.clip(boxes, 0, [camera.width, camera.height, camera.width, camera.height])
    whole = (boxes[:, 2] - boxes[:, 0] > 4) & (boxes[:, 3] - boxes[:, 1] > 4)
    return np.concatenate([rows[:, :1], boxes, bottom], axis=1)[whole], cls
