"""Denotation of predicates: (N,) truth for each object of a scene. Margins make vague words safe."""

from collections.abc import Callable

import numpy as np

from mono3dvg.language.kleene import MAYBE, NO, YES, at_least, at_most, conjunction, decide, label_equals, negation
from mono3dvg.language.labelled_scene import LabelledScene
from mono3dvg.language.logical_forms import UNITS

VEHICLES = ("car", "van", "truck", "bus", "tram")
PEOPLE = ("pedestrian", "cyclist", "motorcyclist", "tricyclist", "person_sitting")
GROUPS = {"vehicle": VEHICLES, "road_user": VEHICLES + PEOPLE}

LARGE_FROM_M, SMALL_TO_M = 7.0, 6.0  # length of vehicles
NEAR_M, FAR_M = (20.0, 28.0), (42.0, 50.0)
HEADING_MARGIN_DEG = 8.0
LANE_M = 3.5
_HEADINGS = {"away": 0.0, "right": 90.0, "toward": 180.0, "left": -90.0}


def evaluate_predicate(form: tuple, scene: LabelledScene) -> np.ndarray:
    """Truth of every predicate but relations."""
    if form not in scene.truths:
        op, *parts = form
        if op == "not":
            scene.truths[form] = negation(evaluate_predicate(parts[0], scene))
        else:
            scene.truths[form] = _PREDICATES[op](scene, *parts)
    return scene.truths[form]


def _class(scene: LabelledScene, name: str) -> np.ndarray:
    members = GROUPS.get(name, (name,))
    spoken = set(GROUPS["road_user"])
    # What another class is (misc, a trailer) may well pass for a vehicle.
    outside = NO if name not in GROUPS else MAYBE
    return np.array([YES if k in members else NO if k in spoken else outside for k in scene.kinds], dtype=np.int8)


def _color(scene: LabelledScene, name: str) -> np.ndarray:
    truth = label_equals(list(scene.colors), name)
    # Grey and silver, or orange and brown in the shade, are told apart by no one.
    alike = {"grey": "silver", "silver": "grey", "brown": "orange", "orange": "brown"}.get(name)
    return np.where([c is not None and c == alike for c in scene.colors], MAYBE, truth)


def _size(scene: LabelledScene, size: str) -> np.ndarray:
    large = at_least(scene.hwl[:, 2], SMALL_TO_M, LARGE_FROM_M)
    truth = large if size == "large" else negation(large)
    return np.where(_are(scene, VEHICLES), truth, MAYBE)


def _lane(scene: LabelledScene, lane: int) -> np.ndarray:
    # People walk and cycle beside the lanes that a label may give them.
    lanes = [abs(v) if v is not None and k in VEHICLES else None for v, k in zip(scene.lanes, scene.kinds)]
    return label_equals(lanes, lane)


def _state(scene: LabelledScene, state: str) -> np.ndarray:
    # A parked vehicle and a pedestrian on the carriageway can be seen as such; other states cannot.
    who = VEHICLES if state == "parked" else ("pedestrian",)
    return np.where(_are(scene, who), label_equals(list(scene.states), state), NO)


def _heading(scene: LabelledScene, way: str) -> np.ndarray:
    """As the camera sees it: the turn against the line of sight, by quarters."""
    ray = scene.position / np.maximum(scene.distance, 1e-9)[:, None]
    along = (scene.heading * ray).sum(axis=1)
    to_right = scene.heading[:, 0] * ray[:, 1] - scene.heading[:, 1] * ray[:, 0]
    turn = np.degrees(np.arctan2(to_right, along))
    off = np.abs((turn - _HEADINGS[way] + 180) % 360 - 180)
    return at_most(off, 45 - HEADING_MARGIN_DEG, 45 + HEADING_MARGIN_DEG)


def _hidden(scene: LabelledScene, hidden: bool) -> np.ndarray:
    return label_equals(list(scene.hidden), int(hidden))


def _place(scene: LabelledScene, place: str) -> np.ndarray:
    if place == "middle":
        return at_most(np.abs(scene.u - 0.5), 0.09, 0.15)
    return at_most(scene.u if place == "left" else 1 - scene.u, 0.36, 0.42)


def _range(scene: LabelledScene, name: str) -> np.ndarray:
    return at_most(scene.distance, *NEAR_M) if name == "near" else at_least(scene.distance, *FAR_M)


def _distance(scene: LabelledScene, kind: str, number: float, unit: str) -> np.ndarray:
    value_m = number * UNITS[unit]
    if kind == "about":
        return at_most(np.abs(scene.distance - value_m), max(1.5, 0.05 * value_m), max(4.0, 0.12 * value_m))
    margin = max(1.0, 0.04 * value_m)
    below = at_most(scene.distance, value_m - margin, value_m + margin)
    return below if kind == "under" else negation(below)


