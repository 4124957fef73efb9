"""Three-valued (Kleene) logic, as int8 arrays over the objects of a scene: NO < MAYBE < YES.

Words are vague: a car 22 m away is neither near nor not near. What lies within such a margin, or is not labelled, is
MAYBE, and a sentence that meets a MAYBE is not used.
"""

import numpy as np

NO, MAYBE, YES = np.int8(0), np.int8(1), np.int8(2)


def decide(yes: np.ndarray, no: np.ndarray) -> np.ndarray:
    """YES where `yes` holds, NO where `no` does, else MAYBE (so for comparisons with NaN)."""
    return np.where(yes, YES, np.where(no, NO, MAYBE))


def at_least(values: np.ndarray, no_to: float, yes_from: float) -> np.ndarray:
    """YES from `yes_from` on, NO up to `no_to`, which is below it."""
    values = np.asarray(values, dtype=np.float64)
    return decide(values >= yes_from, values <= no_to)


def at_most(values: np.ndarray, yes_to: float, no_from: float) -> np.ndarray:
    """YES up to `yes_to`, NO from `no_from` on, which is above it."""
    return at_least(-np.asarray(values, dtype=np.float64), -no_from, -yes_to)


def conjunction(*truths: np.ndarray) -> np.ndarray:
    """And: NO if one is NO, else MAYBE if one is MAYBE."""
    return np.minimum.reduce(truths)


def disjunction(*truths: np.ndarray) -> np.ndarray:
    """Or: YES if one is YES, else MAYBE if one is MAYBE."""
    return np.maximum.reduce(truths)


def negation(truth: np.ndarray) -> np.ndarray:
    """Not: MAYBE stays."""
    return YES - truth


def label_equals(values: list, wanted: object) -> np.ndarray:
    """YES where a label is `wanted`, NO where it is another, MAYBE where it is None."""
    return np.array([MAYBE if v is None else YES if v == wanted else NO for v in values], dtype=np.int8)
