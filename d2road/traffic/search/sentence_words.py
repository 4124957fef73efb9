"""Vocabulary of search sentences: numbers, units, names of vehicles, lanes and sides. Patterns are regular expressions
of lower-case English; `sentence_phrases` has what is said with them."""

import re
from collections.abc import Iterable

NUMBERS = (
    "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve",
    "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen",
)  # fmt: skip
TENS = ("twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety")
ORDINALS = ("first", "second", "third", "fourth", "fifth", "sixth")
_SHORT_ORDINALS = ("1st", "2nd", "3rd", "4th", "5th", "6th")
# Lengths of time that are said without a number.
_TIMES = {
    r"(?:a |1 )?quarter of (?:a|1) minute": "15 seconds",
    r"half (?:a|1) minute|(?:a )?half-minute": "30 seconds",
    r"(?:a|1) minute and a half": "90 seconds",
    r"half a second": "0.5 seconds",
    r"(?:a|1) second and a half": "1.5 seconds",
}

# A class and the words for it; its plural where it is not that with an s.
NOUNS = {
    "car": r"(?:passenger |motor ?|private |family |estate |sports? |saloon )?cars?|automobiles?|autos?|sedans?|"
    r"saloons?|"
    r"hatch(?:back)?s?|(?:station )?wagons?|suvs?|coup[eé]s?|convertibles?|cabriolets?|jeeps?|4x4s?",
    "van": r"(?:(?:delivery|transporter|transit|panel|cargo|parcel|camper|works?) )?(?:vans?|mini-?vans?|transits?)|"
    r"mini-?bus(?:es)?|campervans?",
    "truck": r"(?:(?:heavy|cargo|freight|box|tipper|dump|articulated|pick-?up|goods|haulage) )?(?:trucks?|lorry|"
    r"lorries)|pick-?ups?|hgvs?|(?:heavy )?goods vehicles?|heavy vehicles?|semis?|semi-?trailers?|semi-?trucks?|"
    r"(?:big )?rigs?|tractor-?trailers?|artics?|juggernauts?|tippers?|(?:18|eighteen)-wheelers?",
    "bus": r"(?:(?:city|school|public|tour|tourist|shuttle|service|passenger|double-decker|single-decker|transit) )?"
    r"(?:motor ?|omni)?(?:bus(?:es)?|coach(?:es)?)|double-?deckers?",
    "tram": r"trams?|streetcars?|trolley cars?",
    "motorcyclist": r"motor-?(?:cyclists?|cycles?|bikes?)|motor(?:cycle|bike) riders?|mopeds?|scooters?",
    "cyclist": r"cyclists?|bicyclists?|bicycles?|bikes?|bike riders?|(?:person|people) on (?:a )?(?:bicycles?|bikes?)",
    "pedestrian": r"pedestrians?|persons?|people|man|men|woman|women|walkers?|(?:person|people) on foot",
}
PLURALS = {"bus": "buses"}
VEHICLES = ("car", "van", "truck", "bus", "tram", "motorcyclist")
GROUPS = {"vehicle": VEHICLES, "road_user": tuple(NOUNS)}
# Names that data sets have for several classes at once; with the first of them in a table, cars are vans, too (Rope3D).
COARSE = {"big_vehicle": ("truck", "bus", "tram"), "motorcycle": ("motorcyclist",), "bicycle": ("cyclist",)}
_ANY_KIND = r"(?: (?:\(any kind\)|of (?:any|whatever|whichever|every) (?:kind|type|sort|description)))?"
GROUP_NOUNS = {
    "vehicle": rf"(?:(?:motor|road) )?vehicles?{_ANY_KIND}|traffic|drivers?|motorists?",
    "road_user": r"road users?|traffic participants?|something|anything|everything|someone|anyone|everyone|somebody|"
    r"anybody|everybody",
}
COLORS = r"white|black|silver|gr[ae]y|red|blue|green|yellow|orange|brown"

CAMERA = (
    r"(?:(?:the|our|this|my) (?:camera|cam|lens|pole|viewer|observer)(?:'s position)?|where (?:we are|the camera is)|"
    r"us|me|here|you|the (?:camera|viewing) position)"
)
OVER = (
    r"(?:more|greater|longer|larger|higher|faster|quicker|farther|further) than|over|above|beyond|upwards? of|"
    r"exceed(?:ing|s)?|at least|(?:no|not) (?:less|fewer|shorter|slower) than|not (?:under|below)|in excess of|"
    r"a minimum of|north of|topping|tops|>=?|≥|longer|better than|well over"
)
UNDER = (
    r"(?:less|fewer|shorter|lower|smaller|slower|closer|nearer|sooner) than|under|below|beneath|within|at (?:the "
    r")?most|"
    r"(?:no|not) (?:more|longer|faster|farther|further|quicker) than|(?:no|not) (?:over|above)|up to|a maximum of|"
    r"<=?|≤|"
    r"not (?:going )?(?:over|above)|not even(?: reaching)?|not (?:reaching|exceeding|topping)|not as much as|south of|"
    r"inside(?: of)?|short of"
)
ABOUT = r"about|around|roughly|approximately|some|approx|circa|more or less"
MORE_AFTER = (
    r"(?:or|and) (?:more|longer|faster|farther|further|over|above|up(?:wards?)?)|at (?:the )?(?:very )?least|plus|\+"
)
LESS_AFTER = (
    r"(?:or|and) (?:less|shorter|slower|closer|nearer|under|below)|at (?:the )?(?:very )?most|(?:at )?tops|maximum|max"
)
ABOUT_AFTER = r"or so|or thereabouts|give or take"
_AN_HOUR = r"(?:per|an|a|each|/) ?(?:hour|hr?)"
# Unit: what it measures, how much of s, m/s or m it is.
UNITS = {
    r"s|secs?|seconds?|seconds'": ("time", 1.0),
    r"min|mins|minutes?": ("time", 60.0),
    rf"km ?/ ?hr?|kmh|kph|k/h|kms? ?{_AN_HOUR}|kilomet(?:re|er)s? ?{_AN_HOUR}|clicks": ("speed", 1 / 3.6),
    r"m ?/ ?s|mps|met(?:re|er)s? (?:per|a|each) second|m (?:per|a) s(?:econd)?": ("speed", 1.0),
    rf"mph|miles? {_AN_HOUR}": ("speed", 0.44704),
    r"m|met(?:re|er)s?|met(?:re|er)s'": ("distance", 1.0),
    r"ft|feet|foot": ("distance", 0.3048),
    r"yds?|yards?": ("distance", 0.9144),
}

