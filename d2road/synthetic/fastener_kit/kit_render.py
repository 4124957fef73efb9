"""A kit on its tray as a camera above sees it: heights and colours, then light, shadow, mirroring, camera.

Everything is evaluated where the pixels are, so a turned tray is not a resampled image. Images are drawn at
OVERSAMPLING times their size. Letters: H, W of that size.
"""

from dataclasses import dataclass, field
from functools import lru_cache

import cv2
import numpy as np

from d2road.synthetic.fastener_kit.kit import CELLS, LABEL_BOX, TRAY_CORNER, TRAY_HALF, Box, Kit, KitPart
from d2road.synthetic.fastener_kit.kit_parts import COLORS, PART_KINDS

SIZE = 320
OVERSAMPLING = 2
CANVAS = SIZE * OVERSAMPLING
MM = CANVAS / 162  # pixels a mm, before the pose
WALL_MM = 7.0
HIGHEST_MM = 13.0  # of all parts, for the length of shadows
LABEL_MM = 5.6  # the label lies this high, on the rim


@dataclass(frozen=True)
class KitView:
    """How the tray lies below the camera, and the light. Directions point to the lamp."""

    shift_mm: tuple[float, float]
    turn: float
    scale: float
    light: tuple[float, float, float]
    brightness: float
    warmth: float
    noise_seed: int

    @property
    def light_direction(self) -> np.ndarray:
        return np.array(self.light) / np.linalg.norm(self.light)


@dataclass
class KitScene:
    """Surfaces of an image: heights (H, W) mm, linear RGB (H, W, 3), metal (H, W) 0..1, pixels of each part."""

    height: np.ndarray
    color: np.ndarray
    metal: np.ndarray
    gloss: np.ndarray
    tray_xy: tuple[np.ndarray, np.ndarray]
    part_masks: list[np.ndarray] = field(default_factory=list)


def sample_kit_view(rng: np.random.Generator) -> KitView:
    """A slightly different position of tray, camera and lamp."""
    azimuth, elevation = np.radians(-125 + rng.normal(0, 8)), np.radians(rng.uniform(48, 56))
    x, y = np.cos(azimuth) * np.cos(elevation), np.sin(azimuth) * np.cos(elevation)
    return KitView(
        shift_mm=tuple(rng.normal(0, 0.9, 2).clip(-2, 2)),
        turn=float(np.radians(np.clip(rng.normal(0, 0.9), -2.2, 2.2))),
        scale=float(1 + np.clip(rng.normal(0, 0.007), -0.016, 0.016)),
        light=(float(x), float(y), float(np.sin(elevation))),
        brightness=float(rng.uniform(0.92, 1.08)),
        warmth=float(rng.normal(0, 0.02)),
        noise_seed=int(rng.integers(2**31)),
    )


def tray_coordinates(view: KitView) -> tuple[np.ndarray, np.ndarray]:
    """Tray x and y (mm) of every pixel, (H, W) float32 each."""
    axis = (np.arange(CANVAS, dtype=np.float32) + 0.5 - CANVAS / 2) / (MM * view.scale)
    x, y = axis[None, :] - np.float32(view.shift_mm[0]), axis[:, None] - np.float32(view.shift_mm[1])
    cos, sin = np.float32(np.cos(view.turn)), np.float32(np.sin(view.turn))
    return cos * x + sin * y, cos * y - sin * x


def build_scene(kit: Kit, view: KitView, rng: np.random.Generator) -> KitScene:
    """Lay out tray, label and parts."""
    x, y = tray_coordinates(view)
    scene = _tray(x, y, rng)
    _stick_label(scene, kit.label_color)
    for part in kit.parts:
        scene.part_masks.append(_lay(scene, part, kit.color, rng))
    return scene


def box_distance(x: np.ndarray, y: np.ndarray, box: Box, corner: float) -> np.ndarray:
    """Signed distance in mm to a box with rounded corners, negative inside."""
    x0, y0, x1, y1 = box
    dx = np.abs(x - (x0 + x1) / 2) - (x1 - x0) / 2 + corner
    dy = np.abs(y - (y0 + y1) / 2) - (y1 - y0) / 2 + corner
    return np.hypot(np.maximum(dx, 0), np.maximum(dy, 0)) + np.minimum(np.maximum(dx, dy), 0) - corner


