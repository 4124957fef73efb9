"""One frame: everything drawn in occlusion order, with what remains visible of each object."""

from dataclasses import dataclass

import cv2
import numpy as np

from d2road.synthetic.roadside.meshes import SolidMesh
from d2road.synthetic.roadside.raster import NEAR_CLIP_M, SHIFT, Light, Patch, face_normals, fixed_point, render_mesh
from d2road.synthetic.roadside.road_users import build_mesh
from d2road.synthetic.roadside.scenery import sample_props
from d2road.synthetic.roadside.street_surface import light_ground, paint_ground
from d2road.synthetic.roadside.street_traffic import Actor, Street, sample_actors, sample_street
from d2road.synthetic.roadside.textures import sensor_noise
from d2road.synthetic.roadside.views import HEIGHT, WIDTH, View, sample_view


@dataclass(frozen=True)
class Frame:
    """A rendered view: image (540, 960, 3) uint8 BGR, actors, and the visible share of each one's pixels."""

    image: np.ndarray
    view: View
    street: Street
    actors: list[Actor]
    visible: np.ndarray


def render_frame(rng: np.random.Generator) -> Frame:
    """Draw a camera and a scene, and photograph it."""
    view = sample_view(rng)
    street = sample_street(rng)
    return render_scene(rng, view, street, sample_actors(rng, street, view))


def render_scene(rng: np.random.Generator, view: View, street: Street, actors: list[Actor]) -> Frame:
    """Photograph given actors on a given street; `rng` decides light, scenery and camera."""
    light = sample_light(rng)
    things = [
        (build_mesh(a.kind, a.color_name, a.hwl, a.mesh_seed), a.position, a.heading, a.footprint) for a in actors
    ]
    things += [(p.mesh, p.position, p.heading, p.footprint) for p in sample_props(rng, street)]
    shadow, contact = _cast_shadows(view, light, things, len(actors))
    image = light_ground(rng, view, paint_ground(rng, view, street), shadow, contact, light)
    patches = [render_mesh(mesh, position, heading, view, light) for mesh, position, heading, _ in things]
    order = occlusion_order([thing[3] for thing in things])
    visible = composite(image, patches, order)[: len(actors)]
    return Frame(photograph(rng, image), view, street, actors, visible)


def sample_light(rng: np.random.Generator) -> Light:
    """Sunny to overcast."""
    elevation, azimuth = np.deg2rad(rng.uniform(25, 70)), rng.uniform(0, 2 * np.pi)
    sun = np.array([np.cos(elevation) * np.cos(azimuth), np.cos(elevation) * np.sin(azimuth), np.sin(elevation)])
    strength = rng.uniform(0.0, 0.12) if rng.random() < 0.35 else rng.uniform(0.3, 0.7)
    haze_color = np.array([0.84, 0.8, 0.77]) * rng.uniform(0.85, 1.1) + rng.normal(0, 0.015, 3)
    return Light(sun, float(strength), float(1.0 - 0.62 * strength), haze_color, float(rng.uniform(0.0005, 0.0035)))


def _cast_shadows(view: View, light: Light, things: list[tuple], labelled: int) -> tuple[np.ndarray, np.ndarray]:
    """Masks (540, 960) in 0..1: sunlight that objects keep from the ground, and the dark below vehicles."""
    shadow: np.ndarray = np.zeros(view.size[::-1], dtype=np.uint8)
    contact = shadow.copy()
    for number, (mesh, position, heading, footprint) in enumerate(things):
        cast_shadow(shadow, view, light, mesh, mesh.stand_at(position, heading))
        if number < labelled:
            darken_below(contact, view, np.concatenate([footprint, np.zeros((4, 1))], axis=1))
    return soften_shadows(shadow, contact)


