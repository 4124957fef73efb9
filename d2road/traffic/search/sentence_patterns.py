"""Patterns of search sentences with numbers, lanes or another vehicle in them; their named groups are what they say."""

from d2road.traffic.search import sentence_phrases as phrases
from d2road.traffic.search import sentence_words as words

NUMBER = r"\d+(?:\.\d+)?"
UNIT = "|".join(words.UNITS)
NOUN = "|".join([*words.NOUNS.values(), *words.GROUP_NOUNS.values()])
_OP = rf"(?:(?P<over>{words.OVER})|(?P<under>{words.UNDER})|(?P<about>{words.ABOUT}))"
_OF_WHAT = (
    r"(?:(?:whose|with (?:an?|its)|at an?|for an?|the|its|an?) (?:speed|distance|time|period|duration|length)(?: that)?"
    r"(?: (?:is|stays?|remains?|of))? )?"
)
_VERB = (
    r"(?:(?:that |which |who )?(?:(?:is|are|was) )?(?:for|lasting|lasts?|tak(?:ing|es)|during|at(?: a)?|with|"
    r"stay(?:s|ing)|"
    r"go(?:ing|es) on|visible|seen|there|present|in view|persisting|continuing|held|located|well|some|just|only|"
    r"briefly|all|"
    rf"a (?:good|full)|in(?= (?:{words.UNDER}|{words.OVER}) )) )*"
)
_LEAD = rf"{_OF_WHAT}{_VERB}(?:(?:of|at|for|a speed of|a distance of) )?"
_SPEEDING = rf"(?:{phrases._DRIVING}|doing|does|do|clock(?:ed|ing|s)?|hit(?:s|ting)?|reach(?:es|ing)?|keep(?:s|ing)?)"
_AFTER_NUMBER = (
    r"(?:[ -](?:away|off|long|out|distant|distance|on the (?:clock|speedometer)|straight|in a row|on end|in length|"
    r"continuously|without (?:a break|interruption)|in (?:all|total)|away in the distance|back|down the road))*"
    rf"(?: (?:away )?(?:from|of|to) {words.CAMERA})?"
)
_AROUND_NUMBER = (
    rf"(?: (?:(?P<more>{words.MORE_AFTER})|(?P<less>{words.LESS_AFTER})|(?P<so>{words.ABOUT_AFTER}))(?: than that)?"
    rf"(?: (?:away|off|out))?(?: from {words.CAMERA})?)?"
)
QUANTITY = rf"{_LEAD}(?:{_OP} )?(?:(?:the|a|an) )?(?P<number>{NUMBER}) ?(?P<unit>{UNIT}){_AFTER_NUMBER}{_AROUND_NUMBER}"
SPEED = (
    rf"{_SPEEDING}(?: along)?(?: at)? (?:{_OP} )?(?P<number>{NUMBER}) "
    rf"?(?P<unit>{words.SPEED_UNIT}){_AFTER_NUMBER}{_AROUND_NUMBER}"
)
# "Further than 40 m out" and "faster than 30": the comparison says what is measured.
BARE_SPEED = (
    rf"(?:(?P<over>(?:faster|quicker) than)|(?P<under>slower than)|(?:{phrases._DRIVING}|doing|does|do|crawling "
    rf"along|crawling|"
    rf"speeding|clocking)(?: at)? (?:(?P<over2>{words.OVER})|(?P<under2>{words.UNDER})|(?P<about>{words.ABOUT})) |at "
    rf"(?:(?P<over3>{words.OVER})|(?P<under3>{words.UNDER})) |(?P<over4>breaking|breaks|topping|tops|exceeding|"
    rf"exceeds)(?: the)? ) ?(?P<number>{NUMBER})(?! ?(?:{UNIT})\b)(?! (?:lane|from))"
)
BETWEEN = (
    rf"(?P<lead>{_LEAD})(?:between|from) (?P<low>{NUMBER}) ?(?:{UNIT})? (?:and|to) (?P<high>{NUMBER}) ?(?P<unit>{UNIT})"
    rf"{_AFTER_NUMBER}"
)
_RECORDING = rf"(?:recording|tape|film|{phrases.IMAGE})"
_INSTANT = (
    rf"(?:(?:the )?(?P<clock>\d+:\d\d)|(?:the )?(?:second|minute|time) (?P<number>{NUMBER})|(?:the "
    rf")?(?P<number2>{NUMBER})(?:st|nd|rd|"
    rf"th)?[ -]?(?P<unit>{UNIT})?)(?:[ -](?:mark|point))?"
)
_IN = r"in(?: already)?(?! (?:the|a|an|its|lane|front|motion|which|traffic|view|[a-z-]+ lane))"
_INTO = (
    rf"(?: (?:on(?:wards?)?|have passed|has passed|are over|is over|have (?:gone by|elapsed)|are up|{_IN}))*"
    rf"(?: ?(?:in|into|of|from|since) (?:the )?(?:start|beginning)?(?: ?of the )?{_RECORDING}| (?:from|since|of) "
    rf"the (?:start|beginning))?"
)
_AFTERWARDS = (
    r"(?:any ?time |at some point |some time |only |from )?(?:after|since|from|later than|past|beyond|once|as of|"
    r"starting (?:from|at)|"
    r"(?:not|no) (?:before|earlier than))"
)
AFTER = rf"{_AFTERWARDS} (?:the first )?{_INSTANT}{_INTO}"
ONWARDS = rf"{_INSTANT} (?:or later|and later|onwards?|{_IN}(?: or later)?)(?: ?(?:in)?to (?:the )?{_RECORDING})?"
INTO_AFTER = rf"(?:more than|over|later than|past|beyond) {_INSTANT} (?:{_IN}|into)(?: ?(?:to )?(?:the )?{_RECORDING})?"
_BEFORE = (
    r"(?:at some point |any ?time |some time |still )?(?:before|until|till|up to|up until|by|earlier than|prior to|"
    r"sooner than|ahead of|"
    r"(?:not|no) later than|(?:in|within|during|inside|over|for|among|while)(?: of)? the (?:first|opening|initial|"
    r"very first)|"
    r"(?:the )?(?:first|opening|initial))"
)
BEFORE = rf"{_BEFORE} {_INSTANT}(?: last)?{_INTO}"
WITHIN_FIRST = (
    rf"(?:within|inside|in under|in less than|less than|under) {_INSTANT} (?:of the (?:start|beginning)|into|"
    rf"{_IN})(?: (?:of )?(?:the )?"
    rf"{_RECORDING})?"
)
_ORIGIN = (
    r"(?:(?:road|carriageway|street)'s )?(?P<origin>right|left|middle|median|kerb|curb|edge|central reservation|"
    r"(?:(?:central|dividing|middle|mid|centre|center)"
    r"[ -]?)?line|cent(?:re|er)|midline|mid-line)(?:-hand)?(?:[ -]line)?(?: side)?(?: of (?:the )?(?:road|"
    r"carriageway|street|highway|"
    r"motorway))?"
)
_COUNTED = (
    r"(?:,? (?:if you )?(?:when )?(?:count(?:ed|ing)?|numbered|starting|numbering|reckoned|going|moving|measured|"
    r"over|out|up|across|away|along|as "
    r"(?:counted|seen)))*(?: (?:out|over|up|outwards?|away))? (?:from|of|off)(?: the| its)?"
)
_NTH = (
    rf"(?:(?P<ordinal>{words.ORDINAL}) lane|lane (?:number |no\.? |#)?(?P<lane_number>\d+)|number "
    rf"(?P<lane_number2>\d+) lane|lane "
    rf"(?:that is |that's |which is )?(?:the )?(?P<ordinal2>{words.ORDINAL})(?: one)?)"
)
_OF_ROAD = r"(?: (?:of|on) (?:the|its) (?:road|carriageway|motorway|highway|street|direction|side))?"
LANE = rf"{words.IN_LANE} ?(?P<side>{words.SIDE})[ -](?:of (?:the )?(?:3 )?)?lanes?{_OF_ROAD}"
FAR_LANE = rf"{words.IN_LANE} ?(?:{words.FAR_LANE}|outermost lane on the (?P<side>left|right)){_OF_ROAD}"
MIDDLE_LANE = (
    rf"{words.IN_LANE} ?(?:lane (?:that is )?(?:in )?(?:between|in the middle of|flanked by|sandwiched between) "
    rf"(?:the )?"
    r"(?:other )?(?:2 )?(?:others?|lanes|ones)?(?: 2)?|lane in the (?:middle|cent(?:re|er))|(?:middle|cent(?:re|er)|"
    r"central) "
    rf"one){_OF_ROAD}"
)
NTH_LANE = rf"{words.IN_LANE} ?{_NTH}{_COUNTED} {_ORIGIN}"
RELATED = rf"(?:an?|the|another|any|some) (?:(?P<color>{words.COLORS}) )?(?:other )?(?P<anchor>{NOUN})"
_IT = r"(?:it|them|him|itself|themselves)"
_RELATIONS = "|".join(f"(?P<{name}>{pattern})" for name, pattern in phrases.RELATIONS.items())
RELATION = (
    rf"(?:(?:driv|rid|mov|stand|travel|wait|sitt?|runn?|go|tuck|plac|position|locat)(?:ing|es|s|ed|e)?(?: or "
    rf"driving)? )?(?:{_RELATIONS}) "
    rf"{RELATED}"
)
BETWEEN_THEM = (
    rf"(?:with|has|have|having) {RELATED}(?: (?:driving|standing|right|is))? between {_IT} and {words.CAMERA}"
)
INVERSE = (
    rf"(?:with|has|have|having|had) {RELATED}(?: (?:driving|standing|right|is|that is|directly))? "
    rf"(?:{_RELATIONS}) {_IT}"
)


def alternatives(pattern: str) -> list[str]:
    """What stands between the bars outside of all brackets."""
    found, depth = [""], 0
    for place, letter in enumerate(pattern):
        escaped = pattern[place - 1 : place] == "\\"
        depth += 0 if escaped else (letter == "(") - (letter == ")")
        if letter == "|" and not depth and not escaped:
            found.append("")
        else:
            found[-1] += letter
    return found
