"""Parser of search sentences: English in everyday words becomes conditions on tracks, and a phrase for the image.

It reads from left to right and takes the longest phrase of the vocabulary at each place. Words that no phrase holds are
kept and told: nothing is left out silently but function words.
"""

import re
from collections.abc import Callable, Sequence
from typing import Any

from d2road.traffic.search import sentence_patterns as patterns
from d2road.traffic.search import sentence_phrases as phrases
from d2road.traffic.search import sentence_words as words
from d2road.traffic.search.query import Condition, Query
from d2road.utils.errors import ConfigError

Rule = tuple[re.Pattern[str], Callable[["_Reader", re.Match[str]], None]]


def parse_sentence(sentence: str, classes: Sequence[str] = (), leaves_words: bool = False) -> Query:
    """What a sentence asks for.

    Args:
        classes: names of classes that the tracks have; nouns beside those of the vocabulary.
        leaves_words: words that are not understood go to the phrase for the image.
    Raises:
        ConfigError: words that are not understood, an empty sentence, or one that names two vehicles to look for.
    """
    reader = _Reader(sentence, classes)
    reader.read()
    if reader.unknown and not leaves_words:
        raise ConfigError(
            f"not understood: {', '.join(repr(one) for one in reader.unknown)}; the rest is {reader.query(False)}. Say "
            "it in other words (docs/search_video.md lists what is known), or hand these words to a model of grounding"
        )
    return reader.query(leaves_words)


