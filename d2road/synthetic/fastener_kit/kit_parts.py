"""The parts of the kit as surfaces seen from above: which points they cover, how high they are there, how bright.

u is along a part's axis and v across it, mm from its middle; heights are mm above what it lies on.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

Surface = tuple[np.ndarray, np.ndarray, np.ndarray]
"""covered (bool), height (mm), tone (multiplier of the colour), all of the shape of u and v."""

ZINC = (0.50, 0.51, 0.52)
BRASS = (0.72, 0.52, 0.24)
SPRING_STEEL = (0.30, 0.30, 0.32)
COLORS = {"red": (0.58, 0.045, 0.035), "blue": (0.03, 0.13, 0.50)}


@dataclass(frozen=True)
class PartKind:
    """A kind of part.

    Args:
        drawing: its surface, of (u, v).
        length, width: mm, of the box around it.
        color: linear RGB; None takes the colour of the kit.
        metal: whether it mirrors its surroundings.
        area: mm^2 that it covers, about.
        scale: its size against the drawing.
    """

    drawing: Callable[[np.ndarray, np.ndarray], Surface]
    length: float
    width: float
    color: tuple[float, float, float] | None
    metal: bool
    area: float
    scale: float

    def surface(self, u: np.ndarray, v: np.ndarray) -> Surface:
        """The surface in the part's true size."""
        covered, height, tone = self.drawing(u / self.scale, v / self.scale)
        return covered, height * self.scale, tone


def _tube(v: np.ndarray, radius: np.ndarray | float) -> np.ndarray:
    """Height of a lying tube above its axis."""
    return np.sqrt(np.maximum(radius**2 - v**2, 0))


def _wave(x: np.ndarray) -> np.ndarray:
    """A triangle wave of period 1 between -1 and 1."""
    return 4 * np.abs(x - np.floor(x) - 0.5) - 1


def bolt(u: np.ndarray, v: np.ndarray) -> Surface:
    """A hexagon bolt on its side, the head at -u."""
    head = (u > -17) & (u < -10) & (np.abs(v) < 5.77)
    facets = 10 - 1.73 * np.maximum(np.abs(v) - 2.89, 0)
    # The end of the head is turned round.
    facets -= 0.8 * np.clip(-15.9 - u, 0, None) * (np.abs(v) / 5.77) ** 2 * 2.5
    radius = 2.7 + np.where(u > -3, 0.28 * _wave((u + 0.3 * v) / 1.35), 0) - 0.7 * np.clip(u - 16.4, 0, None)
    shank = (u >= -10) & (u < 18) & (np.abs(v) < radius)
    axis = 5 - (u + 10) * 0.085
    height = np.where(head, facets, axis + _tube(v, radius))
    tone = np.where(head, 1.0, np.where(u > -3, 0.9 + 0.1 * _wave((u + 0.3 * v) / 1.35), 1.0))
    return head | shank, height, tone


def nut(u: np.ndarray, v: np.ndarray) -> Surface:
    """A hexagon nut, lying flat."""
    r = np.hypot(u, v)
    apothem = np.maximum(np.abs(u), np.maximum(np.abs(0.5 * u + 0.866 * v), np.abs(0.5 * u - 0.866 * v)))
    height = 4.6 - 0.9 * np.clip(r - 4.7, 0, None) - 1.3 * np.clip(3.5 - r, 0, None)
    return (apothem < 5) & (r > 2.6), height, np.where(r < 3.1, 0.7, 1.0)


def washer(u: np.ndarray, v: np.ndarray) -> Surface:
    """A punched washer, one edge rounded."""
    r = np.hypot(u, v)
    height = 1.4 - 1.2 * np.clip(r - 5.7, 0, None) - 0.6 * np.clip(3.4 - r, 0, None)
    # Turning marks.
    return (r > 3.0) & (r < 6.3), height, 1 + 0.06 * np.sin(r * 14)


def plug(u: np.ndarray, v: np.ndarray) -> Surface:
    """A wall plug of plastic: a collar at -u, ribs, then a slot that opens."""
    collar = (u > -12) & (u < -10.6)
    radius = 3.5 - 0.035 * (u + 12)
    radius = radius + np.where((u > -9.5) & (u < 1.5), 0.35 * _wave(u / 2.6), 0)
    radius = np.where(collar, 4.5, radius) - 0.55 * np.clip(u - 9.5, 0, None)
    covered = (u > -12) & (u < 12) & (np.abs(v) < radius)
    height = 3.6 + _tube(v, radius)
    slot = (u > 2.2) & (np.abs(v) < 0.55)
    mouth = collar & (np.abs(v) < 1.0) & (u < -11.4)
    return covered, np.where(slot | mouth, height - 2.2, height), np.where(slot | mouth, 0.55, 1.0)


def spring(u: np.ndarray, v: np.ndarray) -> Surface:
    """A coil spring on its side; one looks through it."""
    coil, wire, pitch = 4.0, 0.62, 2.5
    ends = np.abs(u) < 11.2
    angle = np.arcsin(np.clip(v / coil, -1, 1))
    rim = np.sqrt(np.maximum(np.clip(np.abs(v) - coil, 0, None), 0))

    def strand(turn: np.ndarray) -> np.ndarray:
        """Distance along u to the nearest turn."""
        x = u / pitch - turn / (2 * np.pi)
        return np.hypot((x - np.round(x)) * pitch, rim)

    upper, lower = strand(angle), strand(np.pi - angle)
    over, under = upper < wire, lower < wire
    lift = coil * np.cos(angle)
    high = coil + wire + lift + _tube(upper, wire)
    low = coil + wire - lift + _tube(lower, wire)
    covered = ends & (np.abs(v) < coil + wire) & (over | under)
    return covered, np.where(over, high, low), np.where(over, 1.0, 0.6)


PART_KINDS = {
    "bolt": PartKind(bolt, 42, 13.9, ZINC, True, 325, scale=1.2),
    "nut": PartKind(nut, 16.2, 16.2, BRASS, True, 128, scale=1.4),
    "washer": PartKind(washer, 16.4, 16.4, ZINC, True, 163, scale=1.3),
    "plug": PartKind(plug, 28.8, 10.8, None, False, 228, scale=1.2),
    "spring": PartKind(spring, 33.6, 13.9, SPRING_STEEL, True, 300, scale=1.5),
}