SPEED_UNIT, TIME_UNIT = ("|".join(p for p, (what, _) in UNITS.items() if what == one) for one in ("speed", "time"))

# Lanes by their side, and by what they are for where traffic keeps to the right (the tracks know the driver's sides).
_RIGHT_USE = r"slow(?:er)?|slow-moving|near-?side|kerb-?side|kerb|curb-?side|curb|inside|inner(?:most)?"
_LEFT_USE = r"fast(?:er)?|overtaking|passing|off-?side|outside|outer(?:most)?"
SIDES = {
    "right": rf"(?:far[ -]|extreme |very )?right(?:-?most|-hand| hand)?|{_RIGHT_USE}",
    "middle": r"middle|mid|cent(?:re|er)(?:-?most)?|central|in-between",
    "left": rf"(?:far[ -]|extreme |very )?left(?:-?most|-hand| hand)?|{_LEFT_USE}",
}
SIDE = "|".join(SIDES.values())
# Words for lanes that are taken in one of their senses, which is told.
TAKEN = {
    rf"(?:{_RIGHT_USE}) lane": "the right one of its direction",
    rf"(?:{_LEFT_USE}) lane": "the left one of its direction",
}
_EDGE = r"(?:kerb|curb|verge|edge(?: of the road)?|hard shoulder|shoulder|road ?side)"
_MEDIAN = (
    r"(?:median|central reservation|cent(?:re|er) ?(?:line)?(?: of the (?:road|carriageway))?|middle(?: of the road)?)"
)
_CLOSEST = r"(?:closest|nearest|next|adjacent)(?: to)?"
_FURTHEST = r"(?:furthest|farthest|furthermost)"
FAR_LANE = (
    rf"lane (?:that is |that's |which is )?(?:(?:{_FURTHEST} (?:to|on|over to)|(?:at|on|to) the (?:far|extreme|very)|"
    rf"{_FURTHEST}|on|at|to) ?(?:the |its |their )?(?:driver'?s'? )?(?P<far>left|right)(?:-hand)?(?: side)?(?: edge)?|"
    rf"(?P<edge>{_CLOSEST} (?:the |its )?{_EDGE})|(?P<median>{_CLOSEST} (?:the |its )?{_MEDIAN}))"
)
IN_LANE = (
    r"(?:(?:(?:driving|going|moving|travelling|traveling|running|staying|stays|sitting|sits|stuck|being|over|out|up|"
    r"riding|rides|found|located) )?(?:in|on|using|uses|along|down|within|keep(?:ing|s)?(?: itself)? (?:to|in)|"
    r"occup(?:ying|ies)|from|tak(?:ing|es)|stick(?:ing|s)? (?:to|in)|hugg(?:ing|s)|hold(?:ing|s)(?: to)?|hogg(?:ing|s)|"
    r"throughout|via|inside|over))?(?: the| its| their| that)?"
)


def side_of(words: str) -> str:
    """right, middle or left, of words that match SIDE."""
    return next(side for side, pattern in SIDES.items() if re.fullmatch(pattern, words))


def ordinal_of(words: str) -> int:
    """The number of an ordinal, from 1."""
    return 1 + (ORDINALS.index(words) if words in ORDINALS else _SHORT_ORDINALS.index(words))


ORDINAL = "|".join((*ORDINALS, *_SHORT_ORDINALS))


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
    for pattern, time in _TIMES.items():
        text = re.sub(rf"\b(?:{pattern})\b", time, text)
    text = re.sub(r"\b(?:an?|one|a single) (minute|second|metre|meter)\b", r"1 \1", text)
    text = re.sub(r"\b(?:an?|one) hundred\b", "100", text)
    for place, ten in enumerate(TENS, 2):
        for unit, word in enumerate(NUMBERS[1:10], 1):
            text = re.sub(rf"\b{ten}[- ]{word}\b", str(10 * place + unit), text)
        text = re.sub(rf"\b{ten}\b", str(10 * place), text)
    for number, word in enumerate(NUMBERS):
        if word != "one":
            text = re.sub(rf"\b{word}\b", str(number), text)
    text = re.sub(r"\b100 and (\d\d?)\b", lambda match: str(100 + int(match[1])), text)
    return re.sub(r"(\d)-(seconds?|minutes?|met(?:re|er)s?|km)\b", r"\1 \2", text)


def plural_phrase(name: str) -> str:
    """The noun phrase of a class, as models of grounding know it."""
    noun = name.replace("_", " ")
    return f"all {PLURALS.get(noun, noun + 's')}"
