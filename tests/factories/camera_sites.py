"""Roadside cameras beside a straight road, for tests: no roll, no distortion, the road along the viewing direction."""

import numpy as np

from d2road.structures.road_axis import RoadAxis
from d2road.structures.roadside_camera import RoadsideCamera, plane_from_angles
from d2road.traffic.seeing.camera_site import CameraSite

FOCAL, HEIGHT_M, PITCH = 1000.0, 8.0, np.deg2rad(10.0)
LANES = {"1": 4.0, "2": 7.5}


def straight_camera(direction: int = 1) -> RoadsideCamera:
    """960 x 540, 8 m high, 10 degrees down; two lanes of one direction, 2.25 to 9.25 m to the left."""
    K = np.array([[FOCAL, 0.0, 480.0], [0.0, FOCAL, 270.0], [0.0, 0.0, 1.0]])
    road = RoadAxis(np.pi / 2, np.array([2.25, 5.75, 9.25]), np.array([direction] * 2))
    return RoadsideCamera(960, 540, K, plane_from_angles(PITCH, 0.0, HEIGHT_M), road=road)


def straight_site(direction: int = 1, origin_s: float = 0.0, near_m: float = 10.0, far_m: float = 80.0) -> CameraSite:
    """The camera beside trajectories with lanes 1 and 2."""
    return CameraSite(straight_camera(direction), origin_s, direction, LANES, near_m, far_m)
