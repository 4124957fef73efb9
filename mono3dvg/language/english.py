"""English grammar: surface realization of logical forms. Paraphrases with "~" are held out, see `paraphrases`; more of
them for training are in english_variety.json.
"""

import re

from mono3dvg.language.grammar import Grammar
from mono3dvg.language.logical_forms import RELATIONS, is_plural
from mono3dvg.language.variety import Variety

NOUNS = {
    "car": (["car"], ["cars"]),
    "van": (["van"], ["vans"]),
    "truck": (["truck", "lorry"], ["trucks", "lorries"]),
    "bus": (["bus"], ["buses"]),
    "tram": (["tram"], ["trams"]),
    "cyclist": (["cyclist", "~person on a bicycle"], ["cyclists", "~people on bicycles"]),
    "motorcyclist": (["motorcyclist"], ["motorcyclists"]),
    "tricyclist": (["tricyclist"], ["tricyclists"]),
    "pedestrian": (["pedestrian", "person on foot"], ["pedestrians", "people on foot"]),
    "person_sitting": (["sitting person"], ["sitting people"]),
    "vehicle": (["vehicle", "~motor vehicle"], ["vehicles", "~motor vehicles"]),
    "road_user": (["road user"], ["road users"]),
}
NUMBERS = ("one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve")
ORDINALS = (
    "first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth", "ninth", "tenth", "eleventh",
    "twelfth",
)  # fmt: skip
FRAMES = (
    ["{np}", "find {np}", "where is {np}?", "show me {np}", "locate {np}", "~point out {np}", "~please mark {np}",
     "~I am looking for {np}"],
    ["{np}", "find {np}", "where are {np}?", "show me {np}", "locate {np}", "~point out {np}", "~please mark {np}",
     "~I am looking for {np}"],
)  # fmt: skip
DETERMINERS = (["the"], ["the", "all", "all the", "~each of the"])
SIZES = {"large": ["large", "big", "~long"], "small": ["small", "~short"]}
COMPLEMENTS = {
    ("state", "crossing"): ["crossing the street", "walking across the road", "~on the carriageway"],
    ("heading", "away"): ["heading away from the camera", "moving away", "~seen from behind"],
    ("heading", "toward"): ["heading toward the camera", "coming closer", "~seen from the front"],
    ("heading", "left"): ["heading left", "facing to the left", "~pointing left"],
    ("heading", "right"): ["heading right", "facing to the right", "~pointing right"],
    ("hidden", True): ["that {be} partly hidden", "partly occluded by something", "~half covered by something"],
    ("hidden", False): ["that {be} fully visible", "in full view", "~covered by nothing"],
    ("place", "left"): ["on the left side of the image", "in the left part of the picture", "~on the left"],
    ("place", "middle"): ["in the middle of the image", "in the centre of the picture", "~in the middle"],
    ("place", "right"): ["on the right side of the image", "in the right part of the picture", "~on the right"],
    ("range", "near"): ["near the camera", "that {be} close by", "~not far from the camera"],
    ("range", "far"): ["that {be} far away", "in the distance", "~far from the camera"],
}
_KEYS = {("state", "crossing"): "crossing", ("hidden", True): "hidden", ("hidden", False): "visible"}
LANE = [
    "in the {o} lane from the middle of the road",
    "in lane {n} counted from the middle",
    "~in the {o} lane from the centre line",
]
DISTANCES = {
    "about": ["about {d} away", "at a distance of about {d}", "~roughly {d} from the camera"],
    "under": ["less than {d} away", "closer than {d}", "~within {d} of the camera"],
    "over": ["more than {d} away", "farther than {d}", "~beyond {d} from the camera"],
}
UNIT_NAMES = {"m": ["{v} m", "{v} metres"], "cm": ["{v} cm"], "ft": ["{v} feet", "{v} ft"]}
RELATED = {
    "left_of": ["left of {a}", "to the left of {a}", "~on the left side of {a}"],
    "right_of": ["right of {a}", "to the right of {a}", "~on the right side of {a}"],
    "behind": ["behind {a}", "farther back in line with {a}", "~on the far side of {a}"],
    "in_front_of": ["in front of {a}", "between the camera and {a}", "~on the near side of {a}"],
    "next_to": ["next to {a}", "beside {a}", "~right by {a}"],
    "closer_than": ["closer to the camera than {a}", "nearer than {a}", "~less far away than {a}"],
    "farther_than": ["farther from the camera than {a}", "farther away than {a}", "~at a greater distance than {a}"],
}
BETWEEN = ["between {a} and {b}", "in the space between {a} and {b}", "~with {a} on one side and {b} on the other"]
NEAREST = ["{h} nearest to {a}", "{h} closest to {a}", "~{h} with the smallest distance to {a}"]
# By key: the first place, a later one, the first few.
RANKS = {
    "near": (
        ["nearest {h}", "{h} closest to the camera"],
        ["{o} nearest {h}", "{o} {h} from the camera"],
        ["{n} nearest {h}", "{n} {h} closest to the camera"],
    ),
    "far": (["farthest {h}", "{h} farthest from the camera"], ["{o} farthest {h}"], ["{n} farthest {h}"]),
    "left": (
        ["leftmost {h}", "first {h} from the left"],
        ["{o} {h} from the left", "~{o} {h} counted from the left"],
        ["{n} leftmost {h}", "first {n} {h} from the left"],
    ),
    "right": (
        ["rightmost {h}", "first {h} from the right"],
        ["{o} {h} from the right", "~{o} {h} counted from the right"],
        ["{n} rightmost {h}", "first {n} {h} from the right"],
    ),
    "long": (["longest {h}"], ["{o} longest {h}"], ["{n} longest {h}"]),
    "tall": (["tallest {h}"], ["{o} tallest {h}"], ["{n} tallest {h}"]),
}
AMONG = ["{r} among the {h} {t}", "~{r} of the {h} {t}"]
EXACTLY = ["the {n} {h}, if there are exactly {n}", "the {h}, provided that there are just {n} of them"]
JOINS = ["{x} and {y}", "{x}, {y}"]
# With more for training; see `Variety`.
_MORE = Variety("english")
NOUNS = {
    name: (_MORE.add(f"noun_{name}", one), _MORE.add(f"noun_{name}_plural", many))
    for name, (one, many) in NOUNS.items()
}
FRAMES = (_MORE.add("frames_singular", FRAMES[0]), _MORE.add("frames_plural", FRAMES[1]))
DETERMINERS = (DETERMINERS[0], _MORE.add("determiners_plural", DETERMINERS[1]))
SIZES = {size: _MORE.add(f"size_{size}", words) for size, words in SIZES.items()}
COMPLEMENTS = {
    (op, value): _MORE.add(_KEYS.get((op, value), f"{op}_{value}"), texts) for (op, value), texts in COMPLEMENTS.items()
}
LANE = _MORE.add("lane", LANE)
DISTANCES = {kind: _MORE.add(f"distance_{kind}", texts) for kind, texts in DISTANCES.items()}
UNIT_NAMES = {unit: _MORE.add(f"unit_{unit}", texts) for unit, texts in UNIT_NAMES.items()}
RELATED = {relation: _MORE.add(relation, texts) for relation, texts in RELATED.items()}
BETWEEN, NEAREST = _MORE.add("between", BETWEEN), _MORE.add("nearest", NEAREST)
RANKS = {
    key: (
        _MORE.add(f"rank_{key}_first", first),
        _MORE.add(f"rank_{key}_later", later),
        _MORE.add(f"rank_{key}_several", several),
    )
    for key, (first, later, several) in RANKS.items()
}
AMONG, EXACTLY, JOINS = _MORE.add("among", AMONG), _MORE.add("exactly", EXACTLY), _MORE.add("joins", JOINS)
_LEADING_ARTICLE = re.compile(f"^(?:{'|'.join(sorted((t.lstrip('~+') for t in DETERMINERS[1]), key=len)[::-1])}) ")
_ORDER = ("lane", "heading", "state", "hidden", "place", "range", "distance", "not", *RELATIONS, "between")