def _are(scene: LabelledScene, kinds: tuple[str, ...]) -> np.ndarray:
    return np.array([kind in kinds for kind in scene.kinds], dtype=bool)


_PREDICATES: dict[str, Callable[..., np.ndarray]] = {
    "class": _class,
    "color": _color,
    "size": _size,
    "lane": _lane,
    "state": _state,
    "heading": _heading,
    "hidden": _hidden,
    "place": _place,
    "range": _range,
    "distance": _distance,
}


def evaluate_relation(op: str, scene: LabelledScene, anchor: int) -> np.ndarray:
    """Truth of "object `op` anchor" for each object; NO for the anchor itself.

    Behind and in front lie on the camera's line of sight through the anchor, farther or nearer, within a lane's width
    and about 27 degrees of it. Left and right are beside the anchor's box in the image. Next to is a gap of up to
    2.5 m.
    """
    if (op, anchor) not in scene.truths:
        truth = _RELATIONS[op](scene, anchor)
        truth[anchor] = NO
        scene.truths[op, anchor] = truth
    return scene.truths[op, anchor]


def evaluate_between(scene: LabelledScene, first: int, second: int) -> np.ndarray:
    """Truth of "between" two anchors, seen from above; MAYBE if they are less than 4 m apart."""
    start, way = scene.position[first], scene.position[second] - scene.position[first]
    length = float(np.hypot(*way))
    offset = scene.position - start
    along = offset @ way / max(length, 1e-9) ** 2
    aside = np.abs(offset[:, 0] * way[1] - offset[:, 1] * way[0]) / max(length, 1e-9) ** 2
    inside = conjunction(at_least(along, 0.05, 0.15), at_most(along, 0.85, 0.95), at_most(aside, 0.2, 0.35))
    truth = inside if length >= 4 else np.full(len(scene), MAYBE)
    truth[[first, second]] = NO
    return truth


def _beside(scene: LabelledScene, anchor: int, side: str) -> np.ndarray:
    if side == "left":
        return decide(scene.u < scene.u_left[anchor] - 0.01, scene.u > scene.u[anchor] - 0.01)
    return decide(scene.u > scene.u_right[anchor] + 0.01, scene.u < scene.u[anchor] + 0.01)


def _on_the_ray(scene: LabelledScene, anchor: int, sign: float) -> np.ndarray:
    ray = scene.position[anchor] / max(float(scene.distance[anchor]), 1e-9)
    offset = scene.position - scene.position[anchor]
    along = sign * (offset @ ray)
    aside = np.abs(offset[:, 0] * ray[1] - offset[:, 1] * ray[0])
    yes = (along >= 2.5) & (aside <= np.minimum(0.5 * along, LANE_M))
    return decide(yes, (along <= 0.5) | (aside >= np.minimum(along, 2 * LANE_M)))


def _next_to(scene: LabelledScene, anchor: int) -> np.ndarray:
    prints = scene.footprints()
    gaps = [np.minimum(_corner_gap(p, prints[anchor]), _corner_gap(prints[anchor], p)) for p in prints]
    return at_most(np.array(gaps), 2.5, 4.0)


def _corner_gap(corners: np.ndarray, polygon: np.ndarray) -> float:
    """Smallest distance of the corners (4, 2) from the edges of a polygon (4, 2)."""
    edges = np.roll(polygon, -1, axis=0) - polygon
    offsets = corners[:, None] - polygon
    lengths = np.maximum((edges**2).sum(axis=1), 1e-9)
    part = np.clip((offsets * edges).sum(axis=2) / lengths, 0, 1)
    return float(np.linalg.norm(offsets - part[..., None] * edges, axis=2).min())


def _closer(scene: LabelledScene, anchor: int, sign: float) -> np.ndarray:
    lead = sign * (scene.distance[anchor] - scene.distance)
    margin = max(1.5, 0.05 * float(scene.distance[anchor]))
    return at_least(lead, -margin, margin)


_RELATIONS: dict[str, Callable[[LabelledScene, int], np.ndarray]] = {
    "left_of": lambda scene, anchor: _beside(scene, anchor, "left"),
    "right_of": lambda scene, anchor: _beside(scene, anchor, "right"),
    "behind": lambda scene, anchor: _on_the_ray(scene, anchor, 1),
    "in_front_of": lambda scene, anchor: _on_the_ray(scene, anchor, -1),
    "next_to": _next_to,
    "closer_than": lambda scene, anchor: _closer(scene, anchor, 1),
    "farther_than": lambda scene, anchor: _closer(scene, anchor, -1),
}
