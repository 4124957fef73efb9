"""What a baseline is: fitted on windows of good traffic, it says how unusual a window is."""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol, TypeVar, runtime_checkable

import numpy as np

from d2road.traffic.baselines.explanation import Explanation
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


class Described(Protocol):
    """What a baseline looks at in windows, without the windows; of N windows, in their order."""

    def __len__(self) -> int: ...

    @classmethod
    def joined(cls, parts: Sequence[Any]) -> "Described":
        """One after the other."""
        ...

    def part(self, keep: np.ndarray) -> "Described":
        """Those at which a boolean array (N,) is set."""
        ...


class StreamBaseline(Baseline, Protocol):
    """A baseline that scores a stream: it explains its scores, and a calibration keeps it as JSON."""

    @staticmethod
    def describe(windows: Iterable[TrafficWindow]) -> Described:
        """What it looks at in windows, those of one time side by side; they are gone through once and not kept."""
        ...

    def fit_described(self, good: Any) -> "StreamBaseline":
        """Learn from what `describe` says of good windows; returns itself, raises as `fit`."""
        ...

    def scores_described(self, windows: Any) -> np.ndarray:
        """Scores (N,) from what `describe` says of windows."""
        ...

    def explain(self, window: TrafficWindow) -> Explanation | None:
        """The vehicle that speaks for a window and what it does; None for an empty road."""
        ...

    def to_json(self) -> dict[str, Any]:
        """What was fitted, as numbers, texts and lists."""
        ...

    @classmethod
    def from_json(cls, values: Mapping[str, Any], source: str) -> "StreamBaseline":
        """What `to_json` wrote; `source` is where it stands, for messages.

        Raises:
            DataError: it is nothing that this baseline wrote.
        """
        ...

    def digest(self) -> str:
        """A few digits that tell what was fitted apart."""
        ...


def require_fit(baseline: object, fitted: Fitted | None) -> Fitted:
    """What was fitted.

    Raises:
        ValueError: nothing was.
    """
    if fitted is None:
        raise ValueError(f"{type(baseline).__name__} has not been fitted: call fit with windows of good traffic first")
    return fitted


def digest_of(values: Mapping[str, Any]) -> str:
    """Sixteen hexadecimal digits that tell what was fitted apart, from what JSON keeps of it."""
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:16]
