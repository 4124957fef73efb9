"""Vocabulary of search sentences: which words say what. Patterns are regular expressions of lower-case English."""

import re
from collections.abc import Iterable

NUMBERS = (
    "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve",
    "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen",
)  # fmt: skip
TENS = ("twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety")
ORDINALS = ("first", "second", "third", "fourth", "fifth", "sixth")

# A class and the words for it; its plural where it is not that with an s.
NOUNS = {
    "car": r"(?:passenger |motor ?)?cars?|automobiles?|sedans?|saloons?|hatchbacks?|estate cars?|station wagons?|suvs?",
    "van": r"(?:delivery |transporter )?vans?|mini-?vans?|mini-?bus(?:es)?",
    "truck": r"(?:heavy )?trucks?|lorry|lorries|pick-?ups?|hgvs?|heavy goods vehicles?|semis?|semi-?trailers?|"
    r"articulated lorr(?:y|ies)",
    "bus": r"(?:motor ?|omni)?bus(?:es)?|coach(?:es)?",
    "tram": r"trams?|streetcars?",
    "motorcyclist": r"motor-?(?:cyclists?|cycles?|bikes?)|motor(?:cycle|bike) riders?|mopeds?|scooters?",
    "cyclist": r"cyclists?|bicyclists?|bicycles?|bikes?|bike riders?|(?:person|people) on (?:a )?(?:bicycles?|bikes?)",
    "pedestrian": r"pedestrians?|persons?|people|man|men|woman|women|walkers?|(?:person|people) on foot",
}
PLURALS = {"bus": "buses"}
VEHICLES = ("car", "van", "truck", "bus", "tram", "motorcyclist")
GROUPS = {"vehicle": VEHICLES, "road_user": tuple(NOUNS)}
# Names that data sets have for several classes at once; with the first of them in a table, cars are vans, too (Rope3D).
COARSE = {"big_vehicle": ("truck", "bus", "tram"), "motorcycle": ("motorcyclist",), "bicycle": ("cyclist",)}
GROUP_NOUNS = {
    "vehicle": r"(?:motor )?vehicles?",
    "road_user": r"road users?|traffic participants?|something|anything|someone|anyone|somebody|anybody",
}
COLORS = r"white|black|silver|gr[ae]y|red|blue|green|yellow|orange|brown"

CAMERA = r"(?:the camera|the viewer|us|me|here)"
OVER = (
    r"(?:more|greater|longer|larger|higher|faster|quicker|farther|further) than|over|above|beyond|exceeding|at least|"
    r"(?:no|not) (?:less|fewer|shorter|slower) than|upwards of|in excess of|a minimum of"
)
UNDER = (
    r"(?:less|fewer|shorter|lower|smaller|slower|closer|nearer) than|under|below|within|at most|"
    r"(?:no|not) (?:more|longer|faster|farther|further) than|up to|a maximum of|"
    r"not even(?: reaching)?|not reaching|not as much as"
)
ABOUT = r"about|around|roughly|approximately|some"
MORE_AFTER = r"(?:or|and) (?:more|longer|faster|farther|further|over)|at (?:the )?(?:very )?least"
LESS_AFTER = r"(?:or|and) (?:less|shorter|slower|closer|nearer|under)|at (?:the )?(?:very )?most"
# Unit: what it measures, how much of s, m/s or m it is.
UNITS = {
    r"s|secs?|seconds?": ("time", 1.0),
    r"min|mins|minutes?": ("time", 60.0),
    r"km ?/ ?h|kmh|kph|kilomet(?:re|er)s? (?:per|an|a) hour": ("speed", 1 / 3.6),
    r"m ?/ ?s|met(?:re|er)s? (?:per|a) second": ("speed", 1.0),
    r"mph|miles? (?:per|an|a) hour": ("speed", 0.44704),
    r"m|met(?:re|er)s?": ("distance", 1.0),
    r"ft|feet": ("distance", 0.3048),
}

SIDES = {
    "right": r"right(?:-?most|-hand)?|far right",
    "middle": r"middle|cent(?:re|er)|central",
    "left": r"left(?:-?most|-hand)?|far left",
}
SIDE = "|".join(SIDES.values())
FAR_LANE = r"lane (?:(?:furthest|farthest|far) (?:to|on) the|(?:at|on) the far|on the) (?P<far>left|right)"
IN_LANE = r"(?:in|on|using|along|down|within|keeping to|occupying|from)(?: the| its)?"

