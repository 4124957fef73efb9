"""The image without objects: sky, grass, pavement, road and markings, then light, shadows and haze on them."""

import cv2
import numpy as np

from d2road.synthetic.roadside.raster import SHIFT, Light, fixed_point, project_polygon
from d2road.synthetic.roadside.street_traffic import Street
from d2road.synthetic.roadside.textures import ground_noise
from d2road.synthetic.roadside.views import View

ROAD_END_M = 320.0


class GroundPainter:
    """Paints flat colours on the ground plane of a view into an 8-bit albedo image."""

    def __init__(self, view: View, street: Street, base_color: np.ndarray) -> None:
        self.view = view
        self.street = street
        self.image = np.empty((*view.size[::-1], 3), dtype=np.uint8)
        self.image[:] = to_bytes(base_color)

    def quad(self, s: tuple[float, float], t: tuple[float, float], color: np.ndarray) -> None:
        """Fill a rectangle of the street frame."""
        corners = self.street.to_world(np.array([s[0], s[1], s[1], s[0]]), np.array([t[0], t[0], t[1], t[1]]))
        self.polygon(corners, color)

    def polygon(self, corners: np.ndarray, color: np.ndarray) -> None:
        """Fill a convex polygon (K, 2) of the world frame."""
        pixels = project_polygon(self.view, np.concatenate([corners, np.zeros((len(corners), 1))], axis=1))
        if len(pixels):
            cv2.fillConvexPoly(self.image, fixed_point(pixels), to_bytes(color).tolist(), cv2.LINE_AA, SHIFT)


def to_bytes(color: np.ndarray) -> np.ndarray:
    """A colour of 0..1 as 8-bit values."""
    return np.clip(np.asarray(color) * 255, 0, 255).astype(np.uint8)


def paint_ground(rng: np.random.Generator, view: View, street: Street) -> np.ndarray:
    """(540, 960, 3) uint8 albedo of everything flat."""
    grass = np.array([0.17, 0.31, 0.25]) * rng.uniform(0.75, 1.25) + rng.normal(0, 0.025, 3)
    paved = np.full(3, rng.uniform(0.4, 0.58)) + rng.normal(0, 0.02, 3)
    asphalt = np.full(3, rng.uniform(0.2, 0.36)) + rng.normal(0, 0.008, 3)
    painter = GroundPainter(view, street, paved * 0.9 if street.verge_is_paved else grass)
    half, end = street.half_width, (-12.0, ROAD_END_M)
    if street.pavement:
        for side in (-1, 1):
            painter.quad(end, (side * half, side * (half + street.pavement)), paved)
            for s in np.arange(6, 60, 2.0):  # slabs
                painter.quad((s, s + 0.03), (side * half, side * (half + street.pavement)), paved * 0.85)
    kerb = np.full(3, rng.uniform(0.45, 0.65))
    painter.quad(end, (-half - 0.18, half + 0.18), kerb)
    if street.crossing_s is not None:
        s0, s1 = street.crossing_s - street.crossing_half, street.crossing_s + street.crossing_half
        painter.quad((s0 - 2.2, s1 + 2.2), (-90, 90), paved if street.pavement else grass * 0.9)
        painter.quad((s0 - 0.18, s1 + 0.18), (-90, 90), kerb)
        painter.quad((s0, s1), (-90, 90), asphalt)
    painter.quad(end, (-half, half), asphalt)
    _paint_wear(rng, painter, asphalt)
    _paint_markings(rng, painter, grass)
    return painter.image


def _paint_wear(rng: np.random.Generator, painter: GroundPainter, asphalt: np.ndarray) -> None:
    """Patches of newer tar, wheel tracks, manholes."""
    street = painter.street
    for lane in _lanes(street):
        center = street.lane_center(lane)
        for track in (-0.8, 0.8):
            painter.quad((-12, ROAD_END_M), (center + track - 0.25, center + track + 0.25), asphalt * 0.93)
        if rng.random() < 0.5:
            s = rng.uniform(6, 60)
            painter.quad((s, s + rng.uniform(0.6, 0.9)), (center - 0.35, center + 0.35), asphalt * 0.7)
    for _ in range(int(rng.integers(0, 6))):
        s, t = rng.uniform(5, 90), rng.uniform(-1, 1) * street.half_width
        painter.quad((s, s + rng.uniform(1, 12)), (t, t + rng.uniform(0.3, 2)), asphalt * rng.uniform(0.75, 1.2))


def _lanes(street: Street) -> list[int]:
    return [sign * lane for lane in range(1, street.lanes + 1) for sign in (1, -1)]


