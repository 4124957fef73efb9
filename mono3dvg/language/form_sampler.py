"""Sampler of logical forms that fit a scene: from what is true of its objects, and nearly true for no target."""

from collections.abc import Sequence

import numpy as np

from mono3dvg.language.kleene import YES
from mono3dvg.language.labelled_scene import LabelledScene
from mono3dvg.language.logical_forms import COLORS, RELATIONS, UNITS, VALUES, nodes_of
from mono3dvg.language.predicates import GROUPS, VEHICLES, evaluate_between, evaluate_predicate, evaluate_relation
from mono3dvg.language.semantics import interpret

# How often which kind of form is proposed.
FAMILIES = {
    "attributes": 0.3, "relation": 0.32, "rank": 0.16, "nearest": 0.04, "between": 0.07, "exactly": 0.06, "union": 0.05,
}  # fmt: skip
MOST_ATTRIBUTES = (0.2, 0.45, 0.25, 0.1)  # chances of 0, 1, 2, 3 attributes beside the class
DISTANCE_CHANCE = 0.25
NEGATION_CHANCE = 0.1
ADJECTIVES = ("color", "size")  # words before the noun
_LANES = (1, 2, 3)


class FormSampler:
    """Proposes forms for one scene; `propose` may return None where a draw leads nowhere.

    Args:
        scene: what they speak of.
        rng: draws everything.
        kinds: classes that may be named though the scene has none.
        units: of distances.
    """

    def __init__(
        self, scene: LabelledScene, rng: np.random.Generator, kinds: Sequence[str], units: Sequence[str] = ("m",)
    ):
        self.scene, self.rng, self.units = scene, rng, tuple(units)
        self.kinds = [kind for kind in kinds if kind in GROUPS["road_user"]]
        self.speakable = [i for i in range(len(scene)) if not scene.ignore[i] and scene.kinds[i] in self.kinds]
        self._facts = self._find_facts()

    def propose(self) -> tuple | None:
        """A form that means something here as far as the draw knows."""
        names = list(FAMILIES)
        family = str(self.rng.choice(names, p=np.array(list(FAMILIES.values())) / sum(FAMILIES.values())))
        if not self.speakable:
            return None
        return getattr(self, f"_{family}")(int(self.rng.choice(self.speakable)))

    def propose_absent(self) -> tuple:
        """A plain set of a class that the scene may lack."""
        attributes = [("color", str(self.rng.choice(COLORS)))] if self.has_colors and self.rng.random() < 0.5 else []
        return ("all", ("class", str(self.rng.choice(self.kinds))), *attributes)

    def perturb(self, form: tuple) -> tuple:
        """The form with one of its parts changed, so that it may mean nothing."""
        nodes = [node for node in nodes_of(form) if self._other(node) is not None]
        if not nodes:
            return form
        chosen = nodes[self.rng.integers(len(nodes))]
        return _replaced(form, chosen, self._other(chosen))

    @property
    def has_colors(self) -> bool:
        return any(color is not None for color in self.scene.colors)

    def _find_facts(self) -> dict[int, dict[str, list[tuple]]]:
        """Attributes that are beyond doubt: object -> operator -> predicates."""
        facts: dict[int, dict[str, list[tuple]]] = {i: {} for i in self.speakable}
        basic = [(op, value) for op, values in VALUES.items() for value in values]
        for predicate in [*basic, *(("lane", lane) for lane in _LANES)]:
            for i in np.flatnonzero(evaluate_predicate(predicate, self.scene) == YES):
                if int(i) in facts:
                    facts[int(i)].setdefault(predicate[0], []).append(predicate)
        return facts

    def _description(self, i: int, attributes: int, ops: Sequence[str] | None = None) -> tuple:
        """("all", class, ...) that is true of an object, with so many attributes, of `ops` if given."""
        kind, draw = self.scene.kinds[i], self.rng.random()
        name = kind if draw < 0.72 else "vehicle" if kind in VEHICLES and draw < 0.92 else "road_user"
        facts = self._facts[i]
        usable = [op for op in facts if ops is None or op in ops]
        if ops is None and self.rng.random() < DISTANCE_CHANCE:
            usable.append("distance")
        chosen = [str(op) for op in self.rng.permutation(usable)[:attributes]]
        if "distance" in chosen and "range" in chosen:
            chosen.remove("range")
        predicates = [
            self._distance(i) if op == "distance" else self._maybe_negated(facts[op][self.rng.integers(len(facts[op]))])
            for op in chosen
        ]
        return ("all", ("class", name), *predicates)

    def _maybe_negated(self, predicate: tuple) -> tuple:
        """Now and then what an object is not, of the same kind."""
        op, value = predicate[:2]
        if op not in ("color", "heading", "place") or self.rng.random() >= NEGATION_CHANCE:
            return predicate
        others = [other for other in VALUES[op] if other != value]
        return ("not", (op, others[self.rng.integers(len(others))]))

    def _distance(self, i: int) -> tuple:
        unit = str(self.rng.choice(self.units))
        kind = str(self.rng.choice(["about", "under", "over"]))
        shift = {"about": 0.0, "under": self.rng.uniform(3, 15), "over": -self.rng.uniform(3, 15)}[kind]
        value = max(float(self.scene.distance[i]) + shift, 3.0) / UNITS[unit]
        step = {"m": 1 if kind == "about" else 5, "cm": 100, "ft": 5}[unit]
        return ("distance", kind, max(round(value / step) * step, step), unit)

    def _num_attributes(self, most: int = 3) -> int:
        return min(int(self.rng.choice(len(MOST_ATTRIBUTES), p=MOST_ATTRIBUTES)), most)

    def _attributes(self, i: int) -> tuple:
        return self._description(i, self._num_attributes())

    def _anchor(self, i: int) -> tuple | None:
        """A phrase that means this object alone, as short as a few draws give."""
        for attributes in (0, 1, 1, 1, 2, 2):
            form = self._description(i, attributes)
            # With two phrases behind its noun, a reader could take the second for the target's.
            if sum(p[0] not in ADJECTIVES for p in form[1:]) <= 2 and self._means(form, i):
                return form
        key = str(self.rng.choice(["near", "far", "left", "right"]))
        form = ("rank", key, 1, 1, ("all", ("class", self.scene.kinds[i])))
        return form if self._means(form, i) else None

    def _means(self, form: tuple, i: int) -> bool:
        meaning = interpret(form, self.scene)
        return meaning.certain and meaning.targets == (i,)

    def _relation(self, i: int) -> tuple | None:
        for op in self.rng.permutation(RELATIONS)[:3]:
            others = [a for a in self.speakable if a != i and evaluate_relation(str(op), self.scene, a)[i] == YES]
            anchor = self._anchor(int(self.rng.choice(others))) if others else None
            if anchor is not None:
                return (*self._description(i, self._num_attributes(1)), (str(op), anchor))
        return None

    def _between(self, i: int) -> tuple | None:
        pairs = [(a, b) for a in self.speakable for b in self.speakable if a < b and i not in (a, b)]
        for place in self.rng.permutation(len(pairs))[:12]:
            first, second = pairs[place]
            if evaluate_between(self.scene, first, second)[i] == YES:
                anchors = (self._anchor(first), self._anchor(second))
                mine = self._description(i, self._num_attributes(1))
                return None if None in anchors else (*mine, ("between", *anchors))
        return None

    def _nearest(self, i: int) -> tuple | None:
        others = [a for a in self.speakable if a != i]
        anchor = self._anchor(int(self.rng.choice(others))) if others else None
        return (
            None if anchor is None else ("nearest", self._description(i, self._num_attributes(1), ADJECTIVES), anchor)
        )

    def _rank(self, i: int) -> tuple:
        inner = self._description(i, self._num_attributes(2))
        size = max(len(interpret(inner, self.scene).targets), 1)
        vehicles = inner[1][1] in (*VEHICLES, "vehicle")
        keys = ["near", "far", "left", "right"] + (["long", "tall"] if vehicles and self.rng.random() < 0.4 else [])
        key = str(self.rng.choice(keys))
        place = int(self.rng.integers(1, min(size, 5) + 1))
        if key in ("long", "tall"):
            place = 1
        if place > 1 and self.rng.random() < 0.35:
            return ("rank", key, 1, place, inner)
        return ("rank", key, place, place, inner)

    def _exactly(self, i: int) -> tuple | None:
        inner = self._description(i, self._num_attributes(2))
        size = len(interpret(inner, self.scene).targets)
        return ("exactly", size, inner) if 2 <= size <= 9 else None

    def _union(self, i: int) -> tuple | None:
        others = [a for a in self.speakable if self.scene.kinds[a] != self.scene.kinds[i]]
        if not others:
            return None
        first = self._description(i, self._num_attributes(1))
        return ("union", first, self._description(int(self.rng.choice(others)), self._num_attributes(1)))

    def _other(self, node: tuple) -> tuple | None:
        """A node like this one that says something else."""
        op, *parts = node
        pool: list[tuple]
        if op == "class" and parts[0] not in GROUPS:
            pool = [("class", kind) for kind in self.kinds if kind != parts[0]]
        elif op in VALUES:
            values = [v for v in VALUES[op] if v != parts[0]]
            pool = [(op, value) for value in values] if op != "state" else []
        elif op == "lane":
            pool = [("lane", lane) for lane in _LANES if lane != parts[0]]
        elif op == "rank" and parts[0] not in ("long", "tall"):
            step = int(self.rng.integers(1, 4))
            first = parts[1] + step if parts[1] == parts[2] else 1
            pool = [("rank", parts[0], first, parts[2] + step, parts[3])] if parts[2] + step <= 12 else []
        elif op == "exactly":
            pool = [("exactly", n, parts[1]) for n in (parts[0] - 1, parts[0] + 1) if 2 <= n <= 9]
        elif op == "distance":
            factor = (0.4, 2.5)[int(self.rng.integers(2))]
            pool = [("distance", parts[0], max(int(parts[1] * factor), 1), parts[2])]
        else:
            pool = []
        return pool[self.rng.integers(len(pool))] if pool else None


def is_odd(form: tuple) -> bool:
    """Whether it asks for what nobody would: a large pedestrian, a parked cyclist, a car that walks."""
    for node in nodes_of(form):
        if node[0] != "all":
            continue
        names = {p[1] for p in node[1:] if p[0] == "class"}
        drives = bool(names & {*VEHICLES, "vehicle"})
        people = bool(names) and not drives and "road_user" not in names
        like_vehicles = any(p[0] == "lane" or p == ("state", "parked") for p in node[1:])
        has_size, walks = any(p[0] == "size" for p in node[1:]), ("state", "crossing") in node
        if (walks and drives) or (people and like_vehicles) or (has_size and not drives):
            return True
    return False


def _replaced(form: tuple, old: tuple, new: tuple | None) -> tuple:
    """The form with one of its nodes, found by identity, exchanged."""
    if form is old:
        assert new is not None, "the node was chosen because it has another"
        return new
    return tuple(_replaced(part, old, new) if isinstance(part, tuple) else part for part in form)