_DRIVING = r"(?:driving|moving|going|travelling|traveling|heading|headed|coming|drives|moves|goes|travels|comes|riding)"
_CHANGING = r"(?:chang|switch|swapp?|mov|merg|pull|cutt?|swerv)(?:ing|es|e|s|ed)?"
_IMAGE = r"(?:image|picture|frame|view|screen|video)"
# Phrases without a number or another vehicle: kind, value, negated, pattern. The longest match wins.
PHRASES: tuple[tuple[str, object, bool, str], ...] = (
    ("motion", "standing", False, r"standing(?: still)?|stands(?: still)?|stopped|stationary|parked|halted|halting|"
     r"idle|idling|waiting|waits|motionless|immobile|stuck|at rest|at a (?:stand)?still|sitting still|"
     r"sits still|staying put|"
     r"stays put|(?:come|comes|came|coming) to (?:rest|a stop|a halt|a standstill)"),
    ("motion", "moving", False, rf"{_DRIVING}|move|drive|go|in motion|rolling|under way|on the move"),
    ("motion", "reversing", False, rf"reversing|reverses|backing up|backs up|{_DRIVING} (?:backwards?|in reverse)"),
    ("pace", "slow", False, rf"(?:{_DRIVING} )?(?:very |unusually |too )?(?:slow|slowly)|"
     rf"(?:{_DRIVING} )?at (?:a )?low speed|"
     r"(?:crawling|creeping|crawls|creeps)(?: along| forward)?|at a snail's pace"),
    ("pace", "fast", False, rf"(?:{_DRIVING} )?(?:very |unusually |too )?(?:fast|quickly)|"
     rf"(?:{_DRIVING} )?at (?:a )?high speed|"
     r"(?:speeding|racing|tearing|rushing|speeds|races|tears|rushes)(?: along| past| by)?"),
    ("trend", "braking", False, r"braking|brakes|slowing down|slows down|decelerating|decelerates|"
     r"(?:losing|loses) speed|(?:hitting|hits) the brakes|(?:getting|becoming|gets|becomes) slower"),
    ("trend", "accelerating", False, r"accelerating|accelerates|speeding up|speeds up|"
     r"(?:gathering|gaining|gains) speed|(?:picking|picks) up (?:speed|pace)|(?:getting|becoming|gets|becomes) faster"),
    ("heading", "toward", False, rf"(?:{_DRIVING} )?(?:towards? {CAMERA}|in the direction of {CAMERA}|our way|closer)|"
     rf"oncoming|near(?:ing|s) {CAMERA}|com(?:ing|es) at {CAMERA}|approaching(?: {CAMERA})?|"
     rf"approaches(?: {CAMERA})?|seen from the front|facing {CAMERA}"),
    ("heading", "away", False, rf"(?:{_DRIVING} )?away(?: from {CAMERA})?|leaving {CAMERA}|seen from behind|"
     rf"reced(?:ing|es)(?: from {CAMERA})?|(?:getting|gets) (?:farther|further)(?: away)?(?: from {CAMERA})?"),
    ("heading", "left", False, rf"(?:{_DRIVING}|facing|pointing)(?: to(?:wards)?)?(?: the)? left"),
    ("heading", "right", False, rf"(?:{_DRIVING}|facing|pointing)(?: to(?:wards)?)?(?: the)? right"),
    ("overtaking", (), False, r"(?:overtaking|overtakes|passing|passes|getting past|gets past|outpacing|outpaces)"
     r"(?: (?:(?:an)?other|a) (?:vehicle|car|one|neighbou?r))?"),
    ("change", "any", False, r"(?:chang|switch|swapp)(?:ing|es|e)? (?:the |its |a )?lanes?|making a lane change|"
     r"lane change|leav(?:ing|es) its lane(?: for another)?|" + _CHANGING + r" from one lane to another"),
    ("place", "left", False, rf"(?:towards?|near|at) the left edge of the {_IMAGE}|(?:on|at|"
     rf"in) the left(?:-hand)?(?: (?:side|part|third|half))?(?: of the {_IMAGE})?"),
    ("place", "right", False, rf"(?:towards?|near|at) the right edge of the {_IMAGE}|(?:on|at|"
     rf"in) the right(?:-hand)?(?: (?:side|part|third|half))?(?: of the {_IMAGE})?"),
    ("place", "middle", False, rf"in the (?:middle|cent(?:re|er))(?: (?:part|third))?(?: of the {_IMAGE})?"),
    ("range", "near", False, rf"(?:near|close to|not far from) {CAMERA}|not far away|a short (?:way|"
     rf"distance) (?:off|away)|nearby|close by|close at hand|in the foreground"),
    ("range", "far", False, rf"far(?: away| off)?(?: from {CAMERA})?|a long way (?:off|away)|in the distance|"
     r"in the background"),
    ("size", "large", False, r"large|big|long"),
    ("size", "small", False, r"small|short|little"),
)  # fmt: skip
HIDDEN = {
    "partly hidden": r"(?:partly|partially|half) (?:hidden|occluded|covered)(?: by something)?",
    "fully visible": r"(?:fully|completely|entirely) visible|in full view|unobscured",
}
RELATIONS = {
    "left_of": r"(?:on the left(?: side)?|to the left|left) of",
    "right_of": r"(?:on the right(?: side)?|to the right|right) of",
    "behind": r"behind|farther back in line with|in back of|on the far side of|beyond",
    "in_front_of": r"in front of|between the camera and|ahead of|on the near side of|(?:on )?this side of",
    "next_to": r"next to|beside|alongside|adjacent to|right by|by|level with",
    "closer_than": r"closer(?: to the camera)? than|nearer(?: to the camera)? than",
    "farther_than": r"(?:farther|further)(?: away| from the camera)? than",
}
NOT = r"not|isn't|aren't|is not|are not|doesn't|does not|do not|don't|never|without"
# What asks, joins or points and says nothing of a vehicle.
FUNCTION_WORDS = (
    rf"find|show(?: me)?|locate|search(?: for)?|look(?:ing)? for|where|when|is there|are there|was there|were there|"
    rf"can you|could you|please|that|which|who|it|is|are|was|were|be|been|being|has|have|does|do|did|and|but|"
    rf"there|what|"
    rf"i am|i'm|you|i|we|its|whose|(?:in|of|into) (?:the|this) {_IMAGE}|in view|turns? up|turned up|shows? up|appears?|"
    rf"appeared|to be seen|visible"
)
DETERMINERS = r"an?|the|any|some|all|every|each"
LANE = rf"(?P<side>{SIDE})(?: lane)?"
CHANGE_TO = (
    rf"{_CHANGING}(?: its| the)?(?: lanes?)?(?: over| across| out| in)?(?: from the (?P<from>{SIDE})(?: lane)?)?"
    rf" (?:in)?to(?:wards)?(?: the| its)? (?P<to>{SIDE})(?P<lane> lane| one)?"
)
CHANGE_SIDE = (
    rf"{_CHANGING}(?: lanes?)?(?: over| across| out| in)? (?:(?:in)?to the (?:next |neighbou?ring )?lane (?:on|to) "
    rf"(?:its|the) (?P<side>left|right)|(?P<way>left|right)wards?)"
)
CHANGE_FROM = (
    rf"leaving the (?P<from>{SIDE}) lane|{_CHANGING} (?:lanes? )?(?:out )?(?:of|from) the (?P<from2>{SIDE}) lane"
)


