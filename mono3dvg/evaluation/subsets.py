"""The nine subsets of Mono3DRefer: from its file of instance ids, or by rule where data has no such file.

The file holds {"Unique": [ids], "Multiple": [], "Near": ..., "Medium": ..., "Far": ..., "Easy": ..., "Moderate": ...,
"Hard": ...}, ids being `legacy.instanceID`; the empty list means that Multiple is all that is not Unique. Its rules are
not published as code, so the file is the truth where there is one, and the rules below are for other data:

    unique    no other object of the class in the image      multiple  else
    near      up to 15 m (over the ground)                    medium    up to 35 m       far   beyond
    easy      occlusion 0 and truncation below 0.15           moderate  occlusion 0 or 1 and truncation below 0.3
    hard      else
"""

import logging
import math
from collections.abc import Iterable, Mapping
from pathlib import Path

from d2road.utils.errors import DataError
from d2road.utils.input_files import read_json
from d2road.utils.values import named
from mono3dvg.schema import Expression, GroundingData, LabelledObject

logger = logging.getLogger(__name__)

SUBSETS = ("overall", "unique", "multiple", "near", "medium", "far", "easy", "moderate", "hard")
DIVISIONS = (("unique", "multiple"), ("near", "medium", "far"), ("easy", "moderate", "hard"))
NEAR_M, MEDIUM_M = 15.0, 35.0


def read_subsets(path: str | Path) -> dict[str, set]:
    """Instance ids by lower-case name of the subset, "multiple" left out where its list is empty.

    Raises:
        FileNotFoundError: it is not there.
        DataError: not JSON, a subset is missing or unknown, or an id lies in two subsets of one division.
    """
    raw = read_json(path, "file of subsets")
    expected = {name.capitalize() for name in SUBSETS[1:]}
    if not isinstance(raw, Mapping) or set(raw) != expected or not all(isinstance(v, list) for v in raw.values()):
        raise DataError(f"{path}: expected lists of instance ids named {', '.join(sorted(expected))}")
    strange = [(name, v) for name, values in raw.items() for v in values if type(v) not in (int, str)]
    if strange:
        raise DataError(f"{path}: {strange[0][0]} holds {named(strange[0][1])}, expected instance ids")
    ids = {name.lower(): set(values) for name, values in raw.items()}
    if not ids["multiple"]:
        del ids["multiple"]
    for names in DIVISIONS:
        seen: dict = {}
        for name in names:
            for key in ids.get(name, ()):
                if key in seen:
                    raise DataError(f"{path}: instance {key!r} lies in {seen[key]} and in {name}")
                seen[key] = name
    return ids


def subsets_by_file(ids: Mapping[str, set], expressions: Iterable[Expression]) -> dict:
    """Expression id -> names of its subsets, "overall" included; for single-target sentences.

    Raises:
        DataError: no sentence has an instance id that the file knows.
    """
    found, strangers = {}, 0
    known = set().union(*ids.values())
    for expression in expressions:
        key = expression.legacy.get("instanceID")
        key = key if type(key) in (int, str) else None
        names = {name for name, members in ids.items() if key in members}
        if key not in known:
            strangers += 1
        elif "multiple" not in ids and "unique" not in names:
            names.add("multiple")
        found[expression.id] = frozenset(names | {"overall"})
    if found and strangers == len(found):
        raise DataError(
            "the file of subsets knows the legacy.instanceID of no sentence: is it that of another split or data set?"
        )
    if strangers:
        logger.warning("%d of %d single-target sentences are not in the file of subsets", strangers, len(found))
    return found


def subsets_by_rule(data: GroundingData, expressions: Iterable[Expression]) -> dict:
    """Expression id -> names of its subsets by the rules above; for single-target sentences."""
    found = {}
    for expression in expressions:
        target = data.objects[expression.target_ids[0]]
        names = {"overall", "multiple" if expression.distractors else "unique", _by_distance(target)}
        if target.occlusion >= 0 and target.truncation >= 0:
            names.add(_by_visibility(target))
        found[expression.id] = frozenset(names)
    return found


def distance_m(target: LabelledObject) -> float:
    """sqrt(x^2 + z^2) of the bottom centre."""
    assert target.location is not None
    return math.hypot(target.location[0], target.location[2])


def _by_distance(target: LabelledObject) -> str:
    distance = distance_m(target)
    return "near" if distance <= NEAR_M else "medium" if distance <= MEDIUM_M else "far"


def _by_visibility(target: LabelledObject) -> str:
    if target.occlusion == 0 and target.truncation < 0.15:
        return "easy"
    return "moderate" if target.occlusion <= 1 and target.truncation < 0.3 else "hard"
