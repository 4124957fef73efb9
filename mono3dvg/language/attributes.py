"""Attributes of objects that no box tells: colour, lane, state, occlusion."""

import numpy as np

from mono3dvg.language.labelled_scene import LabelledScene
from mono3dvg.language.logical_forms import COLORS
from mono3dvg.language.predicates import evaluate_predicate

# Predicates, in the order in which networks say whether they hold.
LOOKS = (
    *(("color", name) for name in COLORS),
    *(("lane", lane) for lane in (1, 2, 3)),
    ("state", "parked"),
    ("state", "crossing"),
    ("hidden", True),
)


def looks_of(scene: LabelledScene) -> np.ndarray:
    """(N, len(LOOKS)) truth of each for the N objects; MAYBE where labels do not say it. The same in the mirror."""
    return np.stack([evaluate_predicate(look, scene) for look in LOOKS], axis=1)