def _smooth(x: np.ndarray, low: float, high: float) -> np.ndarray:
    t = np.clip((x - low) / (high - low), 0, 1)
    return t * t * (3 - 2 * t)


@lru_cache(maxsize=1)
def _grain() -> tuple[np.ndarray, np.ndarray]:
    """(1024, 1024) fine grain and large patches, deviation 1; images take windows of them."""
    rng = np.random.default_rng(20240601)
    fine = cv2.GaussianBlur(rng.standard_normal((1024, 1024)).astype(np.float32), (0, 0), 1.2)
    coarse = rng.standard_normal((24, 24)).astype(np.float32)
    patches: np.ndarray = cv2.resize(coarse, (1024, 1024), interpolation=cv2.INTER_CUBIC)
    patches += 0.6 * cv2.resize(rng.standard_normal((90, 90)).astype(np.float32), (1024, 1024))
    return fine / fine.std(), patches / patches.std()


def _window(tile: np.ndarray, rng: np.random.Generator, size: tuple[int, int] = (CANVAS, CANVAS)) -> np.ndarray:
    top, left = (int(rng.integers(1024 - side + 1)) for side in size)
    return tile[top : top + size[0], left : left + size[1]]


def _tray(x: np.ndarray, y: np.ndarray, rng: np.random.Generator) -> KitScene:
    """The table, and on it a tray of grained plastic."""
    fine, patches = _grain()
    tray = box_distance(x, y, (-TRAY_HALF, -TRAY_HALF, TRAY_HALF, TRAY_HALF), TRAY_CORNER)
    cells = np.minimum.reduce([box_distance(x, y, cell.box, 3.0) for cell in CELLS.values()])
    label = box_distance(x, y, (LABEL_BOX[0] - 1, LABEL_BOX[1] - 1, LABEL_BOX[2] + 1, LABEL_BOX[3] + 1), 1.5)
    grain = _window(fine, rng)
    height = WALL_MM * _smooth(cells, -0.4, 1.0)
    height -= (WALL_MM - LABEL_MM + 0.2) * _smooth(-label, -0.2, 0.4)
    height = height * _smooth(-tray, 0.0, 1.2) - 3.0 * (tray > 0)
    height += 0.035 * grain * (tray < 0)
    on_tray = _smooth(-tray, -0.1, 0.1)[..., None]
    wood = (
        np.array([0.36, 0.30, 0.23], np.float32)
        * (1 + 0.10 * np.sin(y * 1.7 + 2.2 * _window(patches, rng)) + 0.04 * grain)[..., None]
    )
    plastic = np.array([0.085, 0.095, 0.11], np.float32) * (1 + 0.05 * _window(patches, rng) + 0.05 * grain)[..., None]
    color = plastic * on_tray + wood * (1 - on_tray)
    zeros = np.zeros_like(height, dtype=np.float32)
    return KitScene(height.astype(np.float32), color, zeros, zeros + 0.25, (x, y))


@lru_cache(maxsize=4)
def label_print(color: str) -> np.ndarray:
    """What is printed on the label, linear RGB, 8 pixels a mm."""
    scale, (x0, y0, x1, y1) = 8, LABEL_BOX
    width, tall = int((x1 - x0) * scale), int((y1 - y0) * scale)
    ink = np.zeros((tall, width), np.uint8)  # OpenCV writes text into 8-bit images alone
    cv2.putText(ink, "FIX-KIT M5", (int(34 * scale), 52), cv2.FONT_HERSHEY_DUPLEX, 1.5, 255, 3, cv2.LINE_AA)
    cv2.putText(ink, "3 / 3 / 3 / 4 / 2", (int(34 * scale), 100), cv2.FONT_HERSHEY_SIMPLEX, 1.0, 255, 2, cv2.LINE_AA)
    left = int(88 * scale)
    for i, bar in enumerate(np.random.default_rng(5).integers(1, 4, 46).tolist()):
        if i % 2 == 0:
            cv2.rectangle(ink, (left, 18), (left + 3 * bar - 1, tall - 18), 255, -1)
        left += 3 * bar
    paper = np.full((tall, width, 3), 0.78, np.float32)
    cv2.rectangle(paper, (12, 12), (int(30 * scale), tall - 12), COLORS[color], -1)
    paper *= 1 - 0.96 * ink[..., None].astype(np.float32) / 255
    return paper


