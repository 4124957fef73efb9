"""What stands still in a clip, drawn once: the road with its markings and wear, grass, scenery, light, shadows, sky."""

from dataclasses import dataclass, replace

import cv2
import numpy as np

from d2road.synthetic.roadside.compose import cast_shadow, composite, occlusion_order, soften_shadows
from d2road.synthetic.roadside.raster import Light, Patch, render_vertices
from d2road.synthetic.roadside.scenery import Prop, sample_props
from d2road.synthetic.roadside.street_surface import light_ground, to_bytes
from d2road.synthetic.roadside.street_traffic import Street
from d2road.synthetic.roadside.views import View
from d2road.synthetic.traffic_incidents.network import LANE_WIDTH_M
from d2road.synthetic.traffic_video.clip_camera import ClipCamera
from d2road.synthetic.traffic_video.road_shape import RoadShape

SUPERSAMPLED = 3
FAR_M = 500.0
DASH_M, PERIOD_M, LINE_M = 6.0, 18.0, 0.15


@dataclass(frozen=True)
class Background:
    """Layers of the canvas, float32 (H, W, 3).

    sunlit: without shadows of vehicles; shaded: as if none of it lay in the sun; haze: what distance adds, and the sky;
    foreground: what stands before all vehicles, None for nothing.
    """

    sunlit: np.ndarray
    shaded: np.ndarray
    haze: np.ndarray
    foreground: Patch | None

    def towards(self, other: "Background", share: float) -> "Background":
        """Between two backgrounds of one scene in different light."""

        def mix(one: np.ndarray, two: np.ndarray) -> np.ndarray:
            return cv2.addWeighted(one, 1 - share, two, share, 0.0)

        front, other_front = self.foreground, other.foreground
        if front is not None and other_front is not None:
            front = replace(front, color=mix(front.color, other_front.color))
        sunlit, shaded = mix(self.sunlit, other.sunlit), mix(self.shaded, other.shaded)
        return Background(sunlit, shaded, mix(self.haze, other.haze), front)

    def with_shadows(self, shadow: np.ndarray, contact: np.ndarray) -> np.ndarray:
        """The canvas with the shadows and the dark below vehicles, (H, W) in 0..1, (H, W, 3) float32."""
        rows = np.flatnonzero((shadow > 0).any(axis=1) | (contact > 0).any(axis=1))
        image = self.sunlit.copy()
        if not len(rows):
            return image
        part = slice(int(rows[0]), int(rows[-1]) + 1)
        keeps, dark = 1 - shadow[part, :, None], 1 - contact[part, :, None]
        window = self.shaded[part] + (self.sunlit[part] - self.shaded[part]) * keeps
        image[part] = self.haze[part] + (window - self.haze[part]) * dark
        return image


def draw_background(rng: np.random.Generator, camera: ClipCamera, shape: RoadShape, light: Light) -> Background:
    """Draw everything that stands still."""
    view, street = camera.view, camera.street
    albedo = paint_road(rng, view, shape)
    props = sample_props(rng, street)
    shadow: np.ndarray = np.zeros(view.size[::-1], dtype=np.uint8)
    for prop in props:
        cast_shadow(shadow, view, light, prop.mesh, prop.mesh.stand_at(prop.position, prop.heading))
    still, contact = soften_shadows(shadow, np.zeros_like(shadow))
    nothing, everything = np.zeros_like(still), np.ones_like(still)
    grain = rng.integers(2**63)

    def lit(shadow: np.ndarray, contact: np.ndarray) -> np.ndarray:
        return light_ground(np.random.default_rng(grain), view, albedo, shadow, contact, light)

    sunlit, shaded, haze = lit(still, contact), lit(everything, nothing), lit(nothing, everything)
    before = [stands_before_road(street, prop) for prop in props]
    behind = [prop for prop, front in zip(props, before) if not front]
    for layer in (sunlit, shaded, haze):
        _place(layer, behind, view, light)
    front = [prop for prop, is_front in zip(props, before) if is_front]
    return Background(sunlit, shaded, haze, _foreground(front, view, light))