def cast_shadow(
    shadow: np.ndarray, view: View, light: Light, mesh: SolidMesh, world: np.ndarray, ground_m: float = 0.0
) -> None:  # fmt: skip
    """Project every face that looks at the sun onto the ground, whose height here is `ground_m`; into the mask.

    Args:
        shadow: (H, W) uint8.
        world: (V, 3) vertices where they stand.
    """
    flat = world - ((world[:, 2:] - ground_m) / light.sun[2]) * light.sun
    cam = view.to_camera(flat)
    pixels = np.clip(view.camera.project(cam)[0], -5000, 6000)
    normals, _ = face_normals(world[mesh.faces])
    lit = (normals @ light.sun > 0) & (cam[:, 2][mesh.faces].min(axis=1) > NEAR_CLIP_M)
    corners = fixed_point(pixels)
    for number in np.flatnonzero(lit):
        if mesh.parents[number] < 0:
            cv2.fillConvexPoly(shadow, corners[mesh.faces[number, : mesh.counts[number]]], 255, cv2.LINE_8, SHIFT)


def darken_below(contact: np.ndarray, view: View, floor: np.ndarray) -> None:
    """Paint the dark below a vehicle, whose floor has the world corners (4, 3), into a mask (H, W) uint8."""
    cv2.fillConvexPoly(contact, fixed_point(view.camera.project(view.to_camera(floor))[0]), 150, cv2.LINE_8, SHIFT)


