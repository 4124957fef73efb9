"""Logical anomalies: every part is sound, but the kit is not a kit.

Each takes a good kit and returns the wrong one with what is wrong about it. As in MVTec LOCO, what is missing is marked
by all places where it could be, and what is one too many by all that could be it; the saturation is one part.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np

from d2road.synthetic.fastener_kit.kit import CELLS, LABEL_BOX, Box, Kit, KitPart, place_part, refilled, slot_box
from d2road.synthetic.fastener_kit.kit_parts import COLORS, PART_KINDS

STRIPE_BOX: Box = (-64.5, 54.5, -36, 66.5)  # the coloured field of the label
# What fits into each other's places.
SWAPS = (("bolt", "plug"), ("bolt", "spring"), ("plug", "spring"), ("nut", "washer"))
TRIES = 400
Item = TypeVar("Item")


@dataclass(frozen=True)
class Finding:
    """Something that is wrong: its type, and where, as parts, as an empty place, or both."""

    defect: str
    parts: tuple[KitPart, ...] = ()
    box: Box | None = None  # all of it that no part covers, unless `whole_box`
    whole_box: bool = False


Wrong = tuple[Kit, list[Finding]]


def missing(rng: np.random.Generator, kit: Kit) -> Wrong:
    """A place is empty."""
    part = _choose(rng, kit.parts)
    return _less(kit, part), [_gap(part)]


def extra(rng: np.random.Generator, kit: Kit) -> Wrong:
    """A compartment has one part too many, evenly spread."""
    name = _choose(rng, tuple(CELLS))
    kit = refilled(rng, kit, name, CELLS[name].count + 1)
    return kit, [_surplus(kit, name)]


def miscounted(rng: np.random.Generator, kit: Kit) -> Wrong:
    """One compartment has a part too few and another one too many, both evenly spread: the total is right."""
    few, many = rng.permutation(list(CELLS))[:2].tolist()
    kit = refilled(rng, kit, few, CELLS[few].count - 1)
    kit = refilled(rng, kit, many, CELLS[many].count + 1)
    return kit, [Finding(f"missing_{CELLS[few].kind}", box=CELLS[few].box), _surplus(kit, many)]


def swapped(rng: np.random.Generator, kit: Kit) -> Wrong:
    """Two parts are in each other's place, or a plug has the other kit's colour."""
    if rng.uniform() < 0.25:
        part = _choose(rng, tuple(p for p in kit.parts if p.kind == "plug"))
        other = replace(part, color=_other_color(kit))
        return replace(_less(kit, part), parts=(*_less(kit, part).parts, other)), [Finding("swapped_part", (other,))]
    kinds = SWAPS[rng.integers(len(SWAPS))]
    first, second = (_choose(rng, tuple(p for p in kit.parts if p.kind == kind)) for kind in kinds)
    moved = tuple(
        place_part(rng, there.cell, there.slot, there.slots, here.kind)
        for here, there in ((first, second), (second, first))
    )
    kit = replace(kit, parts=(*_less(_less(kit, first), second).parts, *moved))
    return kit, [Finding("swapped_part", (part,)) for part in moved]


def misplaced(rng: np.random.Generator, kit: Kit) -> Wrong:
    """A part lies elsewhere and its place is empty, or it points the wrong way."""
    if rng.uniform() < 0.35:
        part = _choose(rng, tuple(p for p in kit.parts if p.kind in ("bolt", "plug")))
        turned = replace(part, angle=part.angle + np.pi)
        return replace(_less(kit, part), parts=(*_less(kit, part).parts, turned)), [
            Finding("misplaced_part", (turned,))
        ]
    part = _choose(rng, kit.parts)
    kit = _less(kit, part)
    moved = _elsewhere(rng, kit, part)
    return replace(kit, parts=(*kit.parts, moved)), [_gap(part), Finding("misplaced_part", (moved,))]


def mislabelled(rng: np.random.Generator, kit: Kit) -> Wrong:
    """The label's colour is not that of the plugs."""
    kit = replace(kit, label_color=_other_color(kit))
    plugs = tuple(p for p in kit.parts if p.kind == "plug")
    return kit, [Finding("wrong_label", plugs, STRIPE_BOX, whole_box=True)]


LOGICAL: dict[str, Callable[[np.random.Generator, Kit], Wrong]] = {
    "missing": missing,
    "extra": extra,
    "swapped": swapped,
    "miscounted": miscounted,
    "misplaced": misplaced,
    "mislabelled": mislabelled,
}


def _choose(rng: np.random.Generator, items: tuple[Item, ...]) -> Item:
    return items[int(rng.integers(len(items)))]


def _less(kit: Kit, part: KitPart) -> Kit:
    return replace(kit, parts=tuple(p for p in kit.parts if p is not part))


def _other_color(kit: Kit) -> str:
    return next(color for color in sorted(COLORS) if color != kit.color)


def _gap(part: KitPart) -> Finding:
    return Finding(f"missing_{part.kind}", box=slot_box(CELLS[part.cell], part.slot, part.slots))


def _surplus(kit: Kit, cell_name: str) -> Finding:
    return Finding(f"extra_{CELLS[cell_name].kind}", tuple(p for p in kit.parts if p.cell == cell_name))


def _elsewhere(rng: np.random.Generator, kit: Kit, part: KitPart) -> KitPart:
    """The part in a free spot of another compartment, or on the label where there is none."""
    for _ in range(TRIES):
        cell = _choose(rng, tuple(name for name in CELLS if name != part.cell))
        x0, y0, x1, y1 = CELLS[cell].box
        x, y = float(rng.uniform(x0, x1)), float(rng.uniform(y0, y1))
        moved = replace(part, x=x, y=y, angle=float(rng.uniform(-np.pi, np.pi)))
        spots, radius = outline(moved)
        inside = spots.min(0) - radius >= (x0 + 0.5, y0 + 0.5)
        inside &= spots.max(0) + radius <= (x1 - 0.5, y1 - 0.5)
        if inside.all() and not any(overlaps(moved, other) for other in kit.parts):
            return moved
    x0, y0, x1, y1 = LABEL_BOX
    reach = PART_KINDS[part.kind].length / 2
    return replace(part, x=float(rng.uniform(x0 + reach, x1 - reach)), y=(y0 + y1) / 2, angle=0.0)


def outline(part: KitPart) -> tuple[np.ndarray, float]:
    """Centres (N, 2) in mm and the common radius of discs that cover a part."""
    kind = PART_KINDS[part.kind]
    radius, reach = kind.width / 2, max((kind.length - kind.width) / 2, 0)
    along = np.linspace(-reach, reach, 1 + int(np.ceil(2 * reach / radius)))
    return np.stack([part.x + along * np.cos(part.angle), part.y + along * np.sin(part.angle)], 1), radius


def overlaps(first: KitPart, second: KitPart) -> bool:
    """Whether two parts come closer than a millimetre."""
    (a, ra), (b, rb) = outline(first), outline(second)
    return bool(np.linalg.norm(a[:, None] - b[None], axis=2).min() < ra + rb + 1)
