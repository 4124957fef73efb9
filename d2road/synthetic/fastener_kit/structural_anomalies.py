"""Structural anomalies: scratches and stains, laid over tray, label and parts before the light falls on them."""

from collections.abc import Callable
from itertools import pairwise

import cv2
import numpy as np

from d2road.synthetic.fastener_kit.kit import LABEL_BOX, TRAY_HALF, Kit
from d2road.synthetic.fastener_kit.kit_render import CANVAS, MM, KitScene

# Linear RGB and how much it covers: rust, lime, oil.
STAINS = (((0.30, 0.11, 0.03), 0.75), ((0.62, 0.60, 0.55), 0.55), ((0.028, 0.018, 0.008), 0.8))
OIL = 2
LEAST_CONTRAST = 0.12


def scratch(rng: np.random.Generator, scene: KitScene, kit: Kit) -> np.ndarray:
    """Cut a bent line into the surface; returns the pixels (H, W) bool."""
    x, y = _spot(rng, kit)
    length, direction = rng.uniform(14, 40), rng.uniform(-np.pi, np.pi)
    bend = rng.normal(0, 0.5) / length
    s = np.linspace(-length / 2, length / 2, 40)
    heading = direction + bend * s + 0.08 * np.cumsum(rng.normal(0, 0.2, 40))
    points = np.stack([x + np.cumsum(np.cos(heading)) * length / 40, y + np.cumsum(np.sin(heading)) * length / 40], 1)
    points -= points.mean(0) - (x, y)
    points = points[(np.abs(points) < TRAY_HALF - 2).all(1)]
    pixels = _to_pixels(scene, points)
    line = np.zeros((CANVAS, CANVAS), np.uint8)
    width = rng.uniform(0.7, 1.3) * MM
    for i, (start, end) in enumerate(pairwise(pixels)):
        taper = np.sin(np.pi * (i + 1) / len(pixels)) ** 0.5
        start, end = (tuple(np.round(p * 16).astype(int).tolist()) for p in (start, end))
        cv2.line(line, start, end, 255, max(round(float(width * taper)), 1), cv2.LINE_AA, 4)
    depth = cv2.GaussianBlur(line.astype(np.float32) / 255, (0, 0), 0.8)
    grey = scene.color.mean(2, keepdims=True)
    # Plastic turns pale where it is scratched, metal and paper dark.
    bare = np.where(grey < 0.25, grey + 0.35, 0.2 * grey)
    strength = (0.9 * depth)[..., None]
    scene.color[:] = scene.color * (1 - strength) + bare * strength
    scene.height -= 0.45 * depth
    scene.metal *= 1 - 0.5 * depth
    return depth > 0.45


def stain(rng: np.random.Generator, scene: KitScene, kit: Kit) -> np.ndarray:
    """Let a drop dry on the surface; returns the pixels (H, W) bool."""
    x, y = _spot(rng, kit)
    tx, ty = scene.tray_xy
    radius = rng.uniform(4.5, 10)
    angle = np.arctan2(ty - y, tx - x)
    rim = sum(rng.normal(0, 0.13 / k) * np.cos(k * angle + rng.uniform(0, 2 * np.pi)) for k in range(1, 7))
    distance = np.hypot(tx - x, ty - y) / (radius * (1 + rim))
    inside = np.clip((1 - distance) * 6, 0, 1).astype(np.float32)
    # Drying leaves more at the rim than in the middle.
    density = inside * (0.7 + 0.3 * np.exp(-(((distance - 0.88) / 0.1) ** 2))).astype(np.float32)
    which = _visible_stain(rng, (scene.color * inside[..., None]).sum((0, 1)) / inside.sum())
    color, cover = STAINS[which]
    alpha = (cover * density)[..., None]
    scene.color[:] = scene.color * (1 - alpha) + np.array(color, np.float32) * alpha
    scene.metal *= 1 - 0.7 * density
    scene.gloss[:] = np.where(which == OIL, scene.gloss + 0.5 * density, scene.gloss * (1 - 0.8 * density))
    return inside > 0.4


STRUCTURAL: dict[str, Callable[[np.random.Generator, KitScene, Kit], np.ndarray]] = {"scratch": scratch, "stain": stain}


def _spot(rng: np.random.Generator, kit: Kit) -> tuple[float, float]:
    """A place on the tray: on or beside a part, on the label, or anywhere."""
    draw = rng.uniform()
    if draw < 0.55:
        part = kit.parts[int(rng.integers(len(kit.parts)))]
        x, y = part.x + rng.normal(0, 4), part.y + rng.normal(0, 3)
    elif draw < 0.7:
        x, y = rng.uniform(LABEL_BOX[0], LABEL_BOX[2]), rng.uniform(LABEL_BOX[1], LABEL_BOX[3])
    else:
        x, y = rng.uniform(-TRAY_HALF, TRAY_HALF, 2)
    limit = TRAY_HALF - 6
    return float(np.clip(x, -limit, limit)), float(np.clip(y, -limit, limit))


def _to_pixels(scene: KitScene, points_mm: np.ndarray) -> np.ndarray:
    """(N, 2) tray coordinates to pixels; the map is affine, so three pixels tell all of it."""
    x, y = scene.tray_xy
    origin = np.array([x[0, 0], y[0, 0]])
    along = np.array([[x[0, 1] - x[0, 0], x[1, 0] - x[0, 0]], [y[0, 1] - y[0, 0], y[1, 0] - y[0, 0]]], np.float64)
    return np.linalg.solve(along, (points_mm - origin).T).T


def _visible_stain(rng: np.random.Generator, ground: np.ndarray) -> int:
    """A stain that differs from the colour (3,) below it."""
    contrast = [cover * float(np.abs(np.array(color) - ground).max()) for color, cover in STAINS]
    visible = [i for i, c in enumerate(contrast) if c > LEAST_CONTRAST] or [int(np.argmax(contrast))]
    return visible[int(rng.integers(len(visible)))]