def soften_shadows(shadow: np.ndarray, contact: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The two masks (H, W) uint8 with soft edges, in 0..1."""
    height, width = shadow.shape
    shadow = cv2.GaussianBlur(shadow, (3, 3), 0)
    small = cv2.resize(contact, (width // 4, height // 4), interpolation=cv2.INTER_AREA)
    contact = cv2.max(cv2.resize(cv2.GaussianBlur(small, (3, 3), 0), (width, height)), contact)
    return shadow.astype(np.float32) / 255, contact.astype(np.float32) / 255


def occlusion_order(footprints: list[np.ndarray]) -> list[int]:
    """Far to near, so that painting in this order hides what is hidden.

    Things are upright on the ground and their footprints (K, 2) are convex and apart. Seen from above, one hides
    another only if a ray from the camera's foot enters it first; for convex shapes within half a turn that relation has
    no cycles, so sorting by it is exact, unlike sorting by distance. Footprints that touch fall back to distance.
    """
    count = len(footprints)
    azimuth = [np.arctan2(f[:, 0], f[:, 1]) for f in footprints]
    low, high = np.array([[a.min(), a.max()] for a in azimuth]).reshape(-1, 2).T
    nearest = np.array([np.hypot(*f.mean(axis=0)) for f in footprints])
    hides: list[set[int]] = [set() for _ in range(count)]
    for i in range(count):
        for j in range(i + 1, count):
            start, end = max(low[i], low[j]), min(high[i], high[j])
            if start >= end:
                continue
            direction = np.array([np.sin((start + end) / 2), np.cos((start + end) / 2)])
            front = i if _entry(footprints[i], direction) < _entry(footprints[j], direction) else j
            hides[front].add(i + j - front)
    order: list[int] = []
    left = sorted(range(count), key=lambda k: -nearest[k])
    done: set[int] = set()
    while left:
        # The farthest thing that hides nothing still to come; a cycle (things in contact) yields to distance.
        pick = next((k for k in left if hides[k] <= done), left[0])
        left.remove(pick)
        done.add(pick)
        order.append(pick)
    return order


def _entry(polygon: np.ndarray, direction: np.ndarray) -> float:
    """Distance at which a ray from the origin enters a convex polygon (K, 2); inf if it misses."""
    start, edge = polygon, np.roll(polygon, -1, axis=0) - polygon
    cross = direction[0] * edge[:, 1] - direction[1] * edge[:, 0]
    safe = np.where(np.abs(cross) < 1e-12, 1e-12, cross)
    along = (start[:, 0] * edge[:, 1] - start[:, 1] * edge[:, 0]) / safe
    across = (start[:, 0] * direction[1] - start[:, 1] * direction[0]) / safe
    hit = (along > 0) & (across >= -1e-9) & (across <= 1 + 1e-9)
    return float(along[hit].min()) if hit.any() else np.inf


def composite(
    image: np.ndarray, patches: list[Patch | None], order: list[int], inside: np.ndarray | None = None
) -> np.ndarray:
    """Paint patches into the image, in place.

    Args:
        inside: (H, W) bool; the pixels that count, all without it.
    Returns:
        (len(patches),) the share of each patch's covered pixels that nothing later in the order covers.
    """
    owner = np.full(image.shape[:2], -1, dtype=np.int32)
    own = np.zeros(len(patches))
    for number in order:
        patch = patches[number]
        if patch is None:
            continue
        h, w = patch.alpha.shape
        rows, columns = slice(patch.y0, patch.y0 + h), slice(patch.x0, patch.x0 + w)
        window = image[rows, columns]
        through = 1 - patch.alpha
        window *= cv2.merge([through, through, through])
        window += patch.color
        covered = patch.alpha > 0.5
        if inside is not None:
            covered &= inside[rows, columns]
        own[number] = covered.sum()
        np.copyto(owner[rows, columns], number, where=covered)
    seen = np.bincount(owner[owner >= 0], minlength=len(patches))[: len(patches)]
    return np.where(own > 0, seen / np.maximum(own, 1), 0.0)


@dataclass(frozen=True)
class Sensor:
    """Lens and sensor: deviation of the blur in pixels, gains of B, G, R, strength of the vignette, where the window
    of noise begins (row, column) and how strong it is, exponent of the tone curve."""

    blur_px: float
    gains: np.ndarray
    vignette: float
    noise_at: tuple[int, int]
    noise: float
    exponent: float


def sample_noise_window(rng: np.random.Generator) -> tuple[int, int]:
    """Where in the tile of sensor noise the window of a frame begins: row, column."""
    height, width = sensor_noise().shape[:2]
    return int(rng.integers(height - HEIGHT)), int(rng.integers(width - WIDTH))


def sample_sensor(rng: np.random.Generator) -> Sensor:
    """Blur, exposure, colour cast, vignette, noise, tone curve."""
    blur = rng.uniform(0.35, 0.85)
    gains = rng.uniform(0.8, 1.2) * (1 + rng.normal(0, 0.03, 3))
    vignette = rng.uniform(0, 0.12)
    return Sensor(blur, gains, vignette, sample_noise_window(rng), rng.uniform(0.004, 0.02), rng.uniform(0.8, 1.1))


def photograph(rng: np.random.Generator, image: np.ndarray) -> np.ndarray:
    """Through a lens and sensor that are drawn. Returns uint8."""
    return expose(image, sample_sensor(rng))


def expose(image: np.ndarray, sensor: Sensor) -> np.ndarray:
    """The linear image (540, 960, 3), float32, of the scene as the sensor gives it: uint8."""
    image = cv2.GaussianBlur(image, (0, 0), sensor.blur_px)
    row = np.linspace(-1, 1, HEIGHT, dtype=np.float32)[:, None] ** 2
    column = np.linspace(-1, 1, WIDTH, dtype=np.float32)[None] ** 2
    vignette = 1 - np.float32(sensor.vignette) * (row + column)
    image *= cv2.merge([vignette * np.float32(g) for g in sensor.gains])
    dy, dx = sensor.noise_at
    image += sensor_noise()[dy : dy + HEIGHT, dx : dx + WIDTH] * np.float32(sensor.noise)
    image *= 1023
    levels = np.clip(image, 0, 1023, out=image).astype(np.intp)
    # A tone curve by table: gamma close to 1 around mid-grey, soft highlights.
    x = np.linspace(0, 1, 1024) ** sensor.exponent
    table = np.clip(255 * x * (1.08 - 0.08 * x), 0, 255).astype(np.uint8)
    return np.take(table, levels, mode="clip")
