"""Both versions of the rules on what is kept of windows.

Letters: N windows.
"""

import numpy as np
import pandas as pd

from d2road.traffic.baselines.lasting_features import LASTING_FEATURES
from d2road.traffic.baselines.lasting_rules import DescribedWindows, LastingRules
from d2road.traffic.baselines.rules import SHORTEST_TAIL, Tail
from d2road.traffic.baselines.vehicle_features import FEATURES
from d2road.traffic.events.relative_scores import RelativeScores


def first_version(fit: pd.DataFrame, windows: pd.DataFrame, relative: bool) -> np.ndarray:
    """Scores (N,) of the first version fitted on good windows, relative to those of the same density or as they are."""
    tails = {name: Tail.fit(fit[f"v1_{name}"].to_numpy(), SHORTEST_TAIL[name]) for name in FEATURES}

    def scores(frame: pd.DataFrame) -> np.ndarray:
        return np.stack([tail.rarity(frame[f"v1_{name}"].to_numpy()) for name, tail in tails.items()]).max(axis=0)

    if not relative:
        return scores(windows)
    return RelativeScores(fit["density"].to_numpy(), scores(fit))(windows["density"].to_numpy(), scores(windows))


def second_version(fit: pd.DataFrame, windows: pd.DataFrame) -> np.ndarray:
    """Scores (N,) of the second version fitted on good windows."""

    def described(frame: pd.DataFrame) -> DescribedWindows:
        columns = [f"v2_{name}" for name in LASTING_FEATURES]
        return DescribedWindows(frame[columns].to_numpy(), frame["v2_density"].to_numpy())

    return LastingRules().fit_described(described(fit)).scores_described(described(windows))
