"""Hand-written parser of English referring expressions: a sentence becomes a logical form (mono3dvg/language).

Recursive descent over words: a noun phrase is a rank, adjectives, a noun and complements; a relation takes another noun
phrase. What no rule knows is skipped, so that questions and commands need no rules of their own. It was written from
the grammar of the generated training sentences and everyday words for the same things, and tried on training and
validation sentences alone.
"""

import re
from collections.abc import Callable
from functools import partial

from mono3dvg.language import english

NUMBERS = {word: place + 1 for place, word in enumerate(english.NUMBERS)}
ORDINALS = {word: place + 1 for place, word in enumerate(english.ORDINALS)}
NOUNS = {
    "car": r"cars?|saloons?|sedans?|hatchbacks?|estates?",
    "van": r"vans?|minivans?|minibus(?:es)?",
    "truck": r"trucks?|lorry|lorries|pick-?ups?",
    "bus": r"bus|buses|coach|coaches",
    "cyclist": r"cyclists?|bikers?|bicyclists?|bicycles?|bikes?|(?:bike|bicycle) riders?|riders?|"
    r"(?:person|people|man|woman|somebody|someone) (?:on|riding) (?:a |the )?(?:bicycles?|bikes?)",
    "pedestrian": r"pedestrians?|(?:person|people) on foot|persons?|people|man|men|woman|women|guy|somebody|someone|"
    r"anyone|anybody|everyone|everybody|who",
    "vehicle": r"(?:motor )?vehicles?",
    "road_user": r"road users?|ones?|everything|anything|what",
}
COLORS = "white|black|silver|gr[ae]y|red|blue|green|yellow|orange|brown"
RANKS = {
    "near": r"nearest|closest",
    "far": r"farthest|furthest",
    "left": r"leftmost",
    "right": r"rightmost",
    "long": r"longest",
    "tall": r"tallest",
}
CAMERA = r"(?:the camera|us|me|here)"
# Complements without another object: pattern, predicate. The first that matches is taken, so longer ones come first.
COMPLEMENTS: tuple[tuple[str, tuple], ...] = (
    (r"crossing(?: the (?:street|road))?|walking across the (?:road|street)|on the carriageway", ("state", "crossing")),
    (r"parked", ("state", "parked")),
    (rf"(?:heading|moving|going|driving|riding) away(?: from {CAMERA})?|seen from behind", ("heading", "away")),
    (
        rf"(?:heading|coming|moving|driving|riding) (?:towards? {CAMERA}|our way)|coming closer|approaching|oncoming|"
        rf"seen from the front|facing {CAMERA}",
        ("heading", "toward"),
    ),
    (r"heading left|facing (?:to the )?left|pointing left", ("heading", "left")),
    (r"heading right|facing (?:to the )?right|pointing right", ("heading", "right")),
    (r"partly hidden|partly occluded by something|half covered by something|half hidden", ("hidden", True)),
    (r"fully visible|in full view|covered by nothing", ("hidden", False)),
    (r"(?:on|at|in) the left(?: side| part)?(?: of the (?:image|picture))?(?! of)|left", ("place", "left")),
    (r"(?:on|at|in) the right(?: side| part)?(?: of the (?:image|picture))?(?! of)|right", ("place", "right")),
    (r"in the (?:middle|centre|center)(?: of the (?:image|picture))?", ("place", "middle")),
    (rf"not far from {CAMERA}|near {CAMERA}|close by|close to {CAMERA}", ("range", "near")),
    (r"far away|in the distance|in the background|far from the camera", ("range", "far")),
)
RELATIONS: tuple[tuple[str, str], ...] = (
    (r"on the left side of|to the left of|left of", "left_of"),
    (r"on the right side of|to the right of|right of", "right_of"),
    (r"closer to the camera than|nearer than|less far away than|closer than", "closer_than"),
    (
        r"farther from the camera than|farther away than|at a greater distance than|farther than|further than",
        "farther_than",
    ),
    (r"farther back in line with|on the far side of|behind", "behind"),
    (r"in front of|between the camera and|on the near side of|ahead of", "in_front_of"),
    (r"next to|beside|right by|alongside|by", "next_to"),
)
DISTANCE = (
    r"(?:(?P<about>about|at a distance of about|roughly|around)|(?P<under>less than|closer than|within)|"
    r"(?P<over>more than|farther than|beyond)) (?P<value>\d+(?:\.\d+)?) ?(?P<unit>metres|meters|m|cm|feet|ft)\b"
    r"(?: away)?(?: (?:from|of) the camera)?"
)
UNITS = {"metres": "m", "meters": "m", "m": "m", "cm": "cm", "feet": "ft", "ft": "ft"}
LANE = (
    r"in (?:the (?P<ordinal>\w+) lane from the (?:middle of the road|centre line)|lane (?P<number>\d+) counted from "
    r"the middle)"
)
CLOTHES = rf"(?:in|wearing|dressed in)(?: an?| the)? (?P<color>{COLORS})(?: \w*(?:jacket|top|shirt|sweater|jersey))?"
NOT = r"(?:that (?:is|are) )?(?:but )?not|(?:that |who )?(?:isn't|aren't)|(?:that (?:is|are) )not"


