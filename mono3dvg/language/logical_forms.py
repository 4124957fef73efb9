"""Logical forms of sentences, as nested tuples (lists in JSON). `semantics.interpret` gives what they denote.

A predicate says something of an object, a phrase is a set of objects:

    predicates                                            phrases
    ("class", name)      a class, vehicle or road_user    ("all", predicate, ...)            all of which all hold
    ("color", name)                                       ("rank", key, first, last, phrase) one place (first = last) or
    ("size", large | small)      of vehicles                 the first few (first = 1) in the order of key: near, far,
    ("lane", k)          counted from the middle             left, right, long, tall; none if there are fewer
    ("state", parked | crossing)                          ("nearest", phrase, anchor)        the one nearest to another
    ("heading", away | toward | left | right)             ("exactly", n, phrase)             it if it has n, else none
    ("hidden", true | false)     partly, or in clear view ("union", phrase, phrase)
    ("place", left | middle | right)     of the image
    ("range", near | far)
    ("distance", about | under | over, number, unit)      units: m, cm, ft
    ("not", predicate)
    ("left_of" | "right_of" | "behind" | "in_front_of" | "next_to" | "closer_than" | "farther_than", anchor)
    ("between", anchor, anchor)

An anchor is a phrase that means one object. Left, right, behind and in front are the camera's.
"""

from collections.abc import Iterator
from typing import Any

from d2road.utils.errors import DataError

Form = tuple

RELATIONS = ("left_of", "right_of", "behind", "in_front_of", "next_to", "closer_than", "farther_than")
RANK_KEYS = ("near", "far", "left", "right", "long", "tall")
UNITS = {"m": 1.0, "cm": 0.01, "ft": 0.3048}
COLORS = ("white", "black", "silver", "grey", "red", "blue", "green", "yellow", "orange", "brown")
VALUES: dict[str, tuple] = {
    "color": COLORS,
    "size": ("large", "small"),
    "state": ("parked", "crossing"),
    "heading": ("away", "toward", "left", "right"),
    "hidden": (True, False),
    "place": ("left", "middle", "right"),
    "range": ("near", "far"),
}
_MIRRORED = {"left_of": "right_of", "right_of": "left_of"}
_SWAPPED = {"left": "right", "right": "left"}
_TAGS = {"exactly": "count", "heading": "direction", "hidden": "occlusion", "not": "negation"}


def to_form(value: Any) -> Form:
    """A form from JSON's lists.

    Raises:
        DataError: no form; says which part is not.
    """
    form = _tuples(value)
    check_phrase(form)
    return form


def form_to_json(form: Any) -> Any:
    """Lists instead of tuples."""
    return [form_to_json(part) for part in form] if isinstance(form, tuple) else form


def mirror_form(form: Form) -> Form:
    """What the same sentence means in the mirrored image: left and right change places."""
    op, *parts = form
    if op in ("place", "heading", "rank"):
        parts[0] = _SWAPPED.get(parts[0], parts[0])
    return (_MIRRORED.get(op, op), *(mirror_form(p) if isinstance(p, tuple) else p for p in parts))


def head_classes(form: Form) -> tuple[str, ...]:
    """Classes that the targets are said to be of; () where a part of them is of any."""
    named = [[p[1] for p in description[1:] if p[0] == "class"] for description in descriptions(form)]
    return tuple(dict.fromkeys(name for names in named for name in names)) if all(named) else ()


def descriptions(form: Form) -> Iterator[Form]:
    """The sets ("all", ...) that a phrase chooses its targets from: two of a union, else one."""
    op = form[0]
    if op == "all":
        yield form
    elif op == "union":
        yield from (*descriptions(form[1]), *descriptions(form[2]))
    else:
        yield from descriptions(form[1] if op == "nearest" else form[-1])


def is_plural(form: Form, many: int) -> bool:
    """Whether a sentence speaks of several; `many` as for `realization.realize`."""
    op = form[0]
    if op == "rank":
        return form[3] > form[2]
    return op in ("union", "exactly") or (op == "all" and bool(many))


def nodes_of(form: Form) -> Iterator[tuple]:
    """Every node, from the outside in."""
    yield form
    for part in form[1:]:
        if isinstance(part, tuple):
            yield from nodes_of(part)


def form_tags(form: Form) -> list[str]:
    """What a sentence takes to be understood: class, color, ..., relation, ordinal, count."""
    names = set()
    for node in nodes_of(form):
        op = node[0]
        if op in RELATIONS or op in ("between", "nearest"):
            names |= {"relation", op}
        elif op == "rank":
            ordinal = node[1] in ("left", "right") or node[2] > 1
            names |= {"ordinal" if ordinal else "superlative"} | ({"count"} if node[3] > node[2] else set())
        elif op != "all":
            names.add(_TAGS.get(op, op))
    return sorted(names)


def check_phrase(form: Any, where: str = "form") -> None:
    """Raise a DataError if this is no phrase."""
    op, parts = _split(form, where)
    if op == "all" and parts:
        for i, part in enumerate(parts):
            _check_predicate(part, f"{where}[{i + 1}]")
    elif op == "rank" and len(parts) == 4:
        key, first, last, phrase = parts
        fits = _is_count(first) and _is_count(last) and first in (1, last)
        if key not in RANK_KEYS or not fits:
            keys = ", ".join(RANK_KEYS)
            raise DataError(f"{where}: rank {parts[:3]}: expected one of {keys}, then one place or the first few")
        check_phrase(phrase, f"{where}[4]")
    elif op == "exactly" and len(parts) == 2 and _is_count(parts[0]):
        check_phrase(parts[1], f"{where}[2]")
    elif op in ("nearest", "union") and len(parts) == 2:
        for i, part in enumerate(parts):
            check_phrase(part, f"{where}[{i + 1}]")
    else:
        raise DataError(f"{where}: {form!r} is no phrase: expected all, rank, nearest, exactly or union and its parts")


def _check_predicate(form: Any, where: str) -> None:
    op, parts = _split(form, where)
    if op in VALUES and len(parts) == 1:
        if parts[0] not in VALUES[op]:
            raise DataError(f"{where}: {op} is {parts[0]!r}, expected one of {', '.join(map(str, VALUES[op]))}")
    elif op in RELATIONS and len(parts) == 1:
        check_phrase(parts[0], f"{where}[1]")
    elif op == "between" and len(parts) == 2:
        for i, part in enumerate(parts):
            check_phrase(part, f"{where}[{i + 1}]")
    elif op == "not" and len(parts) == 1:
        _check_predicate(parts[0], f"{where}[1]")
    elif op == "distance" and len(parts) == 3:
        kind, number, unit = parts
        if kind not in ("about", "under", "over") or unit not in UNITS or not number > 0:
            raise DataError(f"{where}: {form!r}: expected about, under or over, a number above 0, and m, cm or ft")
    elif not (op == "class" and len(parts) == 1 and isinstance(parts[0], str)) and not (
        op == "lane" and len(parts) == 1 and _is_count(parts[0])
    ):
        raise DataError(f"{where}: {form!r} is no predicate")


def _split(form: Any, where: str) -> tuple[str, tuple]:
    if not isinstance(form, tuple) or not form or not isinstance(form[0], str):
        raise DataError(f"{where}: {form!r} is no logical form: expected (operator, parts...)")
    return form[0], form[1:]


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1


def _tuples(value: Any) -> Any:
    return tuple(_tuples(part) for part in value) if isinstance(value, (list, tuple)) else value
