"""What a baseline is: fitted on windows of good traffic, it says how unusual a window is."""

from collections.abc import Sequence
from typing import Protocol, TypeVar, runtime_checkable

import numpy as np

from d2road.traffic.time_space.traffic_window import TrafficWindow

Fitted = TypeVar("Fitted")


class Baseline(Protocol):
    """Learns what is usual from windows of good traffic, and says how unusual a window is."""

    def fit(self, windows: Sequence[TrafficWindow]) -> "Baseline":
        """Learn from good windows alone; returns itself.

        Raises:
            DataError: too few windows to learn from.
        """
        ...

    def scores(self, windows: Sequence[TrafficWindow]) -> np.ndarray:
        """A score a window, higher is more unusual: (N,), finite.

        Raises:
            ValueError: not fitted.
        """
        ...


@runtime_checkable
class MappingBaseline(Baseline, Protocol):
    """A baseline that says which pixels of a window are unusual, too."""

    def anomaly_map(self, window: TrafficWindow) -> np.ndarray:
        """The map of one window at the size of its image, (H, W)."""
        ...


def require_fit(baseline: object, fitted: Fitted | None) -> Fitted:
    """What was fitted.

    Raises:
        ValueError: nothing was.
    """
    if fitted is None:
        raise ValueError(f"{type(baseline).__name__} has not been fitted: call fit with windows of good traffic first")
    return fitted
