"""Lengths of vehicles by their class, for sources that tell none: SUMO's defaults (1.28) of its vehicle classes."""

import re

# Metres. `sumo -n NET -a TYPES` with a <vType id="..." vClass="..."/> of each, then vehicletype.getLength over TraCI.
LENGTHS = {
    "trailer": 16.5,
    "truck": 7.1,
    "coach": 14.0,
    "bus": 12.0,
    "delivery": 6.5,
    "van": 6.5,
    "emergency": 6.5,
    "motor": 2.2,
    "moped": 2.1,
    "scooter": 1.2,
    "bicycle": 1.6,
    "bike": 1.6,
    "wheelchair": 1.2,
    "pedestrian": 0.215,
    "container": 6.096,
    "containertype": 6.096,  # DEFAULT_CONTAINERTYPE
    "tram": 22.0,
    "subway": 109.5,
    "rail_urban": 109.5,
    "rail_electric": 200.0,
    "rail_fast": 200.0,
    "rail": 135.0,
    "railtype": 135.0,  # DEFAULT_RAILTYPE
    "pedtype": 0.215,
    "ship": 17.0,
    "aircraft": 72.7,
    "drone": 0.5,
}
CAR_LENGTH = 5.0
# Words that other words hold too: "ship" is no part of a "township".
WHOLE_WORDS = ("tram", "subway", "rail", "railtype", "pedtype", "ship", "drone", "coach", "container", "containertype")


def length_of_class(name: str) -> float:
    """Default length in metres of a vehicle of this class or type; that of a car where the name tells nothing.

    The first of LENGTHS that the name holds serves. SUMO calls the type of a vehicle that was changed over TraCI
    TYPE@VEHICLE: what follows the @ does not count.
    """
    text = name.lower().partition("@")[0]
    return next((length for word, length in LENGTHS.items() if _holds(text, word)), CAR_LENGTH)


def _holds(text: str, word: str) -> bool:
    if word not in WHOLE_WORDS:
        return word in text
    return re.search(f"(?<![a-z]){word}(?![a-z])", text) is not None