class SentenceParser:
    """One sentence; `text` is what is left to read."""

    def __init__(self, text: str):
        lowered = re.sub(r"[?!.\"]+(?=\s|$)", " ", text.lower().replace("’", "'"))
        self.text = re.sub(r"\s+", " ", lowered).strip()
        self.count = 1  # how many the noun phrase being read says that it means

    def sentence(self) -> tuple | None:
        """The whole sentence as a form, None where no noun of it is known."""
        phrase = self._seek()
        if phrase is None:
            return None
        while self._take(r",? ?and(?= (?:the|all|each|both) )"):
            other = self._seek()
            if other is not None:
                phrase = ("union", phrase, other)
        return phrase

    def _seek(self) -> tuple | None:
        """The next noun phrase; words before it are skipped."""
        while self.text:
            before = self.text
            phrase = self._phrase()
            if phrase is not None:
                return phrase
            self.text = before
            self._skip()
        return None

    def _phrase(self) -> tuple | None:
        self._take(r"(?:each of|all of)?(?: ?all)?(?: ?both)?(?: ?the| ?an?| ?any| ?some)?(?= )")
        rank = self._rank()
        self.count = 1
        adjectives = self._adjectives()
        noun = self._noun()
        if noun is None:
            return None
        if rank and self._take(r",? ?(?:from|counted from|on) the (left|right)"):
            rank = (self.taken.group(1), *rank[1:])
        elif rank and rank[0] == "order":
            self._take(rf" ?from {CAMERA}")
            rank = ("near", *rank[1:])
        if rank and self._take(r" ?(?:among|of)(?= the )"):
            inner = self._phrase()
            return None if inner is None else ("rank", *rank, inner)
        predicates, after = self._complements()
        described: tuple = ("all", *dict.fromkeys((*adjectives, noun, *predicates)))
        if rank:
            return ("rank", *rank, described)
        return described if after is None else after(described)

    def _rank(self) -> tuple | None:
        """(key, first, last); key "order" where the noun tells in which."""
        number = "|".join(NUMBERS)
        ordinal = "|".join(ORDINALS)
        superlative = "|".join(RANKS.values())
        if self._take(rf"(?:(?!one)(?P<n>{number}) |(?P<o>{ordinal}) )?(?P<s>{superlative})(?! to (?!{CAMERA}))"):
            key = next(k for k, words in RANKS.items() if re.fullmatch(words, self.taken["s"]))
            if self.taken["n"]:
                return key, 1, NUMBERS[self.taken["n"]]
            place = ORDINALS.get(self.taken["o"] or "", 1)
            return key, place, place
        if self._take(rf"first (?!one)(?P<n>{number})(?= )"):
            return "order", 1, NUMBERS[self.taken["n"]]
        if self._take(rf"(?P<o>{ordinal})(?= (?!lane))"):
            place = ORDINALS[self.taken["o"]]
            return "order", place, place
        return None

    def _adjectives(self) -> list[tuple]:
        found: list[tuple] = []
        while True:
            if self._take(rf"({COLORS})(?=[ ,])"):
                found.append(("color", self.taken.group(1).replace("gray", "grey")))
            elif self._take(r"(large|big|long|small|short)(?= )"):
                found.append(("size", "large" if self.taken.group(1) in ("large", "big", "long") else "small"))
            elif self._take(r"parked(?= )"):
                found.append(("state", "parked"))
            elif self._take(r"oncoming(?= )"):
                found.append(("heading", "toward"))
            elif self._take(rf"(?!one)({'|'.join(NUMBERS)})(?= )"):
                self.count = NUMBERS[self.taken.group(1)]
            else:
                return found

    def _noun(self) -> tuple | None:
        for name in ("cyclist", *(n for n in NOUNS if n != "cyclist")):
            if self._take(NOUNS[name]):
                riding = name == "pedestrian" and re.match(r" (?:is )?(?:riding|cycling)", self.text)
                return ("class", "cyclist" if riding else name)
        return None

    def _complements(self) -> tuple[list[tuple], Callable[[tuple], tuple] | None]:
        """Predicates behind a noun, and what makes another phrase of the whole: nearest, exactly, a rank."""
        found: list[tuple] = []
        after: Callable[[tuple], tuple] | None = None
        while self.text:
            negated = self._take(rf",? ?(?:{NOT})(?= )(?! far from)")
            wrapped = self._wrapper() if not negated else None
            if wrapped is not None:
                after = wrapped
                continue
            predicate = self._predicate()
            if predicate is not None:
                found.append(("not", predicate) if negated else predicate)
            elif re.match(r",? ?and (?:the|all|each|both) ", self.text):
                break
            else:
                self._skip()
        return found, after

    def _wrapper(self) -> Callable[[tuple], tuple] | None:
        superlative = "|".join(RANKS.values())
        if self._take(rf",? ?(?:the )?(?P<s>{superlative}) (?:to|from) {CAMERA}"):
            key = "far" if re.fullmatch(RANKS["far"], self.taken["s"]) else "near"
            count = self.count
            inner = self._phrase() if self._take(r"(?:among|of)(?= the )") else None
            return lambda phrase: ("rank", key, 1, count, inner or phrase)
        if self._take(r",? ?(?:nearest|closest|with the smallest distance) to(?= )"):
            anchor = self._phrase()
            return None if anchor is None else partial(_nearest, anchor)
        number = "|".join(NUMBERS)
        if self._take(rf",? ?(?:if there are exactly|provided that there are just) (?P<n>{number})(?: of them)?"):
            exact = NUMBERS[self.taken["n"]]
            return lambda phrase: ("exactly", exact, phrase)
        return None

    def _predicate(self) -> tuple | None:
        lead = r"(?:,|and|but|that (?:is|are)|who (?:is|are)|which (?:is|are)|(?:is|are)| )*"
        if self._take(lead + DISTANCE):
            kind = next(k for k in ("about", "under", "over") if self.taken[k])
            return ("distance", kind, float(self.taken["value"]), UNITS[self.taken["unit"]])
        if self._take(lead + LANE):
            number = self.taken["number"]
            return ("lane", int(number) if number else ORDINALS.get(self.taken["ordinal"], 1))
        two = r"between(?! the camera)|in the space between|with"
        if self._take(rf"{lead}(?:{two})(?= )"):
            return self._between()
        for words, name in RELATIONS:
            if self._take(rf"{lead}(?:{words})(?= )(?! the (?:image|picture))"):
                anchor = self._phrase_at_once()
                return None if anchor is None else (name, anchor)
        for words, predicate in COMPLEMENTS:
            if self._take(rf"{lead}(?:{words})(?=[ ,]|$)"):
                return predicate
        if self._take(lead + CLOTHES):
            return ("color", self.taken["color"].replace("gray", "grey"))
        if self._take(rf"{lead}({COLORS})(?=[ ,]|$)"):
            return ("color", self.taken.group(1).replace("gray", "grey"))
        return None

    def _between(self) -> tuple | None:
        first, second = self._split_pair()
        anchors = [SentenceParser(part).sentence() for part in (first, second)]
        return None if None in anchors else ("between", *anchors)

    def _split_pair(self) -> tuple[str, str]:
        """What stands before and after the "and" of "between a and b"; reads to the end or the next comma."""
        part, comma, rest = self.text.partition(",")
        self.text = comma + rest
        part = re.sub(r" on one side and (.*) on the other", r" and \1", part)
        first, _, second = part.partition(" and ")
        return first, second

    def _phrase_at_once(self) -> tuple | None:
        """A noun phrase that is an anchor: it ends before the next comma with a relation."""
        relation = "|".join(words for words, _ in RELATIONS)
        stop = re.search(rf",(?= (?:{relation}|between|not |but ))| and (?=the |all |each |both )", self.text)
        end = stop.start() if stop else len(self.text)
        inner = SentenceParser(self.text[:end])
        self.text = self.text[end:]
        return inner._seek()

    def _take(self, pattern: str) -> bool:
        """Read what matches here, after a space; words are taken whole."""
        match = re.match(rf" ?(?:{pattern})(?!\w)", self.text)
        if not match or not match.group().strip():
            return False
        self.taken, self.text = match, self.text[match.end() :]
        return True

    def _skip(self) -> None:
        match = re.match(r"[ ,]*[^ ,]+", self.text)
        self.text = self.text[match.end() :] if match else ""


def _nearest(anchor: tuple, phrase: tuple) -> tuple:
    return ("nearest", phrase, anchor)


def named_class(text: str) -> str | None:
    """The class that a sentence names first, None where it names none."""
    parser = SentenceParser(text)
    while parser.text:
        noun = parser._noun()
        if noun is not None:
            return noun[1]
        parser._skip()
    return None


def parse_sentence(text: str) -> tuple | None:
    """The logical form of an English sentence; None where it names nothing that the parser knows."""
    return SentenceParser(text).sentence()
