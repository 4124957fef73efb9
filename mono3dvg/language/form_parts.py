"""Truth of the parts of a logical form for each object: supervision for neural modules, a part each.

A model that learns them too need not find out from the targets alone what "white" is, or which bus is "the bus".
"""

from collections.abc import Iterator

import numpy as np

from mono3dvg.language.kleene import MAYBE, NO, YES, conjunction, disjunction
from mono3dvg.language.labelled_scene import LabelledScene
from mono3dvg.language.logical_forms import RELATIONS, descriptions
from mono3dvg.language.semantics import phrase_truth, predicate_truth, resolve_anchor

ATTRIBUTE_PARTS = ("class", "color", "size", "lane", "state", "heading", "hidden", "place", "range", "distance")
_BESIDE = {"left_of": "beside", "right_of": "beside"}  # left becomes right in the mirror: one name for both
COMPARISONS = tuple(dict.fromkeys(_BESIDE.get(op, op) for op in RELATIONS)) + ("between",)
# What a description says before its relations ("attributes"), whom it speaks of beside the targets, its relations, the
# choice of some of those described by place or number; then what follows: the description and the sentence as a whole.
PARTS = (*ATTRIBUTE_PARTS, "attributes", "anchor", *COMPARISONS, "selection", "description", "target")
MENTIONABLE = PARTS[:-2]  # those that a sentence has words for
ANCHOR = PARTS.index("anchor")
_CHOICES = ("rank", "nearest", "exactly")


def part_truths(form: tuple, scene: LabelledScene) -> np.ndarray:
    """(len(PARTS), N) truth of each part for the N objects; MAYBE where it is in doubt or no part of the sentence.

    Attributes and relations are those of the targets' description. Of a union, whose halves differ in them, there are
    only `attributes`, `description`, `anchor` and `target`. `selection` is known of those described.

    Args:
        form: checked, as `logical_forms.to_form` gives it.
    """
    truths = {name: np.full(len(scene), MAYBE) for name in PARTS}
    sets = list(descriptions(form))
    truths["attributes"] = disjunction(*(_holds(d, scene, attributes_only=True) for d in sets))
    truths["description"] = disjunction(*(_holds(d, scene) for d in sets))
    if len(sets) == 1:
        for predicate in sets[0][1:]:
            name, truth = _name(predicate), predicate_truth(predicate, scene)
            truths[name] = conjunction(truths[name], truth) if (truths[name] != MAYBE).any() else truth
    truths["target"] = phrase_truth(form, scene)
    if form[0] in _CHOICES and form[1 if form[0] == "nearest" else -1][0] == "all":
        truths["selection"] = np.where(truths["description"] == YES, truths["target"], MAYBE)
    anchors = [resolve_anchor(phrase, scene) for phrase in _anchors(form)]
    if all(anchor is None or anchor >= 0 for anchor in anchors):
        truths["anchor"] = np.full(len(scene), NO)
        truths["anchor"][[anchor for anchor in anchors if anchor is not None]] = YES
    return np.stack([truths[name] for name in PARTS])


def _anchors(form: tuple) -> Iterator[tuple]:
    """The phrases that the targets are compared with."""
    if form[0] == "nearest":
        yield form[2]
    for description in descriptions(form):
        for predicate in description[1:]:
            if predicate[0] in RELATIONS or predicate[0] == "between":
                yield from predicate[1:]


def _holds(description: tuple, scene: LabelledScene, attributes_only: bool = False) -> np.ndarray:
    kept = [p for p in description[1:] if not attributes_only or _name(p) in ATTRIBUTE_PARTS]
    return phrase_truth(("all", *kept), scene)


def _name(predicate: tuple) -> str:
    op = predicate[1][0] if predicate[0] == "not" else predicate[0]
    return _BESIDE.get(op, op)