def _stick_label(scene: KitScene, color: str) -> None:
    x, y = scene.tray_xy
    paper = label_print(color)
    inside = box_distance(x, y, LABEL_BOX, 0.8) < 0
    map_x = ((x - LABEL_BOX[0]) * 8 - 0.5).astype(np.float32)
    map_y = ((y - LABEL_BOX[1]) * 8 - 0.5).astype(np.float32)
    printed = cv2.remap(cv2.GaussianBlur(paper, (0, 0), 1.2), map_x, map_y, cv2.INTER_LINEAR)
    scene.color[inside] = printed[inside]
    scene.height[inside] = LABEL_MM
    scene.gloss[inside] = 0.1


def _lay(scene: KitScene, part: KitPart, kit_color: str, rng: np.random.Generator) -> np.ndarray:
    """Put a part on what lies below its middle; returns the pixels (H, W) bool that it covers."""
    kind, (x, y) = PART_KINDS[part.kind], scene.tray_xy
    # Found on every eighth pixel, with a margin of eight.
    reach = np.hypot(kind.length, kind.width) / 2 + 1
    near = (np.abs(x[::8, ::8] - part.x) < reach) & (np.abs(y[::8, ::8] - part.y) < reach)
    rows, columns = 8 * np.flatnonzero(near.any(1)), 8 * np.flatnonzero(near.any(0))
    window = np.s_[max(rows[0] - 8, 0) : rows[-1] + 9, max(columns[0] - 8, 0) : columns[-1] + 9]
    dx, dy = x[window] - part.x, y[window] - part.y
    cos, sin = np.cos(part.angle), np.sin(part.angle)
    covered, height, tone = kind.surface(cos * dx + sin * dy, cos * dy - sin * dx)
    fine, patches = _grain()
    wear = 1 + 0.05 * _window(patches, rng, covered.shape) + 0.03 * _window(fine, rng, covered.shape)
    tint = 1 + rng.normal(0, 0.025) + rng.normal(0, 0.01, 3)
    color = np.array(COLORS[part.color or kit_color] if kind.color is None else kind.color) * tint
    under = np.median(scene.height[window][covered])
    # Machined metal keeps fine marks that break up its reflections.
    height = height + (0.018 if kind.metal else 0.015) * _window(fine, rng, covered.shape)
    scene.height[window] = np.where(covered, under + height, scene.height[window])
    scene.color[window] = np.where(covered[..., None], color * (tone * wear)[..., None], scene.color[window])
    scene.metal[window] = np.where(covered, float(kind.metal), scene.metal[window])
    scene.gloss[window] = np.where(covered, 0.6, scene.gloss[window])
    mask = np.zeros(scene.height.shape, bool)
    mask[window] = covered
    return mask


