"""Phrases of search sentences: what they say of a vehicle, and the words that ask, join and point alone."""

from d2road.traffic.search.sentence_words import CAMERA, SIDE


def _forms(*verbs: str) -> str:
    """Present forms of regular verbs: "slow" is slow, slows, slowing; an e at the end is dropped before -ing."""
    found = []
    for verb in verbs:
        stem, mark, rest = verb.partition(" ")
        ing = stem[:-1] + "ing" if stem.endswith("e") and not stem.endswith("ee") else stem + "ing"
        double = (
            stem[-1] if stem.endswith(("p", "t", "g")) and stem[-2:-1] in "aiou" and stem[-3:-2] not in "aeiou" else ""
        )
        ending = "es" if stem.endswith(("s", "sh", "ch", "x", "z")) or stem in ("go", "do") else "s"
        forms = "|".join((stem, stem + ending, stem + double + "ing" if double else ing))
        found.append(f"(?:{forms}){mark}{rest}")
    return "|".join(found)


IMAGE = r"(?:image|picture|frame|view|screen|video|shot|scene|footage|display|monitor|photo|clip|field of view)"
_DRIVING = (
    r"(?:driv(?:ing|es|e)|mov(?:ing|es|e)|go(?:ing|es)?|travel(?:l?ing|s)?|head(?:ing|ed|s)?|com(?:ing|es|e)|"
    r"rid(?:ing|es|e)|roll(?:ing|s)|run(?:ning|s)|cruis(?:ing|es)|proceed(?:ing|s)?|bound|making its way|makes its way)"
)
_VERY = (
    r"(?:(?:very|unusually|too|rather|quite|really|relatively|comparatively|noticeably|pretty|fairly|extremely|so) )?"
)
_REST = (
    r"(?:(?:all )?(?:the )?(?:rest|others?|other (?:traffic|vehicles|cars|drivers)|remaining (?:traffic|vehicles))"
    r"(?: of (?:the )?(?:traffic|vehicles|cars|road|flow|them))?|everyone(?: else)?|everybody(?: else)?|everything "
    r"else|most"
    r"(?: of the (?:traffic|vehicles|cars|others|rest))?|(?:the )?(?:surrounding |general |normal |average "
    r")?(?:traffic|flow)"
    r"(?: around it| flow)?|usual|normal|average|its (?:neighbou?rs|surroundings)|what is usual)"
)
_CHANGING = (
    r"(?:(?:chang|switch|swapp?|mov|merg|pull|cutt?|swerv|shift|slid|drift|cross|steer|veer|hopp?|stepp?|chang|go|driv)"
    r"(?:ing|es|e|s|ed)?|(?:mak|tak)(?:ing|es|e) (?:the|a) (?:lane )?(?:change|switch|move))"
)
_OTHER = (
    r"(?:(?:an|the|any|some|each)? ?other (?:vehicle|one|neighbou?r|road user|driver|motorist)?s?|another(?: "
    r"(?:vehicle|one|"
    r"neighbou?r|road user|driver|motorist))?|a (?:vehicle|neighbou?r|slower (?:vehicle|one))|somebody(?: else)?|"
    r"someone(?: else)?|something(?: else)?|anybody|anyone|others|(?:slower )?traffic|(?:a |the )?slower (?:one|"
    r"vehicle)s?|"
    r"the (?:vehicle|one) (?:ahead|in front)(?: of it)?|them|it)"
)
# How it came up to the other one, as a question may add: the search asks for no more than the passing.
_CAUGHT = (
    r"(?:,?(?: and)?(?: (?:that|which|whom|who|one that|one which))?(?: (?:it|they|he))?(?:'d| had| has| have| was| "
    r"were| is)?"
    r"(?: (?:been|first|previously|just|after|having|by))*(?: (?:caught|catching|com(?:e|ing|es)|came|cre[ep]pt?|"
    r"closed|closing|trailing|"
    r"trailed|follow(?:ing|ed|s)|chas(?:ing|ed)|approach(?:ing|ed)|reach(?:ing|ed)|gain(?:ing|ed)|driving|ahead|in "
    r"front|behind|going))"
    r"(?: (?:up|on|with|to|in|behind|it|them|of it|of them|from (?:the )?(?:behind|rear|back)))*| from (?:the "
    r")?(?:behind|rear|back))?"
)
# Phrases without a number or another vehicle: kind, value, negated, pattern. The longest match wins.
PHRASES: tuple[tuple[str, object, bool, str], ...] = (
    ("motion", "standing", False, r"(?:stand|stood|stands|standing)(?: still| around| there)?|stop(?:ped|s)?|"
     r"stationary|"
     r"park(?:ed|ing)|halt(?:ed|ing|s)?|idle|idling|idles|waiting|waits|motionless|immobile|stuck|static|frozen|"
     r"at rest|(?:(?:at|to) )?(?:a |complete |an? (?:complete|full|total) )?(?:stand-?still|(?<=at )(?:stop|halt))|"
     r"(?:sit|lie|stay|keep|remain)(?:ting|ing|s)? (?:perfectly |completely )?(?:still|put)|lying still|"
     r"(?:come|comes|came|coming|brought) to (?:rest|a (?:complete |full )?(?:stop|halt|standstill))|"
     r"at a (?:complete |full |total )?(?:stop|halt|standstill|still)|(?:not|isn't|is not|aren't) going anywhere|"
     r"not (?:making )?(?:any )?(?:progress|budging)|(?:doesn't|does not|don't|won't) budge|"
     r"(?:at |with )?(?:a )?(?:zero speed|speed (?:of )?(?:0|zero)|no speed|0 (?:km/h|kph|mph|speed))"),
    ("motion", "moving", False, rf"{_DRIVING}(?: along| on| by| through| past| forward| ahead| around)?|in motion|"
     r"(?:keeps?|keeping|still|actually|not) (?:on )?moving(?<!not moving)|under ?way|on the (?:move|go)|passing "
     r"(?:by|through)|"
     r"(?:with a )?(?:non-?zero speed|speed (?:that is )?(?:not (?:zero|0)|above (?:zero|0)))"),
    ("motion", "reversing", False, rf"{_forms('reverse', 'back up')}|{_DRIVING} (?:backwards?|in reverse)"),
    ("pace", "slow", False, rf"(?:{_DRIVING} )?{_VERY}(?:slow(?:ly)?|sluggish(?:ly)?)(?: moving)?|slow-moving|"
     rf"(?:{_DRIVING} )?(?:at )?(?:an? )?{_VERY}(?:low|reduced|slow|leisurely) (?:speed|pace)|"
     rf"(?:{_DRIVING} )?(?:more slowly|slower|less quickly) than {_REST}|slower|slowest|"
     rf"(?:{_forms('crawl', 'creep', 'dawdle', 'plod', 'trundle', 'amble', 'inch', 'dither', 'lag', 'loiter')})"
     r"(?: along| forward| by| behind)?|at (?:a )?(?:snail's|crawling|walking|low) pace|at a crawl|dragging its "
     r"(?:feet|heels)|"
     rf"(?:holding|holds) up {_REST}|below (?:the )?(?:usual|normal|average) (?:speed|pace)"),
    ("pace", "fast", False, rf"(?:{_DRIVING} )?{_VERY}(?:fast|quick(?:ly)?|swift(?:ly)?|rapid(?:ly)?|speedy)(?: "
     rf"moving)?|"
     rf"fast-moving|(?:{_DRIVING} )?(?:at )?(?:an? )?{_VERY}(?:high|great|rapid|brisk) (?:speed|pace)|"
     rf"(?:{_DRIVING} )?(?:more quickly|faster|quicker) than {_REST}|in a hurry|outrunning {_REST}|"
     rf"(?:{_forms('race', 'tear', 'rush', 'zoom', 'hurtle', 'whizz', 'bomb', 'dash', 'zip', 'blast')}|flying|flies|"
     rf"speeding)"
     r"(?: along| past| by| through)?|at (?:full|top) speed|above (?:the )?(?:usual|normal|average) (?:speed|pace)"),
    ("trend", "braking", False, rf"{_forms('brake', 'decelerate')}|deceleration|slow(?:s|ing)(?: down| up)?|"
     rf"slow(?:ed)? down|"
     r"(?:los|reduc|shedd?|dropp?|scrubb?)(?:ing|es|e|s) (?:its )?(?:speed|pace)|(?:gett?|becom|go)(?:ing|es|s|e) "
     r"slower|"
     r"(?:hitt?|slamm?|apply|stepp?|stamp|jamm?)(?:ing|ies|s)? (?:on )?(?:the |its )?(?:brakes?)(?: hard| on)?|"
     r"eas(?:ing|es) off|"
     r"(?:whose|with) (?:a )?(?:falling|dropping|decreasing) speed|(?:its |whose )?speed (?:is )?(?:falling|"
     r"dropping|decreasing)"),
    ("trend", "accelerating", False, rf"{_forms('accelerate')}|acceleration|speed(?:s|ing)? up|"
     r"(?:gather|gain|build|increas|pick|put)(?:ing|ting|s|es|e)?(?: up| on)? (?:its )?(?:speed|pace)|"
     r"(?:gett?|becom|go)(?:ing|es|s|e) faster|putt?(?:ing|s)? (?:its|the) foot down|step(?:ping|s) on (?:it|the gas)|"
     r"(?:whose|with) (?:a )?(?:rising|growing|increasing) speed|(?:its |whose )?speed (?:is )?(?:rising|growing|"
     r"increasing)"),
    ("heading", "toward", False, rf"(?:{_DRIVING} )?(?:(?:straight |right )?(?:towards?|up to|at) {CAMERA}|"
     rf"in (?:the direction of {CAMERA}|{CAMERA}'?s? direction|our direction)|(?:our|this) way|closer|nearer)"
     rf"(?: (?:to|towards) {CAMERA})?|(?:drawing|gett?ing|coming|comes|gets|draws) (?:closer|nearer)(?: to {CAMERA})?|"
     rf"oncoming|incoming|inbound|near(?:ing|s) {CAMERA}|com(?:ing|es) at {CAMERA}|approach(?:ing|es)?(?: {CAMERA})?|"
     rf"seen from the front|(?:facing|faces) {CAMERA}|{_DRIVING} to {CAMERA}|headed for {CAMERA}"),
    ("heading", "away", False, rf"(?:{_DRIVING} )?(?:off |straight )?(?:away|off)(?: from {CAMERA})?|leav(?:ing|es) "
     rf"{CAMERA}"
     rf"(?: behind)?|outbound|seen from (?:behind|the (?:rear|back))|(?:{_forms('recede')}|{_forms('depart')})(?: "
     rf"from {CAMERA})?|"
     rf"(?:getting|gets|moving|driving|going) (?:farther|further)(?: away| off)?(?: from {CAMERA})?|driv(?:ing|es) "
     rf"from {CAMERA}|"
     rf"with its (?:back|rear|tail) (?:to|towards) {CAMERA}|showing (?:us )?its (?:back|rear|tail)(?: lights)?"),
    ("heading", "left", False, rf"(?:{_DRIVING}|facing|pointing)(?: to(?:wards)?)?(?: the)? left"),
    ("heading", "right", False, rf"(?:{_DRIVING}|facing|pointing)(?: to(?:wards)?)?(?: the)? right"),
    ("overtaking", (), False, rf"(?:overtak(?:ing|es|e|en)|overtook|(?:do|mak|perform)(?:ing|es|s|e) an overtak(?:e|"
     rf"ing)"
     rf"(?: manoeuvre| maneuver)?|pass(?:ing|es|ed)?(?= (?:{_OTHER}))|pass(?:ing|es|ed)?(?! by| through)|"
     rf"leapfrog(?:ging|s)?|"
     rf"(?:gett?|go|mov|driv|slipp?|pull|come?|gone|went|got)(?:ing|es|s|e|t)? (?:past|ahead of|round|around)(?= "
     rf"{_OTHER})|gett?(?:ing|s)? past|"
     rf"outpac(?:ing|es|e)|went past|got past)(?: {_OTHER})?{_CAUGHT}"),
    ("change", "any", False, r"(?:chang|switch|swapp?|hopp?|shift)(?:ing|es|e|s)? (?:the |its |a |over )?lanes?|"
     r"(?:mak|do)(?:ing|es|s|e)"
     r" a (?:lane change|change of lanes?)|lane[- ]chang(?:e|es|ing)|change of lanes?|"
     r"leav(?:ing|es) (?:its|the|one) lane(?: (?:for|and \w+ (?:in)?to) (?:another|a different|any other)(?: (?:one|"
     r"lane))?)?|"
     + _CHANGING + r"(?: over| across| out)? (?:from (?:one|its|the|a|its own) lane )?(?:in)?to (?:another|a "
      r"different|any other|"
     r"some other|a neighbou?ring|the next|an adjacent)(?: (?:lane|one))?(?:,? (?:whichever|no matter which|either "
     r"way|any))?"),
    ("place", "left", False, rf"(?:(?:towards?|near|at|on|in|to|over on) )?the (?:far )?left(?:-hand| hand)?(?: "
     rf"(?:side|part|third|half|"
     rf"edge|portion|section|area))? of (?:the|my|our) {IMAGE}|(?:on|at|in|over on) the left(?:-hand| hand)?(?: "
     rf"(?:side|part|third|half))?|"
     rf"left (?:part|side|half|third) of (?:the )?{IMAGE}|left of {IMAGE}"),
    ("place", "right", False, rf"(?:(?:towards?|near|at|on|in|to|over on) )?the (?:far )?right(?:-hand| hand)?(?: "
     rf"(?:side|part|third|half|"
     rf"edge|portion|section|area))? of (?:the|my|our) {IMAGE}|(?:on|at|in|over on) the right(?:-hand| hand)?(?: "
     rf"(?:side|part|third|half))?|"
     rf"right (?:part|side|half|third) of (?:the )?{IMAGE}|right of {IMAGE}"),
    ("place", "middle", False, r"(?:(?:in|at|around|near|about|towards?|within) )?(?:the )?(?:very )?(?:middle|"
     r"cent(?:re|er)|central|mid)"
     rf"(?: (?:part|third|area|portion|region|section))? of (?:the|my|our) {IMAGE}|in (?:the )?(?:middle|cent(?:re|"
     rf"er))(?: (?:part|"
     rf"third))?|cent(?:re|er) of {IMAGE}|mid-?(?:frame|picture|image|screen|shot)|cent(?:re|er)-?(?:frame|screen|"
     rf"stage)|"
     rf"midway between the edges of the {IMAGE}"),
    ("range", "near", False, rf"(?:near|nearby|(?:quite |very |right )?(?:close|next)(?: up)? to|not far from|right "
     rf"(?:by|at|in front "
     rf"of|beneath|under)|close by) {CAMERA}|(?:is )?not far (?:away|off)|a short (?:way|distance) (?:off|away|from "
     rf"{CAMERA})|"
     r"near ?by|close (?:by|at hand|up|in)|up close|in the foreground|(?:at|within) (?:close|short) (?:range|distance)|"
     r"(?:just )?a few met(?:re|er)s (?:away|off)"),
    ("range", "far", False, rf"(?:{_VERY}|well |way )?far(?: away| off| out| back)?(?: from {CAMERA})?|(?:(?:a "
     rf")?(?:long|good|great) (?:way|"
     rf"distance)|some (?:way|distance)) (?:off|away|out|back|from)(?: from)?(?: {CAMERA})?|in the (?:far "
     rf")?(?:distance|background)|"
     rf"(?:way|well) (?:off|out|back)|distant|far-away|at (?:a )?(?:great|long|large|far) (?:range|distance)(?: "
     rf"from {CAMERA})?|"
     r"at the far end(?: of the (?:road|view))?|far-off|faraway"),
    ("size", "large", False, r"large(?:r|-sized)?|big(?:ger)?|long|huge|sizeable|hefty|bulky|massive|oversized|"
     r"full-sized?"),
    ("size", "small", False, r"small(?:er|-sized|ish)?|short|little|compact|tiny|diminutive|mini|undersized"),
)  # fmt: skip
HIDDEN = {
    "partly hidden": r"(?:partly|partially|half) (?:hidden|occluded|covered|obscured)(?: by something)?",
    "fully visible": r"(?:fully|completely|entirely) visible|in full view|unobscured",
}
RELATIONS = {
    "left_of": r"(?:(?:on|to) the left(?:-hand)?(?: side)?|left) of",
    "right_of": r"(?:(?:on|to) the right(?:-hand)?(?: side)?|right) of",
    "behind": r"(?:just |right |directly |hidden |obscured )?(?:behind|farther back in line with|in back of|(?:on|"
    r"at) the far "
    r"side of|beyond|to the rear of|at the back of)",
    "in_front_of": r"(?:just |right |directly )?(?:in front of|between (?:the camera|us) and|ahead of|on the near "
    r"side of|"
    r"(?:on )?this side of)",
    "next_to": r"(?:right |directly |just )?(?:next to|beside|alongside(?: of)?|adjacent to|right by|by the side of|"
    r"level "
    r"with|abreast (?:of|with)|side by side with|parallel (?:to|with)|neck and neck with|to the side of|flanking)",
    "closer_than": r"(?:closer|nearer)(?: to the camera| to us)? than",
    "farther_than": r"(?:farther|further)(?: away| out| from the camera| from us)* than",
}
# What the other vehicle is to this one, said of the other: "with a van in front of it".
INVERSE = {
    "left_of": "right_of", "right_of": "left_of", "behind": "in_front_of", "in_front_of": "behind",
    "next_to": "next_to",
    "closer_than": "farther_than", "farther_than": "closer_than",
}  # fmt: skip
NOT = r"not|isn't|aren't|is not|are not|doesn't|does not|do not|don't|never|without"
_FROM_CAMERA = (
    r"(?:as |when )?(?:(?:seen|viewed|observed|looked at|judged) )?(?:from|by|in) (?:the camera(?:'s)?|our|here|"
    r"this side|where "
    r"(?:we|the camera) (?:are|is|stands?|sits?))(?: (?:point of view|view|viewpoint|perspective|side|angle|"
    r"position|eyes))?|"
    r"(?:as|the way|how) (?:the camera|we|one) (?:sees?|views?|looks? at)s? (?:it|them|things)|(?:to|for) the camera|"
    r"from (?:the|our) (?:point of view|perspective|viewpoint|angle)(?: of the camera)?"
)
# What asks, joins or points and says nothing of a vehicle.
FUNCTION_WORDS = (
    rf"find|show(?: me| us)?|shows|showing|locate|search(?: for)?|look(?:ing)? for|where|when(?:ever)?|is there|are "
    rf"there|was there|"
    rf"were there|can (?:you|i|we)|could (?:you|i|we)|please|that|which|who|it|is|are|was|were|be|been|being|has|"
    rf"have|having|had|does|"
    rf"do|did|and|but|there|what|while|whilst|as|i am|i'm|you|i|we|its|their|they|whose|(?:in|of|into|on|within|"
    rf"during) (?:the|this|"
    rf"my|our) {IMAGE}|in view|(?:show|turn)(?:s|ed|ing)? up|appear(?:s|ed|ing)?|to be seen|visible|seen|"
    rf"get(?: me| us)?|give(?: me| us)?|list|display|pull up|bring up|fetch|spot(?:ted)?|point out|want(?: to see)?|"
    rf"need|see|"
    rf"(?:that|it|there|what|who|which|he|they)'(?:s|re)|i'd like(?: to see)?|of|at (?:any|some) (?:time|point|"
    rf"moment)|anywhere|somewhere|"
    rf"currently|ever|just|only|also|sometime|someplace|ones?|(?:on|in) (?:screen|shot|frame|camera|picture)|(?:the "
    rf")?whole (?:thing|manoeuvre|business)|kind|type|sort|coloured|colored|(?:in|of) colou?r|"
    rf"whose colou?r is|with|(?:for )?the whole (?:time|while)|throughout|all the (?:time|while)|continuously|(?:at "
    rf")?the same time|"
    rf"all (?:of this )?(?:together|at once|at the same time)|meanwhile|altogether|in total|around|there|so|"
    rf"(?:for|over) (?:a )?(?:stretch|spell|period|time)s? of|(?:for )?a time|on (?:the|this) (?:road|carriageway|"
    rf"motorway|street|highway)|"
    rf"(?:(?:all|any|every|some) )?(?:clips?|footage|moments?|scenes?|shots?|instances?|examples?|times?|parts?|"
    rf"sequences?|"
    rf"bits?) (?:of|when|where|with|in which|that shows?|showing)|{_FROM_CAMERA}"
)
DETERMINERS = r"an?|the|any|some|all|every|each|those|these|both"
LANE = rf"(?P<side>{SIDE})(?: lane)?"
_ACROSS = r"(?: over| across| out| in| one(?: lane)?| an?(?: lane)?| its lane| lanes?| single lane| up| down)*"
CHANGE_TO = (
    rf"{_CHANGING}(?: its| the)?{_ACROSS}(?: from the (?P<from>{SIDE})(?: lane)?)?"
    rf" (?:in)?to(?:wards)?(?: the| its)? (?P<to>{SIDE})(?P<lane> lane| one)?"
)
CHANGE_SIDE = (
    rf"{_CHANGING}{_ACROSS}(?: from (?:its|the|one|its own) lane)?{_ACROSS}(?: and (?:in)?to| (?:in)?to(?:wards)?| "
    rf"for)? "
    r"(?:(?:the |its |a )?(?:next |neighbou?ring |adjacent |adjoining )?(?:lane|one)(?: next door)?(?: over)? "
    r"(?:(?:immediately |directly "
    r"|just )?(?:on|to)) (?:its|the|their) (?:own )?(?P<side>left|right)(?:-hand)?(?: side)?|(?P<way>left|right)wards?|"
    r"(?:the |its |a )?(?:next|neighbou?ring|adjacent|adjoining) (?P<near>left|right)(?:-hand)? (?:lane|one))|"
    r"(?:an? )?(?:lane[- ]change|change of lanes?) (?:to|towards) (?:the |its )?(?P<noun>left|right)|"
    r"(?:swerv|cutt?|merg|veer|drift|shift|steer)(?:ing|es|ed|s|e)? (?:over |out |in |across )?(?:to the "
    r")?(?P<plain>left|right)"
)
CHANGE_FROM = (
    rf"leav(?:ing|es) the (?P<from>{SIDE}) lane|{_CHANGING} (?:lanes? )?(?:out )?(?:of|from) the (?P<from2>{SIDE}) lane"
)