class _Reader:
    """One sentence; `text` is what is left to read."""

    def __init__(self, sentence: str, classes: Sequence[str]):
        self.sentence = sentence
        text = re.sub(r"[?!.,;:\"]+(?=\s|$)", " ", f" {sentence.lower().replace('’', chr(39))} ")
        self.text = " ".join(words.digits(text).split())
        if not self.text:
            raise ConfigError(
                "the sentence is empty: say what to look for, such as 'a truck standing in the right lane'"
            )
        self.own_nouns = {name.lower().replace("_", " "): name for name in classes if words.noun_of(name) is None}
        self.negated = False
        self.conditions: list[Condition] = []
        self.noun = self.target = ""
        self.adjectives: list[str] = []
        self.tail: list[str] = []
        self.unknown: list[str] = []
        self.left_out: list[str] = []  # before the noun phrase
        self.notes: list[str] = []
        self.lasting, self.within = [0.0, float("inf")], [0.0, float("inf")]

    def read(self) -> None:
        """Take the longest phrase, again and again."""
        rules = [*_RULES]
        if self.own_nouns:
            rules.insert(0, _rule("|".join(map(re.escape, self.own_nouns)), _Reader.take_noun))
        while self.text:
            matches = [(match, take) for pattern, take in rules if (match := pattern.match(self.text))]
            if matches:
                match, take = max(matches, key=lambda one: one[0].end())
                self.text = self.text[match.end() :].lstrip()
                take(self, match)
            else:
                word, _, self.text = self.text.partition(" ")
                self.unknown.append(word)
        if self.negated:
            self.unknown.append("not")

    def add(self, kind: str, value: Any, negated: bool = False, words: str = "", other: tuple[str, ...] = ()) -> None:
        """A condition, the opposite where a "not" stands before it."""
        negated = negated != self.negated
        if (kind, value, negated) == ("motion", "moving", True):
            value, negated = "standing", False
        condition = Condition(kind, value, negated, words, other)
        if condition not in self.conditions:  # said twice
            self.conditions.append(condition)
        self.negated = False

    def take_noun(self, match: re.Match[str]) -> None:
        text = match.group()
        name = self.own_nouns.get(text) or words.noun_of(text)
        assert name is not None, "the rule has the same words"
        if self.noun:
            raise ConfigError(
                f"the sentence looks for {self.target!r} and {text!r}: ask for one kind of vehicle at a time"
            )
        self.noun, self.target = name, text
        self.conditions.insert(0, Condition("class", words.GROUPS.get(name, (name,)), self.negated, name))
        self.negated = False

    def take_color(self, match: re.Match[str]) -> None:
        self.add_image_word(match["color"].replace("gray", "grey"), False)

    def take_hidden(self, match: re.Match[str]) -> None:
        self.add_image_word(next(k for k, v in phrases.HIDDEN.items() if re.fullmatch(v, match.group(1))), True)

    def add_image_word(self, word: str, follows: bool) -> None:
        """An attribute that only the image tells; follows: the noun."""
        if follows or self.negated:
            self.tail.append(f"that are {'not ' * self.negated}{word}")
        else:
            self.adjectives.append(word)
        self.negated = False

    def take_relation(self, match: re.Match[str]) -> None:
        self.add_relation(self.relation_name(match), match)

    def take_inverse(self, match: re.Match[str]) -> None:
        """ "With a bus behind it": what the other one is to it, said the other way round."""
        self.add_relation(phrases.INVERSE[self.relation_name(match)], match)

    @staticmethod
    def relation_name(match: re.Match[str]) -> str:
        return next(name for name in phrases.RELATIONS if match.group(name))

    def add_relation(self, name: str, match: re.Match[str]) -> None:
        anchor = words.noun_of(match["anchor"])
        assert anchor is not None, "the rule has the same words"
        other: tuple[str, ...] = (words.plural_phrase(anchor),)
        if match["color"]:
            other = (*other, f"all {match['color'].replace('gray', 'grey')} vehicles")
        classes = words.GROUPS.get(anchor, (anchor,))
        self.add("relation", (name, classes), words=f"{name.replace('_', ' ')} {anchor}", other=other)

    def take_lane(self, match: re.Match[str]) -> None:
        self.note_taken(match)
        self.add("lane", (words.side_of(match["side"]), 0))

    def note_taken(self, match: re.Match[str]) -> None:
        """Say in which sense a word is taken that has more than one."""
        for pattern, sense in words.TAKEN.items():
            found = re.search(rf"\b(?:{pattern})\b", match.group())
            if found:
                self.notes.append(f"{found.group()!r} taken as {sense}")

    def take_nth_lane(self, match: re.Match[str]) -> None:
        number = match["lane_number"] or match["lane_number2"]
        ordinal = match["ordinal"] or match["ordinal2"]
        origin = match["origin"] if match["origin"] in ("left", "right") else "middle"
        origin = "right" if match["origin"] in ("kerb", "curb", "edge") else origin
        self.add("lane", (f"from_{origin}", int(number) if number else words.ordinal_of(ordinal)))

    def take_far_lane(self, match: re.Match[str]) -> None:
        side = match["far"] or match["side"] or ("right" if match["edge"] else "left")
        self.add("lane", (side, 0))

    def take_middle_lane(self, match: re.Match[str]) -> None:
        self.add("lane", ("middle", 0))

    def take_change_side(self, match: re.Match[str]) -> None:
        self.add("change", next(side for side in match.groups() if side))

    def take_change_to(self, match: re.Match[str]) -> None:
        to, start = words.side_of(match["to"]), match["from"]
        # "The left lane" is the one on the left, "the leftmost lane" that of the road.
        if start is None and match["to"].replace(" hand", "").replace("-hand", "") in ("left", "right"):
            self.add("change", to)
        else:
            self.add("change", ((words.side_of(start), 0) if start else None, (to, 0)))

    def take_change_from(self, match: re.Match[str]) -> None:
        self.add("change", ((words.side_of(match["from"] or match["from2"]), 0), None))

    def take_quantity(self, match: re.Match[str]) -> None:
        measure, scale = _unit(match["unit"])
        op = next((name for name in ("over", "under", "about") if match[name]), "")
        op = (
            "over"
            if match["more"]
            else "under"
            if match["less"]
            else "about"
            if match["so"]
            else op or ("over" if measure == "time" else "about")
        )
        self.limit(measure, op, float(match["number"]) * scale)

    def take_bare_speed(self, match: re.Match[str]) -> None:
        """A speed without a unit."""
        op = next((name.rstrip("234") for name in match.groupdict() if match[name] and name != "number"), "about")
        self.notes.append(f"{match['number']} taken as {match['number']} km/h")
        self.limit("speed", op, float(match["number"]) / 3.6)

    def limit(self, measure: str, op: str, value: float) -> None:
        """A condition on a speed, a distance or how long it lasts."""
        if measure != "time":
            self.add(measure, (op, value))
            return
        op = {"over": "under", "under": "over"}.get(op, op) if self.negated else op
        self.negated = False
        if op == "about":
            self.lasting = [0.8 * value, 1.2 * value]
        else:
            self.lasting[op == "under"] = value

    def take_between(self, match: re.Match[str]) -> None:
        measure, scale = _unit(match["unit"])
        low, high = (float(match[name]) * scale for name in ("low", "high"))
        if measure == "time" and not match["lead"]:
            self.within = [low, high]
        else:
            self.limit(measure, "over", low)
            self.limit(measure, "under", high)

    def take_after(self, match: re.Match[str]) -> None:
        self.within[0] = self.instant(match)

    def take_before(self, match: re.Match[str]) -> None:
        self.within[1] = self.instant(match)

    def instant(self, match: re.Match[str]) -> float:
        """s of the recording."""
        said = {name: value for name, value in match.groupdict().items() if value and not name.startswith("_")}
        if "clock" in said:
            minutes, seconds = said["clock"].split(":")
            return 60.0 * int(minutes) + int(seconds)
        number = float(said.get("number") or said["number2"])
        if "unit" in said:
            return number * _unit(said["unit"])[1]
        return number * (60.0 if re.search(r"\bminute \d", match.group()) else 1.0)

    def take_not(self, match: re.Match[str]) -> None:
        self.negated = not self.negated

    def take_nothing(self, match: re.Match[str]) -> None:
        """Function words."""

    def take_determiner(self, match: re.Match[str]) -> None:
        """A noun phrase begins: what was said before its first one asks, and describes nothing."""
        if not (self.noun or self.conditions or self.adjectives or self.left_out):
            self.left_out, self.unknown = self.unknown, []

    def query(self, with_unknown: bool) -> Query:
        """The query of what was read. Raises ConfigError where that is nothing."""
        limits = [0.0, float("inf")]
        unknown = self.unknown * with_unknown
        if not (self.conditions or self.adjectives or self.tail or unknown) and [self.lasting, self.within] == 2 * [
            limits
        ]:
            raise ConfigError(f"{self.sentence!r} says nothing that a vehicle could be found by")
        image_words = (*self.adjectives, *self.tail, *unknown)
        phrase = " ".join(["all", *self.adjectives, "vehicles", *self.tail, *unknown]) if image_words else ""
        class_phrase = words.plural_phrase(self.noun) if self.noun else ""
        conditions = [one for one in self.conditions if one.kind != "lane" or not self.changes()]
        # Who changes lanes does so from the lane that the sentence names.
        conditions += [Condition("change", (one.value, None)) for one in self.conditions if one not in conditions]
        plain = [one for one in conditions if not _is_implied(one, conditions)]
        return Query(
            self.sentence, tuple(plain), image_words, phrase, class_phrase, (self.lasting[0], self.lasting[1]),
            (self.within[0], self.within[1]), tuple(self.left_out), tuple(self.notes),
        )  # fmt: skip

    def changes(self) -> bool:
        """Whether the sentence is about a change of lane."""
        return any(one.kind == "change" for one in self.conditions)


