"""The film of a clip: each frame is the background, the vehicles of that instant and what the sensor adds.

All vehicles are drawn in occlusion order; how much of each remains visible is counted in the pixels of the image.
"""

from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass, field, replace
from typing import Any

import cv2
import numpy as np

from d2road.structures.polygons import clip_convex
from d2road.synthetic.roadside.compose import (
    Sensor,
    cast_shadow,
    composite,
    darken_below,
    expose,
    occlusion_order,
    sample_light,
    sample_noise_window,
    sample_sensor,
    soften_shadows,
)
from d2road.synthetic.roadside.meshes import MAX_CORNERS, SolidMesh
from d2road.synthetic.roadside.raster import NEAR_CLIP_M, Light, Patch, render_vertices
from d2road.synthetic.roadside.road_users import CLASSES, build_mesh
from d2road.synthetic.roadside.vehicles import HEADLIGHT, TAIL_LIGHT
from d2road.synthetic.roadside.views import HEIGHT, WIDTH, View
from d2road.synthetic.traffic_video.clip_camera import ClipCamera
from d2road.synthetic.traffic_video.road_background import Background, draw_background
from d2road.synthetic.traffic_video.road_shape import RoadShape

LIGHTS = ("day", "dusk", "nightfall")
LAMPS_BELOW = 0.6  # of the light of a clear day


@dataclass(frozen=True)
class FilmedVehicle:
    """A vehicle at an instant: its number, class, height, width, length (m), bottom centre (3,) and axes (3, 3: ahead,
    left, up) in the ground frame, heading in rad."""

    number: int
    kind: str
    hwl: tuple[float, float, float]
    position: np.ndarray
    axes: np.ndarray
    heading: float

    def corners(self) -> np.ndarray:
        """(8, 3) corners of the box in the ground frame, the first four those of the floor, in turn."""
        h, w, l = self.hwl  # noqa: E741
        plan = np.array([[1, 1], [-1, 1], [-1, -1], [1, -1]]) * [l / 2, w / 2]
        own = np.concatenate([np.hstack([plan, np.full((4, 1), z)]) for z in (0.0, h)])
        return own @ self.axes.T + self.position


@dataclass(frozen=True)
class Hour:
    """How a clip looks in one light: light, what stands still, sensor."""

    light: Light
    background: Background
    sensor: Sensor

    @property
    def has_lamps_on(self) -> bool:
        """Whether vehicles drive with their lamps on."""
        return self.light.ambient + self.light.sun_strength / 2 < LAMPS_BELOW

    def towards(self, later: "Hour", share: float) -> "Hour":
        """The hour between this one and a later one of the same scene: light adds up."""

        def mix(one: Any, other: Any) -> Any:
            return one * (1 - share) + other * share

        a, b = self.light, later.light
        strengths = float(mix(a.sun_strength, b.sun_strength)), float(mix(a.ambient, b.ambient))
        return Hour(
            Light(a.sun, *strengths, mix(a.haze_color, b.haze_color), a.haze_per_m),
            self.background.towards(later.background, share),
            replace(self.sensor, noise=float(mix(self.sensor.noise, later.sensor.noise))),
        )