def shade(scene: KitScene, view: KitView) -> np.ndarray:
    """(SIZE, SIZE, 3) uint8 RGB."""
    pixels = scene.height * np.float32(MM * view.scale)
    smooth = cv2.GaussianBlur(pixels, (0, 0), 0.8)
    gx, gy = cv2.Sobel(smooth, cv2.CV_32F, 1, 0, scale=1 / 8), cv2.Sobel(smooth, cv2.CV_32F, 0, 1, scale=1 / 8)
    nz = 1 / np.sqrt(1 + gx * gx + gy * gy)
    nx, ny = -gx * nz, -gy * nz
    lx, ly, lz = (np.float32(v) for v in view.light_direction)
    lit = _lit(smooth, view)
    open_sky = np.exp(-0.055 * np.maximum(cv2.GaussianBlur(smooth, (0, 0), 9) - smooth, 0))
    diffuse = 0.45 * open_sky * (0.55 + 0.45 * nz) + 1.05 * np.maximum(nx * lx + ny * ly + nz * lz, 0) * lit
    # The camera looks straight down: the mirrored direction of sight follows from the normal alone.
    rx, ry, rz = 2 * nz * nx, 2 * nz * ny, 2 * nz * nz - 1
    toward = rx * lx + ry * ly + rz * lz
    lamp = _smooth(toward, 0.72, 0.97) * lit
    window_light = _smooth(rx * 0.75 - ry * 0.25 + rz * 0.6, 0.55, 0.95)
    mirrored = (0.10 + 0.55 * _smooth(rz, -0.3, 1.0)) * open_sky + 1.7 * lamp + 0.45 * window_light * open_sky
    glint = scene.gloss * (0.5 * _smooth(toward, 0.86, 1.0) * lit + 0.05 * window_light)
    metal = scene.metal[..., None]
    light = metal * (0.25 * diffuse + 0.85 * mirrored)[..., None] + (1 - metal) * diffuse[..., None]
    linear = scene.color * light + ((1 - scene.metal) * glint)[..., None]
    return _camera(linear, view)


def _lit(height: np.ndarray, view: KitView) -> np.ndarray:
    """(H, W) 0..1: how much of the lamp each point sees, with the soft edges of a large lamp."""
    lx, ly, lz = view.light_direction
    flat = np.hypot(lx, ly)
    # Soft edges need no more than half the resolution.
    coarse = cv2.resize(height, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA) / 2
    blocked = np.zeros_like(coarse)
    for step in np.linspace(1.0, HIGHEST_MM * MM / 2 * flat / lz, 20):
        shift = np.array([[1, 0, step * lx / flat], [0, 1, step * ly / flat]], np.float32)
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        toward_lamp = cv2.warpAffine(coarse, shift, coarse.shape[::-1], flags=flags, borderMode=cv2.BORDER_REPLICATE)
        above = toward_lamp - coarse - np.float32(step * lz / flat)
        np.maximum(blocked, above / np.float32(0.8 + 0.22 * step), out=blocked)
    lit = 1 - 0.88 * _smooth(blocked, 0.0, 1.0)
    return cv2.resize(lit, height.shape[::-1], interpolation=cv2.INTER_LINEAR)


def _camera(linear: np.ndarray, view: KitView) -> np.ndarray:
    """Exposure, vignette, blur, pixels, noise, 8 bits."""
    axis = (np.arange(CANVAS, dtype=np.float32) + 0.5) / CANVAS - 0.5
    vignette = 1 - 0.28 * (axis[None, :] ** 2 + axis[:, None] ** 2)
    balance = np.array([1 + view.warmth, 1, 1 - view.warmth], np.float32)
    exposed = linear.astype(np.float32) * (1.25 * view.brightness * vignette)[..., None] * balance
    blurred = cv2.GaussianBlur(exposed, (0, 0), 0.9)
    small: np.ndarray = cv2.resize(blurred, (SIZE, SIZE), interpolation=cv2.INTER_AREA)
    # Highlights roll off instead of burning out.
    small = np.where(small > 0.7, 0.7 + 0.3 * np.tanh((small - 0.7) / 0.5), small)
    encoded = np.clip(small, 0, 1) ** (1 / 2.2)
    rng = np.random.default_rng(view.noise_seed)
    noise = (
        rng.standard_normal((SIZE, SIZE, 3), dtype=np.float32) * 0.006
        + rng.standard_normal((SIZE, SIZE, 1), dtype=np.float32) * 0.004
    )
    return np.round(np.clip(encoded + noise, 0, 1) * 255).astype(np.uint8)


def to_image_size(mask: np.ndarray, share: float = 0.5) -> np.ndarray:
    """(H, W) bool to (SIZE, SIZE) bool: pixels of which at least this share is covered."""
    return cv2.resize(mask.astype(np.float32), (SIZE, SIZE), interpolation=cv2.INTER_AREA) >= share
