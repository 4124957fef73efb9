"""Denotation of logical forms over a scene, see `logical_forms`, in three-valued logic."""

from dataclasses import dataclass

import numpy as np

from mono3dvg.language.kleene import MAYBE, NO, YES, conjunction, disjunction, negation
from mono3dvg.language.labelled_scene import LabelledScene
from mono3dvg.language.logical_forms import RELATIONS
from mono3dvg.language.predicates import evaluate_between, evaluate_predicate, evaluate_relation

# How much the places on either side of a rank must differ: metres and a share of the distance, share of the width, m.
_NEAR_GAP_M, _NEAR_GAP_SHARE, _SIDE_GAP, _LENGTH_GAP_M, _HEIGHT_GAP_M = 1.0, 0.03, 0.02, 1.0, 0.4
_NEAREST_GAP_M, _NEAREST_GAP_SHARE = 1.0, 0.1
AMBIGUOUS = -1


@dataclass(frozen=True)
class Denotation:
    """Objects that are meant, by index, and whether that is beyond doubt."""

    targets: tuple[int, ...]
    certain: bool


def interpret(form: tuple, scene: LabelledScene) -> Denotation:
    """The denotation of a phrase.

    Not certain is a meaning that hangs on a vague word, a missing attribute, an object to be ignored, an order that is
    too close to call or an anchor that fits several objects. An anchor that fits none means nothing.
    """
    truth = phrase_truth(form, scene)
    return Denotation(tuple(np.flatnonzero(truth == YES).tolist()), not (truth == MAYBE).any())


def phrase_truth(form: tuple, scene: LabelledScene) -> np.ndarray:
    """(N,) truth of "the phrase means this object"."""
    op = form[0]
    if op == "all":
        truth = conjunction(np.full(len(scene), YES), *(predicate_truth(p, scene) for p in form[1:]))
        return np.where(scene.ignore & (truth == YES), MAYBE, truth)
    if op == "union":
        return disjunction(phrase_truth(form[1], scene), phrase_truth(form[2], scene))
    if op == "exactly":
        truth = phrase_truth(form[2], scene)
        if (truth == MAYBE).any():
            return _all_in_doubt(truth)
        return truth if (truth == YES).sum() == form[1] else np.full_like(truth, NO)
    if op == "rank":
        return _rank(scene, form[1], form[2], form[3], phrase_truth(form[4], scene))
    assert op == "nearest", f"a checked form has no operator {op}"
    return _nearest(scene, phrase_truth(form[1], scene), resolve_anchor(form[2], scene))


def predicate_truth(form: tuple, scene: LabelledScene) -> np.ndarray:
    """(N,) truth of a predicate of any kind for each object."""
    op = form[0]
    if op == "not":
        return negation(predicate_truth(form[1], scene))
    if op not in RELATIONS and op != "between":
        return evaluate_predicate(form, scene)
    resolved = [resolve_anchor(part, scene) for part in form[1:]]
    anchors = [anchor for anchor in resolved if anchor is not None]
    if len(anchors) < len(resolved):
        return np.full(len(scene), NO)
    if AMBIGUOUS in anchors or len(set(anchors)) < len(anchors):
        return np.full(len(scene), MAYBE)
    if op == "between":
        return evaluate_between(scene, *anchors)
    return evaluate_relation(op, scene, anchors[0])


def resolve_anchor(form: tuple, scene: LabelledScene) -> int | None:
    """Index of the one object that a phrase means, None if it means none, AMBIGUOUS if it may mean several."""
    meaning = interpret(form, scene)
    if not meaning.certain or len(meaning.targets) > 1:
        return AMBIGUOUS
    return meaning.targets[0] if meaning.targets else None


def _rank(scene: LabelledScene, key: str, first: int, last: int, truth: np.ndarray) -> np.ndarray:
    if (truth == MAYBE).any():
        return _all_in_doubt(truth)
    members = np.flatnonzero(truth == YES)
    if len(members) < last:
        return np.full_like(truth, NO)
    values, gap = _keys(scene, key)
    order = members[np.argsort(values[members], kind="stable")]
    found = np.full_like(truth, NO)
    found[order[first - 1 : last]] = YES
    for place in (first - 1, last):  # the borders between those that are meant and their neighbours
        if 0 < place < len(order):
            before, after = order[place - 1], order[place]
            if not values[after] - values[before] >= np.maximum(gap[before], gap[after]):
                found[[before, after]] = MAYBE
    return found


def _keys(scene: LabelledScene, key: str) -> tuple[np.ndarray, np.ndarray]:
    """(N,) values that rise along the order, and (N,) how far neighbours must be apart."""
    count = len(scene)
    if key in ("near", "far"):
        gap = np.maximum(_NEAR_GAP_M, _NEAR_GAP_SHARE * scene.distance)
        return (scene.distance if key == "near" else -scene.distance), gap
    if key in ("left", "right"):
        return (scene.u if key == "left" else -scene.u), np.full(count, _SIDE_GAP)
    if key == "long":
        return -scene.hwl[:, 2], np.full(count, _LENGTH_GAP_M)
    return -scene.hwl[:, 0], np.full(count, _HEIGHT_GAP_M)


def _nearest(scene: LabelledScene, truth: np.ndarray, anchor: int | None) -> np.ndarray:
    if anchor is None:
        return np.full_like(truth, NO)
    if anchor == AMBIGUOUS:
        return _all_in_doubt(truth)
    truth = truth.copy()
    truth[anchor] = NO
    if (truth == MAYBE).any():
        return _all_in_doubt(truth)
    members = np.flatnonzero(truth == YES)
    found = np.full_like(truth, NO)
    if not len(members):
        return found
    away = np.linalg.norm(scene.position[members] - scene.position[anchor], axis=1)
    order = np.argsort(away, kind="stable")
    found[members[order[0]]] = YES
    if len(order) > 1 and not away[order[1]] - away[order[0]] >= max(
        _NEAREST_GAP_M, _NEAREST_GAP_SHARE * away[order[1]]
    ):
        found[members[order[:2]]] = MAYBE
    return found


def _all_in_doubt(truth: np.ndarray) -> np.ndarray:
    """MAYBE for all that may be meant; for everything if that is nothing, so that doubt is not lost."""
    found = np.where(truth == NO, NO, MAYBE)
    return found if (found == MAYBE).any() else np.full_like(truth, MAYBE)
