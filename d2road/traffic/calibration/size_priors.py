"""What is known of the sizes of vehicles before any is measured: mean and spread of a class, and a common error.

A class is known by words in its name, as detectors and label files call it. The spread is that of single vehicles; the
mean of all itself may be off by `COMMON_STD`, the same way for all, since the vehicles of a country or an era differ
from those that the table, or a detector, was made from. No amount of traffic averages that away.
"""

from dataclasses import dataclass

import numpy as np

COMMON_STD = 0.03  # of the logarithm of all sizes together
UNKNOWN_VEHICLE = "vehicle"


@dataclass(frozen=True)
class SizePrior:
    """Mean height, width, length of a class (m), and the relative spread of single vehicles."""

    mean_hwl: tuple[float, float, float]
    spread_hwl: tuple[float, float, float]


# Rounded means of common passenger cars, light and heavy goods vehicles and city buses.
SIZE_PRIORS = {
    "car": SizePrior((1.52, 1.82, 4.5), (0.06, 0.04, 0.065)),
    "van": SizePrior((2.2, 2.0, 5.3), (0.085, 0.04, 0.08)),
    "trailer": SizePrior((3.8, 2.55, 15.5), (0.08, 0.02, 0.1)),
    "truck": SizePrior((3.2, 2.42, 8.2), (0.09, 0.035, 0.17)),
    "bus": SizePrior((3.15, 2.52, 11.0), (0.05, 0.02, 0.1)),
    "big": SizePrior((3.15, 2.45, 9.0), (0.1, 0.04, 0.2)),
    UNKNOWN_VEHICLE: SizePrior((1.7, 1.9, 4.9), (0.25, 0.1, 0.3)),
}


def size_prior(cls: str) -> SizePrior | None:
    """The prior of a class by its name; None for people, cycles and whatever is no vehicle of known size."""
    name = cls.lower()
    for word in ("pedestrian", "person", "cycl", "bike", "motor", "rider", "tram", "train"):
        if word in name:
            return None
    return next((prior for word, prior in SIZE_PRIORS.items() if word in name), None)


def prior_arrays(classes: list[str]) -> tuple[np.ndarray, np.ndarray]:
    """(N, 3) log means of h, w, l and (N, 3) their spreads; NaN where the class has none."""
    priors = [size_prior(cls) for cls in classes]
    none = (np.nan,) * 3
    means = np.array([prior.mean_hwl if prior else none for prior in priors], dtype=np.float64).reshape(-1, 3)
    spreads = np.array([prior.spread_hwl if prior else none for prior in priors], dtype=np.float64).reshape(-1, 3)
    return np.log(means), spreads