@dataclass
class Film:
    """Draws the frames of one clip.

    Args:
        hours: one, or two between which the light changes from the first frame to the last of `frames`.
        seed: of looks and noise.
    """

    camera: ClipCamera
    shape: RoadShape
    hours: Sequence[Hour]
    seed: int
    frames: int = 1
    meshes: dict[int, SolidMesh] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.bend = self.camera.film_map()
        height, width = self.camera.view.size[::-1]
        u, v = np.meshgrid(np.arange(width) + 0.5, np.arange(height) + 0.5)
        bent = self.camera.in_image(np.stack([u, v], axis=-1))
        self.inside: np.ndarray = np.all((bent >= 0) & (bent <= [WIDTH, HEIGHT]), axis=-1)

    def frame(self, number: int, vehicles: list[FilmedVehicle]) -> tuple[np.ndarray, np.ndarray]:
        """The image (540, 960, 3) uint8 BGR of an instant, and what share of each vehicle's pixels is visible."""
        hour = self.hours[0]
        if len(self.hours) > 1:
            hour = hour.towards(self.hours[1], number / max(self.frames - 1, 1))
        canvas, visible = self.draw(vehicles, hour)
        if self.bend is not None:
            canvas = cv2.remap(canvas, *self.bend, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        rng = np.random.default_rng([self.seed, number])
        return expose(canvas, replace(hour.sensor, noise_at=sample_noise_window(rng))), visible

    def draw(self, vehicles: list[FilmedVehicle], hour: Hour) -> tuple[np.ndarray, np.ndarray]:
        """The canvas as light reaches the lens, float32, and the visible shares."""
        view, light = self.camera.view, hour.light
        shadow: np.ndarray = np.zeros(view.size[::-1], dtype=np.uint8)
        contact = shadow.copy()
        patches: list[Patch | None] = []
        for vehicle in vehicles:
            mesh, world = self.stand(vehicle)
            if mesh is None:
                patches.append(None)
                continue
            cast_shadow(shadow, view, light, mesh, world, float(vehicle.position[2]))
            floor = vehicle.corners()[:4]
            if view.to_camera(floor)[:, 2].min() > NEAR_CLIP_M:
                darken_below(contact, view, floor)
            mesh = switch_lamps_on(mesh, light) if hour.has_lamps_on else mesh
            patches.append(render_vertices(mesh, world, view, light))
        canvas = hour.background.with_shadows(*soften_shadows(shadow, contact))
        order = occlusion_order([vehicle.corners()[:4, :2] for vehicle in vehicles]) if vehicles else []
        patches.append(hour.background.foreground)
        return canvas, composite(canvas, patches, [*order, len(vehicles)], self.inside)[: len(vehicles)]

    def stand(self, vehicle: FilmedVehicle) -> tuple[SolidMesh | None, np.ndarray]:
        """A vehicle's mesh and its vertices where it stands, cut where it reaches behind the camera."""
        if vehicle.number not in self.meshes:
            self.meshes[vehicle.number] = self._build(vehicle)
        mesh = self.meshes[vehicle.number]
        world = mesh.vertices @ vehicle.axes.T + vehicle.position
        return cut_near(mesh, world, self.camera.view)

    def _build(self, vehicle: FilmedVehicle) -> SolidMesh:
        rng = np.random.default_rng([self.seed, 1, vehicle.number])
        color = CLASSES[vehicle.kind].sample_color(rng)
        return build_mesh(vehicle.kind, color, np.array(vehicle.hwl), int(rng.integers(2**31)))


def start_film(seed: int, camera: ClipCamera, shape: RoadShape, light_name: str, frames: int) -> Film:
    """Draw light, scenery and sensor of a clip; light_name: of LIGHTS."""
    rng = np.random.default_rng([seed, 0])
    light, sensor = sample_light(rng), sample_sensor(rng)
    looks = [(light, sensor)]
    if light_name != "day":
        evening = dusk(rng, light), replace(sensor, noise=float(rng.uniform(0.018, 0.032)))
        looks = [evening] if light_name == "dusk" else [*looks, evening]
    # The same scenery in each light.
    hours = [Hour(light, draw_background(deepcopy(rng), camera, shape, light), sensor) for light, sensor in looks]
    return Film(camera, shape, hours, seed, frames)


def dusk(rng: np.random.Generator, light: Light) -> Light:
    """Light after sunset: weak, bluish, almost without shadows."""
    level = rng.uniform(0.28, 0.42)
    haze = np.array([0.42, 0.33, 0.3]) * rng.uniform(0.7, 1.0)
    return Light(light.sun, 0.03, float(level), haze, light.haze_per_m)


def switch_lamps_on(mesh: SolidMesh, light: Light) -> SolidMesh:
    """The mesh with head and tail lights that shine by themselves."""
    colors = mesh.colors.copy()
    for lamp, strength in ((HEADLIGHT, 1.1), (TAIL_LIGHT, 1.0)):
        colors[np.isclose(mesh.colors, lamp).all(axis=1)] *= strength / light.ambient
    return replace(mesh, colors=colors)


def cut_near(mesh: SolidMesh, world: np.ndarray, view: View) -> tuple[SolidMesh | None, np.ndarray]:
    """The part of a mesh at `world` (V, 3) that lies before the camera's near plane; None for nothing."""
    depth = view.to_camera(world)[:, 2] - 2 * NEAR_CLIP_M
    if depth.min() >= 0:
        return mesh, world
    if depth.max() <= 0:
        return None, world
    faces = np.zeros_like(mesh.faces)
    vertices: list[np.ndarray] = []
    counts, textures, start = [], list(mesh.textures), 0
    for number, count in enumerate(mesh.counts):
        corners = mesh.faces[number, :count]
        kept = clip_convex(world[corners], depth[corners])[:MAX_CORNERS]
        if len(kept) != count or (depth[corners] < 0).any():
            textures[number] = -1
        if len(kept) < 3:  # of no area, so that it is not seen
            kept = np.repeat(world[np.argmax(depth)][None], 3, axis=0)
        faces[number] = start + np.minimum(np.arange(MAX_CORNERS), len(kept) - 1)
        vertices.append(kept)
        counts.append(len(kept))
        start += len(kept)
    return replace(mesh, faces=faces, counts=counts, textures=textures), np.concatenate(vertices)
