"""Attributes of objects that no box tells: colour, lane, state, occlusion."""

import numpy as np

from mono3dvg.language.labelled_scene import LabelledScene
from mono3dvg.language.logical_forms import COLORS
from mono3dvg.language.predicates import evaluate_predicate

# Predicates, in the order in which networks say whether they hold.
ATTRIBUTES = (
    *(("color", name) for name in COLORS),
    *(("lane", lane) for lane in (1, 2, 3)),
    ("state", "parked"),
    ("state", "crossing"),
    ("hidden", True),
)


def attributes_of(scene: LabelledScene) -> np.ndarray:
    """(N, len(ATTRIBUTES)) truth of each for N objects; MAYBE where labels do not say it. The same in the mirror."""
    return np.stack([evaluate_predicate(attribute, scene) for attribute in ATTRIBUTES], axis=1)
