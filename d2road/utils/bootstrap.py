"""Bootstrap over the images, windows or events of a test set: draws, percentile intervals, paired differences.

Members are drawn with replacement, those of each kind by themselves, so that every draw has as many of each kind as
the test set. Letters: I members, R draws.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np


def draw_weights(kinds: Sequence[str], draws: int, seed: int) -> np.ndarray:
    """How often each member is drawn: (R, I)."""
    generator, names = np.random.default_rng(seed), np.asarray(kinds)
    weights = np.zeros((draws, len(names)))
    for kind in np.unique(names):
        members = np.flatnonzero(names == kind)
        weights[:, members] = generator.multinomial(len(members), np.full(len(members), 1 / len(members)), size=draws)
    return weights


def percentile_interval(values: np.ndarray, level: float = 0.95) -> list[float]:
    """[low, high] of the draws that have a value; NaN if none has."""
    values = values[np.isfinite(values)]
    tail = 100 * (1 - level) / 2
    return np.percentile(values, [tail, 100 - tail]).tolist() if len(values) else [float("nan")] * 2


def paired_intervals(a: Mapping[str, Any], b: Mapping[str, Any], level: float = 0.95) -> dict[str, Any]:
    """Percentile intervals of b - a of every array of draws of two nested dicts: paired bootstrap.

    Args:
        a, b: (R,) draws of two models on the same members, drawn alike for both.
    """
    return map_arrays(difference(a, b), lambda values: percentile_interval(values, level))


def map_arrays(results: Mapping[str, Any], function: Callable[[np.ndarray], Any]) -> dict[str, Any]:
    """A nested dict with `function` applied to every array."""
    return {
        key: None if value is None else map_arrays(value, function) if isinstance(value, Mapping) else function(value)
        for key, value in results.items()
    }


def difference(a: Mapping[str, Any], b: Mapping[str, Any]) -> dict[str, Any]:
    """b - a of every array of two nested dicts of the same keys."""
    return {
        key: None if value is None else difference(value, b[key]) if isinstance(value, Mapping) else b[key] - value
        for key, value in a.items()
    }
