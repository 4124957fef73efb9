"""Query of a search: the conditions that a sentence states, when, and for how long."""

from dataclasses import dataclass, field
from typing import Any

KMH = 3.6  # per m/s
SIGNS = {"over": ">", "under": "<", "about": "~"}


@dataclass(frozen=True)
class Condition:
    """Something that holds for a vehicle at an instant, or not.

    kind, value:
        class     names, any of which it is            size      large, small
        lane      (right | middle | left, 0) or (from_right | from_left | from_middle, number from 1)
        motion    standing, moving, reversing          pace      slow, fast (against others of the recording)
        trend     braking, accelerating                speed     (over | under | about, m/s)
        heading   toward, away, left, right            change    left, right, any, or (from lane, to lane), None: any
        overtaking ()                                  place     left, middle, right of the image
        range     near, far                            distance  (over | under | about, m) from the camera
        relation  (name, class names of the other)
    negated: holds where the rest does not.
    words: for a value that has a name of its own, such as "vehicle" for all classes of vehicles.
    other: of a relation, noun phrases that a model of grounding may be asked for about the other vehicle: its class,
        and its colour where it has one.
    """

    kind: str
    value: Any = ()
    negated: bool = False
    words: str = field(default="", compare=False)
    other: tuple[str, ...] = field(default=(), compare=False)

    def __str__(self) -> str:
        equals = "!=" if self.negated else "="
        if self.kind in ("speed", "distance"):
            op, number = self.value
            text = f"{number * KMH:.4g} km/h" if self.kind == "speed" else f"{number:.4g} m"
            return f"{'not ' * self.negated}{self.kind}{SIGNS[op]}{text}"
        looks = f" ({', '.join(self.other[1:])})" * (len(self.other) > 1)
        return f"{self.kind}{equals}{self.words or _words_of(self.kind, self.value)}{looks}"


@dataclass(frozen=True)
class Query:
    """What a sentence asks for.

    Args:
        sentence: as it was given.
        conditions: on the tracks; that of the class comes first.
        image_words: words that no track knows, such as colours.
        phrase: noun phrase with them, as a model of grounding understands it; "" without any.
        class_phrase: noun phrase of the class alone; "" without one.
        lasting_s: least and greatest length of an answer, s. within_s: of the recording, s.
        left_out: words before the noun phrase that are not known, and taken for the way of asking.
        notes: what was taken in one of several senses, in words.
    """

    sentence: str
    conditions: tuple[Condition, ...]
    image_words: tuple[str, ...] = ()
    phrase: str = ""
    class_phrase: str = ""
    lasting_s: tuple[float, float] = (0.0, float("inf"))
    within_s: tuple[float, float] = (0.0, float("inf"))
    left_out: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    def __str__(self) -> str:
        parts = [str(condition) for condition in self.conditions]
        for name, (low, high) in (("duration", self.lasting_s), ("time", self.within_s)):
            parts += [f"{name}>{low:g} s"] * (low > 0) + [f"{name}<{high:g} s"] * (high < float("inf"))
        parts += [f"image={self.phrase!r}"] * bool(self.phrase)
        told = ", ".join(parts)
        notes = [f"left out: {' '.join(self.left_out)!r}"] * bool(self.left_out) + list(self.notes)
        return f"{told} ({'; '.join(notes)})" if notes else told


def _words_of(kind: str, value: Any) -> str:
    if kind == "lane":
        name, number = value
        return f"{number} {name.replace('_', ' ')}" if number else name
    if kind == "change" and isinstance(value, tuple):
        return " to ".join("any" if lane is None else _words_of("lane", lane) for lane in value)
    if kind == "relation":
        return f"{value[0].replace('_', ' ')} {'|'.join(value[1])}"
    if kind == "overtaking":
        return "another vehicle"
    return "|".join(value) if isinstance(value, tuple) else str(value)
