"""Questions about rendered clips, drawn with their exact answers, in the wordings of search_wordings.json.

A question names a class, sometimes a colour, and one to three conditions. It has one to three answers of a second or
more each, or none; numbers may move by a tenth without its answers becoming none, or more than none.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.traffic.search_truth import ClipTruth, Interval, Kind
from d2road.utils.input_files import read_json

WORDINGS = Path(__file__).parent / "search_wordings.json"
CLASSES = {
    "car": ("car",),
    "van": ("van",),
    "truck": ("truck",),
    "bus": ("bus",),
    "vehicle": ("car", "van", "truck", "bus"),
}
CLASS_SHARES = {"car": 0.3, "van": 0.15, "truck": 0.15, "bus": 0.1, "vehicle": 0.3}
COLORS = ("white", "black", "red", "blue", "green")  # those that are told apart in the film
# At most one of each row in a question.
ASPECTS: tuple[tuple[str, ...], ...] = (
    ("lane_right", "lane_middle", "lane_left", "lane_2_from_middle"),
    ("standing", "moving", "slow", "fast", "braking", "accelerating", "speed_over", "speed_under", "change_left",
     "change_right", "change", "overtaking"),
    ("toward", "away"),
    ("image_left", "image_right", "image_middle"),
    ("near", "far", "distance_under", "distance_over"),
    ("behind", "in_front_of", "next_to"),
    ("lasting_over", "lasting_over", "lasting_over", "lasting_under"),
    ("after", "before"),
    ("large", "small"),
)  # fmt: skip
# How often an aspect takes part: motion, how long, lanes first.
ASPECT_SHARES = (0.2, 0.26, 0.05, 0.07, 0.08, 0.08, 0.14, 0.06, 0.06)
NUMBERS: Mapping[str, tuple[str, Sequence[float]]] = {
    "speed_over": ("v", (20, 30, 40, 50, 60, 70, 80, 90, 100)),
    "speed_under": ("v", (10, 15, 20, 30, 40, 50, 60, 70)),
    "lasting_over": ("n", (2, 3, 4, 5, 6, 8, 10, 15, 20)),
    "lasting_under": ("n", (1, 2, 3, 4, 5)),
    "distance_under": ("d", (15, 20, 25, 30, 40)),
    "distance_over": ("d", (25, 30, 40, 50, 60)),
    "after": ("t", (20, 30, 40, 50)),
    "before": ("t", (10, 15, 20, 30, 40)),
}
MOST_ANSWERS, MARGIN, LEAST_ANSWER_S = 3, 0.1, 1.0
ANCHORS = ("car", "van", "truck", "bus")


@dataclass(frozen=True)
class Question:
    """A question about a clip: sentence, what it says, and its answers."""

    clip: str
    sentence: str
    kinds: tuple[Kind, ...]
    answers: tuple[Interval, ...]

    @property
    def has_color(self) -> bool:
        """Whether it names an attribute that no track knows."""
        return any(name == "color" for name, _ in self.kinds)


def draw_questions(
    truths: Sequence[ClipTruth], count: int, without_answer: int, wording: str, seed: int, colored: float = 0.3
) -> list[Question]:
    """As many different questions over clips, the last `without_answer` of them with none.

    Args:
        wording: "seen" or "held_out". colored: share that names a colour.
    """
    rng = np.random.default_rng(seed)
    wordings = read_json(WORDINGS, "wordings")
    found: list[Question] = []
    while len(found) < count:
        wants_answer = len(found) < count - without_answer
        truth = truths[int(rng.integers(len(truths)))]
        kinds = _draw_kinds(truth, rng, colored)
        answers = truth.intervals(kinds)
        loose, strict = (truth.intervals(_eased(kinds, sign)) for sign in (1, -1))
        lasts = all(one.t1 - one.t0 >= LEAST_ANSWER_S for one in answers)
        fits = 1 <= len(answers) <= MOST_ANSWERS and strict and lasts if wants_answer else not loose
        if not fits or any(set(one.kinds) == set(kinds) and one.clip == truth.clip.name for one in found):
            continue
        if not wants_answer and not truth.intervals(kinds[:1]):
            continue  # of a class that is there
        sentence = realize_question(kinds, wordings, wording, rng)
        found.append(Question(truth.clip.name, sentence, tuple(kinds), tuple(answers)))
    return found


def _draw_kinds(truth: ClipTruth, rng: np.random.Generator, colored: float) -> list[Kind]:
    noun = str(rng.choice(list(CLASS_SHARES), p=list(CLASS_SHARES.values())))
    kinds: list[Kind] = [("class", CLASSES[noun])]
    has_color = rng.random() < colored
    if has_color:
        kinds.append(("color", str(rng.choice(COLORS))))
    number = int(rng.integers(1, 3 if has_color else 4))
    for row in rng.choice(len(ASPECTS), size=number, replace=False, p=ASPECT_SHARES):
        name = str(rng.choice(ASPECTS[int(row)]))
        value: Any = None
        if name in NUMBERS:
            value = float(rng.choice(NUMBERS[name][1]))
        elif name in ASPECTS[5]:
            value = CLASSES[str(rng.choice(ANCHORS))]
        kinds.append((name, value))
    names = {name for name, _ in kinds}
    if names & set(ASPECTS[0]) and any(name.startswith("change") for name in names):
        return _draw_kinds(truth, rng, colored)  # in which of its two lanes is who changes them?
    return kinds


def _eased(kinds: Sequence[Kind], sign: int) -> list[Kind]:
    """The same with numbers moved by the margin: 1 lets more through, -1 less."""
    moved = []
    for name, value in kinds:
        if name in NUMBERS:
            upwards = name.endswith("under") or name == "before"
            value = value * (1 + MARGIN) ** (sign if upwards else -sign)
        moved.append((name, value))
    return moved


def realize_question(kinds: Sequence[Kind], wordings: Mapping[str, Any], wording: str, rng: np.random.Generator) -> str:
    """The sentence of what a question says."""

    def pick(entry: Mapping[str, Sequence[str]]) -> str:
        return str(rng.choice(entry[wording])).removeprefix("*")

    names = {classes: name for name, classes in CLASSES.items()}
    values = dict(kinds)
    noun = pick(wordings["nouns"][names[values["class"]]])
    if "color" in values:
        noun = pick(wordings["colored"]).format(color=values["color"], noun=noun)
    tail = []
    for name, value in sorted(kinds[1:], key=lambda kind: [row for row, a in enumerate(_ORDER) if kind[0] in a]):
        if name == "color":
            continue
        text = pick(wordings["conditions"][name])
        if text.startswith("{adj}"):
            noun = f"{text.removeprefix('{adj}')} {noun}"
            continue
        fill = {NUMBERS[name][0]: f"{value:g}"} if name in NUMBERS else {}
        if name in ASPECTS[5]:
            fill = {"a": pick(wordings["nouns"][names[value]])}
        tail.append(text.format(**fill))
    sentence = pick(wordings["frames"]).format(np=" ".join([noun, *tail]))
    return _with_article(sentence)


# How conditions follow each other behind the noun: what it does, where, how long, when.
_ORDER = (
    ASPECTS[1],
    ASPECTS[2],
    ASPECTS[0],
    ASPECTS[3],
    ASPECTS[4],
    ASPECTS[5],
    ASPECTS[6],
    ASPECTS[7],
    ASPECTS[8],
    ("color",),
)


def _with_article(sentence: str) -> str:
    words = sentence.split(" ")
    for k, word in enumerate(words[:-1]):
        if word == "a" and words[k + 1][:1].lower() in "aeiou":
            words[k] = "an"
    return " ".join(words)
