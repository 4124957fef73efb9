"""How rare the evidence of a vehicle is in good traffic of the same density, kind by kind and together.

What drives badly does so in more than one way: it weaves, is fast and follows closely. So the rarities of one vehicle
are added, each as far as it lies beyond what one good window in twenty reaches; less is what vehicles do anyway.

Letters: N windows, V vehicles of all windows, C kinds of evidence.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from d2road.traffic.baselines.rules import FEWEST, TAIL, Tail
from d2road.traffic.baselines.usual_values import UsualValues
from d2road.utils.errors import DataError
from d2road.utils.values import number_rows

SHORTEST_TAIL = 0.5  # mean deviations
LEAST_SPREAD = 0.1  # of the standard deviation of all good windows
LEAST_FLOOR = 0.02
USUAL = -float(np.log10(TAIL))  # rarity at which tails begin


@dataclass(frozen=True)
class WindowVehicles:
    """The vehicles of windows.

    density: (N,) vehicles per km; window: (V,) the place of each vehicle's window; values: (V, C) evidence, 0 or more.
    """

    density: np.ndarray
    window: np.ndarray
    values: np.ndarray

    @classmethod
    def joined(cls, parts: Sequence["WindowVehicles"]) -> "WindowVehicles":
        """One after the other."""
        starts = np.cumsum([0, *(len(part.density) for part in parts)])
        return cls(
            np.concatenate([part.density for part in parts]),
            np.concatenate([part.window + start for part, start in zip(parts, starts)]),
            np.concatenate([part.values for part in parts]),
        )

    def highest(self, scores: np.ndarray) -> np.ndarray:
        """Highest of the vehicles' scores (V, ...) in each window, 0 without vehicles: (N, ...)."""
        result = np.zeros((len(self.density), *scores.shape[1:]))
        np.maximum.at(result, self.window, scores)
        return result


class VehicleRarity:
    """Deviations from windows of like density, and exponential tails, for each kind of evidence; from good windows.

    Args:
        good: vehicles of good windows.
    Raises:
        DataError: fewer than 40 windows with vehicles.
    """

    def __init__(self, good: WindowVehicles):
        with_vehicles = good.density > 0
        if with_vehicles.sum() < FEWEST:
            raise DataError(
                f"rarity is learned from {int(with_vehicles.sum())} good windows with vehicles; expected at least "
                f"{FEWEST}"
            )
        density, features = good.density[with_vehicles], good.highest(good.values)[with_vehicles]
        floors = np.maximum(LEAST_SPREAD * features.std(axis=0), LEAST_FLOOR)
        self.usual = UsualValues(density, features, floors)
        deviations = self.usual.deviations(density, features)
        self.tails = [Tail.fit(column, SHORTEST_TAIL) for column in deviations.T]

    def deviations(self, vehicles: WindowVehicles) -> np.ndarray:
        """(V, C), of each vehicle from the highest of good windows as dense, in their mean absolute deviations."""
        usual, spread = self.usual.at(vehicles.density)
        return (vehicles.values - usual[vehicles.window]) / spread[vehicles.window]

    def by_kind(self, vehicles: WindowVehicles) -> np.ndarray:
        """(V, C), minus the decimal logarithm of the share of good windows whose vehicles all stay below."""
        deviations = self.deviations(vehicles)
        return np.stack([tail.rarity(column) for tail, column in zip(self.tails, deviations.T)], axis=1)

    def to_json(self) -> dict[str, Any]:
        """The good windows, for `from_json`: of each its density and the highest of its vehicles, kind by kind."""
        return {"windows": np.column_stack([self.usual.density, self.usual.features]).tolist()}

    @classmethod
    def from_json(cls, values: Mapping[str, Any], kinds: int, source: str) -> "VehicleRarity":
        """Rarities that `to_json` wrote.

        Args:
            kinds: C. source: where they stand, for messages.
        Raises:
            DataError: they are no such rarities.
        """
        table = np.array(number_rows(values, "windows", 1 + kinds, source), dtype=float).reshape(-1, 1 + kinds)
        if (table < 0).any():
            raise DataError(f"{source}: 'windows' has a value of {table.min():g}, expected 0 or more")
        return cls(WindowVehicles(table[:, 0], np.arange(len(table)), table[:, 1:]))


def sum_beyond_usual(rarity: np.ndarray) -> np.ndarray:
    """Rarities (V, C) of vehicles added, each from where its tail begins: (V,)."""
    return np.clip(rarity - USUAL, 0.0, None).sum(axis=1)