def _paint_markings(rng: np.random.Generator, painter: GroundPainter, grass: np.ndarray) -> None:
    street = painter.street
    white = np.full(3, rng.uniform(0.62, 0.85))
    middle = np.array([0.15, 0.6, 0.75]) if rng.random() < 0.4 else white
    line = rng.uniform(0.1, 0.17)
    if street.crossing_s is None:
        runs = [(-12.0, ROAD_END_M)]
    else:
        open_from = street.crossing_s - street.crossing_half - 0.5
        open_to = street.crossing_s + street.crossing_half + 0.5
        runs = [(-12.0, open_from), (open_to, ROAD_END_M)]
    dash, gap = rng.choice([(2.0, 4.0), (4.0, 6.0), (6.0, 9.0)])
    edge = street.half_width - street.shoulder
    for s0, s1 in runs:
        _paint_middle(rng, painter, (s0, s1), middle, line, grass)
        if street.shoulder > 0.6:
            for t in (-edge, edge):
                painter.quad((s0, s1), (t, t + line), white)
        for lane in range(1, street.lanes):
            for sign in (-1, 1):
                t = sign * (street.median / 2 + lane * street.lane_width)
                for s in np.arange(max(s0, -6.0), min(s1, 130.0), dash + gap):
                    painter.quad((s, s + dash), (t - line / 2, t + line / 2), white * rng.uniform(0.88, 1.05))
    if street.zebra_s is not None:
        for t in np.arange(-edge + 0.3, edge - 0.3, 1.0):
            painter.quad((street.zebra_s - 1.5, street.zebra_s + 1.5), (t, t + 0.5), white * rng.uniform(0.85, 1.05))
        stop = street.zebra_s - 3.0
        painter.quad((stop - 0.35, stop), (street.median / 2, edge), white)


def _paint_middle(
    rng: np.random.Generator, painter: GroundPainter, s: tuple[float, float], color: np.ndarray, line: float,
    grass: np.ndarray,
) -> None:  # fmt: skip
    median = painter.street.median
    if median > 1:
        painter.quad(s, (-median / 2 + 0.15, median / 2 - 0.15), np.full(3, 0.55))
        painter.quad(s, (-median / 2 + 0.35, median / 2 - 0.35), grass)
    elif median > 0:
        for t in (-median / 2, median / 2 - line):
            painter.quad(s, (t, t + line), color)
    else:
        painter.quad(s, (-line / 2, line / 2), color)


def ground_coordinates(view: View, step: int = 1) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """World x, y on the ground and the rays' slope at the centres of cells of step x step pixels, float32.

    The slope is metres up per metre forward, negative where the ground is seen; x and y are cut at 500 m.
    """
    M = view.R.T @ np.linalg.inv(view.camera.K)
    width, height = view.size
    u, v = (np.arange(width // step) + 0.5) * step, (np.arange(height // step)[:, None] + 0.5) * step
    x, y, z = ((m[0] * u + m[2]).astype(np.float32) + (m[1] * v).astype(np.float32) for m in M)
    slope = z / y
    reach = view.height_m / np.maximum(-z, view.height_m / 500)
    return x * reach, y * reach, slope


def light_ground(
    rng: np.random.Generator, view: View, albedo: np.ndarray, shadow: np.ndarray, contact: np.ndarray, light: Light
) -> np.ndarray:
    """(H, W, 3) float32: grain, light, shadows (0..1 masks) and haze over the albedo, sky above it."""
    # Everything but the shadows is smooth enough for half the resolution.
    x, y, slope = ground_coordinates(view, step=2)
    fine, coarse = ground_noise()
    shift = rng.uniform(0, 512, 4).astype(np.float32)
    distance = cv2.magnitude(x, y)
    grain: np.ndarray = cv2.remap(
        fine, x * 40 + shift[0], y * 40 + shift[1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_WRAP
    )
    grain *= 0.11 * np.minimum(14.0 / np.maximum(distance, 1), 1)
    patches = cv2.remap(coarse, x * 9 + shift[2], y * 9 + shift[3], cv2.INTER_LINEAR, borderMode=cv2.BORDER_WRAP)
    grain += 0.045 * patches
    haze: np.ndarray = light.haze(distance).astype(np.float32)
    level: np.ndarray = (1 + grain) * (1 - haze) / np.float32(255)
    level, haze, slope = (cv2.resize(a, view.size, interpolation=cv2.INTER_LINEAR) for a in (level, haze, slope))
    sunlit = np.float32(light.sun_strength * light.sun[2])
    level *= (np.float32(light.ambient) + sunlit * (1 - shadow)) * (1 - contact)
    image = albedo.astype(np.float32)
    image *= cv2.merge([level, level, level])
    image += cv2.merge([haze * np.float32(c) for c in light.haze_color])
    _paint_sky(image, slope, light)
    return image


def _paint_sky(image: np.ndarray, slope: np.ndarray, light: Light) -> None:
    """Blend the sky in above the horizon; in place, and only in the rows that reach it."""
    rows = np.flatnonzero((slope > -0.008).any(axis=1))
    if not len(rows):
        return
    top = slope[: rows[-1] + 1, :, None]
    zenith = light.haze_color * np.array([1.0, 0.82, 0.7])
    share = np.clip(top * 3, 0, 1)
    sky = (light.haze_color * (1 - share) + zenith * share).astype(np.float32)
    clear = np.clip((top + 0.008) / 0.008, 0, 1)
    window = image[: rows[-1] + 1]
    window += (sky - window) * clear