def _is_implied(one: Condition, conditions: Sequence[Condition]) -> bool:
    """Whether "driving" says no more than another condition, which has an own speed or manoeuvre."""
    others = {other.kind for other in conditions if not other.negated}
    return one == Condition("motion", "moving") and bool(others & {"change", "overtaking", "pace", "heading", "trend"})


def _unit(text: str) -> tuple[str, float]:
    return next(value for pattern, value in words.UNITS.items() if re.fullmatch(pattern, text))


def _rule(pattern: str, take: Callable[[_Reader, re.Match[str]], None]) -> Rule:
    return re.compile(rf"(?:{pattern})(?![\w-])"), take


def _longest(pattern: str, take: Callable[[_Reader, re.Match[str]], None]) -> list[Rule]:
    """A rule for each alternative of a pattern, so that the longest one is taken and not the first."""
    return [_rule(one, take) for one in patterns.alternatives(pattern)]


def _phrase_rules(kind: str, value: Any, negated: bool, pattern: str) -> list[Rule]:
    return _longest(pattern, lambda reader, match: reader.add(kind, value, negated))


_RULES: tuple[Rule, ...] = (
    *(rule for phrase in phrases.PHRASES for rule in _phrase_rules(*phrase)),
    *_longest(patterns.NOUN, _Reader.take_noun),
    _rule(rf"(?:painted |in )?(?P<color>{words.COLORS})(?:[- ]colou?red)?", _Reader.take_color),
    _rule(rf"({'|'.join(phrases.HIDDEN.values())})", _Reader.take_hidden),
    _rule(patterns.RELATION, _Reader.take_relation),
    _rule(patterns.INVERSE, _Reader.take_inverse),
    _rule(patterns.BETWEEN_THEM, lambda reader, match: reader.add_relation("behind", match)),
    _rule(patterns.LANE, _Reader.take_lane),
    _rule(patterns.FAR_LANE, _Reader.take_far_lane),
    _rule(patterns.MIDDLE_LANE, _Reader.take_middle_lane),
    _rule(patterns.NTH_LANE, _Reader.take_nth_lane),
    _rule(phrases.CHANGE_SIDE, _Reader.take_change_side),
    _rule(phrases.CHANGE_TO, _Reader.take_change_to),
    _rule(phrases.CHANGE_FROM, _Reader.take_change_from),
    _rule(patterns.QUANTITY, _Reader.take_quantity),
    _rule(patterns.SPEED, _Reader.take_quantity),
    _rule(patterns.BARE_SPEED, _Reader.take_bare_speed),
    _rule(patterns.BETWEEN, _Reader.take_between),
    _rule(patterns.AFTER, _Reader.take_after),
    _rule(patterns.ONWARDS, _Reader.take_after),
    _rule(patterns.INTO_AFTER, _Reader.take_after),
    _rule(patterns.BEFORE, _Reader.take_before),
    _rule(patterns.WITHIN_FIRST, _Reader.take_before),
    _rule(phrases.NOT, _Reader.take_not),
    _rule(phrases.DETERMINERS, _Reader.take_determiner),
    *_longest(phrases.FUNCTION_WORDS, _Reader.take_nothing),
)
