"""Gaussian prior of boxes: where the path ends in noise, and the coordinates in which that end is standard normal.

A state is a box (cx, cy, w, h), each in units of the image's width or height, minus a mean and over a deviation. Noise
N(0, 1) of states then is N(mean, deviation^2) of boxes, and every path and solver is the same for all priors:

    unit box = mean + deviation * state
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor


class BoxPrior(Protocol):
    """Gaussian prior of boxes, as coordinates of the diffusion state; boxes and states are (..., 4)."""

    def encode(self, unit: Tensor) -> Tensor:
        """Boxes (cx, cy, w, h) in units of the image to states, unclamped."""

    def decode(self, state: Tensor) -> Tensor:
        """States to boxes, clamped to [0, 1] each."""

    def clamp(self, state: Tensor) -> Tensor:
        """States as those of boxes in [0, 1]."""


@dataclass(frozen=True)
class NormalPrior:
    """Prior of DiffusionDet: mean 0.5 and deviation 1 / (2 scale) in all four; boxes span [-scale, scale].

    Args:
        scale: signal scale (MODEL.DiffusionDet.SNR_SCALE).
    """

    scale: float

    def encode(self, unit: Tensor) -> Tensor:
        """As BoxPrior's."""
        return (unit * 2 - 1) * self.scale

    def decode(self, state: Tensor) -> Tensor:
        """As BoxPrior's."""
        return (self.clamp(state) / self.scale + 1) / 2

    def clamp(self, state: Tensor) -> Tensor:
        """As BoxPrior's."""
        return state.clamp(-self.scale, self.scale)


# The Gaussian of small objects reaches far below sides of 0, where no decoder that scales boxes finds a way out.
LEAST_SIDE = 0.1


@dataclass(frozen=True)
class FittedPrior:
    """Prior with the mean and the deviation of the training boxes; sides end at LEAST_SIDE of their mean, not at 0.

    Args:
        mean, deviation: of cx, cy, w and h in units of the image.
    Source: the idea of a prior that the data give is that of Baty et al., FlowDet, 2025. Ours: the ends of sides; boxes
        that fill up the queries in training stay those of DiffusionDet.
    """

    mean: Sequence[float]
    deviation: Sequence[float]

    @property
    def ends(self) -> list[tuple[float, float]]:
        """Least and largest cx, cy, w and h."""
        return [(0.0, 1.0), (0.0, 1.0), *((min(LEAST_SIDE * side, 1.0), 1.0) for side in self.mean[2:])]

    def encode(self, unit: Tensor) -> Tensor:
        """As BoxPrior's."""
        parts = zip(unit.unbind(-1), self.mean, self.deviation)  # numbers: no device waits for them
        return torch.stack([(part - mean) / deviation for part, mean, deviation in parts], dim=-1)

    def decode(self, state: Tensor) -> Tensor:
        """As BoxPrior's."""
        parts = zip(state.unbind(-1), self.mean, self.deviation, self.ends)
        return torch.stack([(part * dev + mean).clamp(*ends) for part, mean, dev, ends in parts], dim=-1)

    def clamp(self, state: Tensor) -> Tensor:
        """As BoxPrior's."""
        parts = zip(state.unbind(-1), self.mean, self.deviation, self.ends)
        clamped = [part.clamp((low - mean) / dev, (high - mean) / dev) for part, mean, dev, (low, high) in parts]
        return torch.stack(clamped, dim=-1)
