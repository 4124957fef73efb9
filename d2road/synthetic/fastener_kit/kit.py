"""What a good kit is: a tray with compartments, each with its kind and number of parts, and a label of its colour.

Tray coordinates: mm from the middle of the tray, x right, y down.
"""

from dataclasses import dataclass, replace

import numpy as np

from d2road.synthetic.fastener_kit.kit_parts import COLORS, PART_KINDS

TRAY_HALF = 74.0  # half the side of the tray
TRAY_CORNER = 7.0
Box = tuple[float, float, float, float]
"""x0, y0, x1, y1."""


@dataclass(frozen=True)
class Cell:
    """A compartment: the `count` parts of its `kind` lie side by side along `axis` (0: x, 1: y)."""

    box: Box
    kind: str
    count: int
    axis: int


CELLS = {
    "bolts": Cell((-68, -68, -4, -11), "bolt", 3, 1),
    "nuts": Cell((0, -68, 68, -42), "nut", 3, 0),
    "washers": Cell((0, -38, 68, -11), "washer", 3, 0),
    "plugs": Cell((-68, -7, -4, 48), "plug", 4, 1),
    "springs": Cell((0, -7, 68, 48), "spring", 2, 1),
}
LABEL_BOX: Box = (-66, 53, 66, 68)


@dataclass(frozen=True)
class KitPart:
    """A part on the tray. `slot` of `slots` says which place of its compartment it has."""

    kind: str
    x: float
    y: float
    angle: float  # rad, from x towards y
    cell: str
    slot: int
    slots: int
    color: str = ""  # of a plug that has not the kit's


@dataclass(frozen=True)
class Kit:
    """Everything that lies on one tray: colour of plugs, colour on the label, parts."""

    color: str
    label_color: str
    parts: tuple[KitPart, ...]


def slot_box(cell: Cell, slot: int, slots: int) -> Box:
    """The place of one part when `slots` share the compartment evenly."""
    x0, y0, x1, y1 = cell.box
    if cell.axis == 0:
        step = (x1 - x0) / slots
        return (x0 + slot * step, y0, x0 + (slot + 1) * step, y1)
    step = (y1 - y0) / slots
    return (x0, y0 + slot * step, x1, y0 + (slot + 1) * step)


def place_part(rng: np.random.Generator, cell_name: str, slot: int, slots: int, kind: str | None = None) -> KitPart:
    """A part in its place, a little off it, at a usual angle, and inside the compartment."""
    cell = CELLS[cell_name]
    kind = kind or cell.kind
    x0, y0, x1, y1 = slot_box(cell, slot, slots)
    shape = PART_KINDS[kind]
    round_part = shape.length - shape.width < 1
    angle = rng.uniform(-np.pi, np.pi) if round_part else rng.normal(0, np.radians(2.5))
    # Half the box around the turned part; what is left of the place is free to vary, but not all of it is used.
    cos, sin = (0.0, 1.0) if round_part else (abs(np.cos(angle)), abs(np.sin(angle)))
    half = np.array([shape.length * cos + shape.width * sin, shape.length * sin + shape.width * cos]) / 2
    free = np.maximum(np.array([x1 - x0, y1 - y0]) / 2 - half - 0.6, 0)
    along = np.minimum(free, (4.0, 4.0) if round_part else (5.0, 2.0))
    x, y = (x0 + x1) / 2 + rng.uniform(-1, 1) * along[0], (y0 + y1) / 2 + rng.uniform(-1, 1) * along[1]
    return KitPart(kind, float(x), float(y), float(angle), cell_name, slot, slots)


def fill(rng: np.random.Generator, cell_name: str, count: int) -> tuple[KitPart, ...]:
    """A compartment with so many parts of its kind, evenly spread."""
    return tuple(place_part(rng, cell_name, slot, count) for slot in range(count))


def sample_kit(rng: np.random.Generator) -> Kit:
    """A good kit."""
    color = str(rng.choice(sorted(COLORS)))
    return Kit(color, color, tuple(p for name, cell in CELLS.items() for p in fill(rng, name, cell.count)))


def refilled(rng: np.random.Generator, kit: Kit, cell_name: str, count: int) -> Kit:
    """The kit with another number of parts in one compartment, evenly spread as ever."""
    others = tuple(p for p in kit.parts if p.cell != cell_name)
    return replace(kit, parts=others + fill(rng, cell_name, count))