def side_of(words: str) -> str:
    """right, middle or left, of words that match SIDE."""
    return next(side for side, pattern in SIDES.items() if re.fullmatch(pattern, words))


def noun_of(words: str) -> str | None:
    """The class or group that a noun names, None for one that is not known."""
    text = words.lower().replace("_", " ")
    patterns = {**NOUNS, **GROUP_NOUNS}
    return next((name for name, pattern in patterns.items() if re.fullmatch(pattern, text)), None)


def meanings_of(names: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """Which classes of the vocabulary each name of a class in a table of tracks may mean; its own where none."""
    given = {name: name.lower().replace(" ", "_") for name in names}
    known = {name: COARSE.get(text) or (noun_of(text) or text,) for name, text in given.items()}
    if "big_vehicle" in given.values():
        known = {name: ("car", "van") if found == ("car",) else found for name, found in known.items()}
    return {name: GROUPS.get(found[0], found) for name, found in known.items()}


def digits(text: str) -> str:
    """A text with the numbers that it has in words as figures, but one, which may be a pronoun, and half a minute."""
    text = re.sub(r"\bhalf a minute\b", "30 seconds", text)
    text = re.sub(r"\b(?:an?|one) (minute|second)\b", r"1 \1", text)
    for place, ten in enumerate(TENS, 2):
        for unit, word in enumerate(NUMBERS[1:10], 1):
            text = re.sub(rf"\b{ten}[- ]{word}\b", str(10 * place + unit), text)
        text = re.sub(rf"\b{ten}\b", str(10 * place), text)
    for number, word in enumerate(NUMBERS):
        if word != "one":
            text = re.sub(rf"\b{word}\b", str(number), text)
    return text