def paint_road(rng: np.random.Generator, view: View, shape: RoadShape) -> np.ndarray:
    """(H, W, 3) uint8 albedo of the ground: a carriageway of lanes with shoulder and margin, and grass."""
    half = shape.street.half_width
    s, t = _street_grid(view, shape)
    grass = np.array([0.17, 0.31, 0.25]) * rng.uniform(0.75, 1.25) + rng.normal(0, 0.025, 3)
    asphalt = np.full(3, rng.uniform(0.2, 0.36)) + rng.normal(0, 0.008, 3)
    white, kerb = np.full(3, rng.uniform(0.62, 0.85)), np.full(3, rng.uniform(0.4, 0.6))
    palette = [grass, kerb, asphalt, asphalt * 0.93, white]
    across = np.abs(t)
    index = (across < half + 0.3).astype(np.uint8) + (across < half)
    centers = np.arange(-half + LANE_WIDTH_M / 2, half, LANE_WIDTH_M)
    for center in centers[1:-1]:
        index[np.abs(np.abs(t - center) - 0.8) < 0.25] = 3  # worn by wheels
    for _ in range(int(rng.integers(3, 9))):
        s0, t0 = rng.uniform(5, 90), rng.uniform(-1, 1) * half
        s1, t1 = s0 + rng.uniform(1, 12), min(t0 + rng.uniform(0.3, 2.5), half)
        index[(s > s0) & (s < s1) & (t > t0) & (t < t1)] = len(palette)
        palette.append(asphalt * rng.uniform(0.75, 1.2))
    dashed = (s + np.float32(rng.uniform(0, PERIOD_M))) % np.float32(PERIOD_M) < DASH_M
    for number, border in enumerate(np.arange(-half + LANE_WIDTH_M, half - LANE_WIDTH_M / 2, LANE_WIDTH_M)):
        line = np.abs(t - np.float32(border)) < LINE_M / 2
        index[line & dashed if 0 < number < len(centers) - 2 else line] = 4
    image = np.take(np.array([to_bytes(color) for color in palette]), index, axis=0)
    return cv2.resize(image, view.size, interpolation=cv2.INTER_AREA)


def _street_grid(view: View, shape: RoadShape) -> tuple[np.ndarray, np.ndarray]:
    """s and t of the ground seen by each sample of a grid SUPERSAMPLED times as fine as the canvas, float32."""
    width, height = view.size
    u, v = ((np.arange(n * SUPERSAMPLED) + 0.5) / SUPERSAMPLED for n in (width, height))
    street, M = shape.street, view.R.T @ np.linalg.inv(view.camera.K)
    c, n = np.cos(street.yaw_rad), np.sin(street.yaw_rad)
    # Along the street, across it, and down, of the ray through each sample.
    rows = np.array([n * M[0] + c * M[1], c * M[0] - n * M[1], -M[2]])
    along, across, down = ((r[0] * u + r[2]).astype(np.float32) + (r[1] * v[:, None]).astype(np.float32) for r in rows)
    down = np.maximum(down, np.hypot(along, across) * np.float32(view.height_m / FAR_M))
    along, across = along / down, across / down
    drop = np.full_like(down, view.height_m)
    for _ in range(0 if shape.kind == "plane" else 4):
        # Down to the height found so far; grades are small against the rays' slopes.
        drop = (view.height_m - shape.height_at(along * drop, across * drop + street.camera_t)).astype(np.float32)
    return along * drop, across * drop + np.float32(street.camera_t)


def stands_before_road(street: Street, prop: Prop) -> bool:
    """Whether a thing stands on the camera's side of the road, so that rays to the road can meet it first."""
    _, t = RoadShape(street).street_coordinates(prop.position)
    side = np.sign(street.camera_t)
    return bool(abs(street.camera_t) > street.half_width and side * t > street.half_width)


def _place(layer: np.ndarray, props: list[Prop], view: View, light: Light) -> None:
    patches = [render_vertices(p.mesh, p.mesh.stand_at(p.position, p.heading), view, light) for p in props]
    composite(layer, patches, occlusion_order([p.footprint for p in props]) if props else [])


def _foreground(props: list[Prop], view: View, light: Light) -> Patch | None:
    """What stands before all vehicles as one patch, cut to what it covers."""
    color: np.ndarray = np.zeros((*view.size[::-1], 3), dtype=np.float32)
    alpha: np.ndarray = np.zeros(view.size[::-1], dtype=np.float32)
    for number in occlusion_order([p.footprint for p in props]) if props else []:
        prop = props[number]
        patch = render_vertices(prop.mesh, prop.mesh.stand_at(prop.position, prop.heading), view, light)
        if patch is not None:
            part = np.s_[patch.y0 : patch.y0 + len(patch.alpha), patch.x0 : patch.x0 + patch.alpha.shape[1]]
            color[part] = color[part] * (1 - patch.alpha[..., None]) + patch.color
            alpha[part] = alpha[part] * (1 - patch.alpha) + patch.alpha
    rows, columns = np.flatnonzero(alpha.any(axis=1)), np.flatnonzero(alpha.any(axis=0))
    if not len(rows):
        return None
    y0, y1, x0, x1 = int(rows[0]), int(rows[-1]) + 1, int(columns[0]), int(columns[-1]) + 1
    return Patch(x0, y0, color[y0:y1, x0:x1].copy(), alpha[y0:y1, x0:x1].copy())
