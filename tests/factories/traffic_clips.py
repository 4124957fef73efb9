"""Cameras, films and vehicles of rendered traffic, without SUMO and without scenery."""

import numpy as np

from d2road.synthetic.roadside.compose import Sensor
from d2road.synthetic.roadside.meshes import Mesh, SolidMesh, add_loft, rectangle_ring
from d2road.synthetic.roadside.raster import Light
from d2road.synthetic.traffic_video.clip_camera import ClipCamera, sample_camera
from d2road.synthetic.traffic_video.clip_traffic import ROAD
from d2road.synthetic.traffic_video.film import Film, FilmedVehicle, Hour
from d2road.synthetic.traffic_video.road_background import Background
from d2road.synthetic.traffic_video.road_shape import RoadShape

NOON = Light(np.array([0.0, 0.0, 1.0]), 0.5, 0.5, np.zeros(3), 0.0)
CLEAR = Sensor(0.35, np.ones(3), 0.0, (0, 0), 0.0, 1.0)


def clip_camera(seed: int = 0, distorted: bool = False, downstream: bool = True, share: float = 0.5) -> ClipCamera:
    """A camera as clips have them, that looks at s = 1000 m of SUMO's road."""
    return sample_camera(np.random.default_rng(seed), ROAD, 1000.0, share, distorted, downstream)


def black_film(camera: ClipCamera, shape: RoadShape | None = None) -> Film:
    """A film of nothing but the vehicles."""
    empty = np.zeros((*camera.view.size[::-1], 3), dtype=np.float32)
    hour = Hour(NOON, Background(empty, empty, empty, None), CLEAR)
    return Film(camera, shape or RoadShape(camera.street), [hour], 0)


def box_mesh(hwl: tuple[float, float, float]) -> SolidMesh:
    """A white box that fills its 3D box."""
    height, width, length = hwl
    mesh = Mesh()
    add_loft(mesh, [rectangle_ring((-length / 2, length / 2), width / 2, z) for z in (0.0, height)], (1.0, 1.0, 1.0))
    return mesh.freeze()


def standing(
    shape: RoadShape, s: float, t: float, turn: float = 0.0, hwl: tuple[float, float, float] = (1.6, 1.8, 4.5),
    number: int = 1, kind: str = "car",
) -> FilmedVehicle:  # fmt: skip
    """A vehicle at a place of the street, turned from its direction."""
    place, heading = shape.street.to_world(s, t), shape.street.heading(turn)
    position = np.append(place, shape.height(place))
    return FilmedVehicle(number, kind, hwl, position, shape.axes(place, heading), float(heading))