class English(Grammar):
    """Realizes one form; a new one for each sentence."""

    ordinals, lane, distances, units, related, between = ORDINALS, LANE, DISTANCES, UNIT_NAMES, RELATED, BETWEEN

    def sentence(self, form: tuple, many: int) -> str:
        """The whole sentence; see `realization.realize`."""
        frame = self.pick(FRAMES[is_plural(form, many)])
        phrase = self.phrase(form, many)
        text = frame.format(np=phrase, bare=_LEADING_ARTICLE.sub("", phrase, count=1))
        return text[0].upper() + text[1:] if text[-1] in "?." else text

    def phrase(self, form: tuple, many: int) -> str:
        """A noun phrase with its article."""
        op = form[0]
        if op == "union":
            return f"{self.phrase(form[1], many & 1)} and {self.phrase(form[2], many >> 1)}"
        if op == "exactly":
            head, tail = self._parts(form[2], True)
            return self.pick(EXACTLY).format(n=NUMBERS[form[1] - 1], h=_joined(head, tail))
        if op == "rank":
            return self._rank(*form[1:])
        if op == "nearest":
            head, tail = self._parts(form[1], False)
            paraphrase = self.pick(NEAREST)
            return "the " + paraphrase.format(h=_joined(head, tail), a=self.phrase(form[2], 0), be="is")
        head, tail = self._parts(form, bool(many))
        return f"{self.pick(DETERMINERS[many])} {_joined(head, tail)}"

    def _rank(self, key: str, first: int, last: int, inner: tuple) -> str:
        count = last - first + 1
        assert first == 1 or count == 1, "a rank is one place or the first few"
        has_tail = any(p[0] in _ORDER and p != ("state", "parked") for p in inner[1:])
        head, tail = self._parts(inner, count > 1 or has_tail)
        paraphrase = self.pick(RANKS[key][2 if count > 1 else 0 if first == 1 else 1])
        words = {"o": ORDINALS[first - 1], "n": NUMBERS[count - 1], "be": "are" if count > 1 else "is"}
        if not tail:
            return "the " + paraphrase.format(h=head, **words)
        rank = paraphrase.format(h="ones" if count > 1 else "one", **words)
        return self.pick(AMONG).format(r=f"the {rank}", h=head, t=tail)

    def _parts(self, form: tuple, many: bool) -> tuple[str, str]:
        """("white cars", "heading left, behind the bus") of ("all", ...)."""
        assert form[0] == "all", f"{form[0]} stands where a plain set is expected"
        by_op: dict[str, list[tuple]] = {}
        for predicate in form[1:]:
            by_op.setdefault(predicate[0], []).append(predicate)
        words = ["parked"] * (("state", "parked") in form[1:])
        words += [self.pick(SIZES[p[1]]) for p in by_op.get("size", ())]
        words += [p[1] for p in by_op.get("color", ())]
        noun = by_op.get("class", [("class", "road_user")])[0][1]
        words.append(self.pick(NOUNS[noun][many]))
        rest = [p for op in _ORDER for p in by_op.get(op, ()) if p != ("state", "parked")]
        tail = ""
        for predicate in rest:
            text = self._complement(predicate, many)
            if not tail:
                tail = text
            elif predicate[0] in RELATIONS or predicate[0] == "between":
                tail = f"{tail}, {text}"
            elif predicate[0] == "not":
                tail = f"{tail} but {text.removeprefix(self._that_is(many))}"
            else:
                tail = self.pick(JOINS).format(x=tail, y=text)
        return " ".join(words), tail

    def _complement(self, form: tuple, many: bool) -> str:
        op, *parts = form
        if op == "not":
            inner = parts[0]
            text = inner[1] if inner[0] == "color" else self._complement(inner, many).removeprefix(self._that_is(many))
            return f"{self._that_is(many)}not {text}"
        be = "are" if many else "is"
        text = self.circumstance(form, be)
        return text or self.pick(COMPLEMENTS[(op, parts[0])]).format(be=be)

    @staticmethod
    def _that_is(many: bool) -> str:
        return "that are " if many else "that is "


def _joined(*words: str) -> str:
    return " ".join(word for word in words if word)
