"""Fusion of anomaly maps that differ in scale: each by its quantiles on good images, then a weighted mean or maximum.

Letters: P maps of an image, h x w cells; q_a, q_b quantiles of the values of a map on good images.

    m'_p = 0.1 (m_p - q_a,p) / (q_b,p - q_a,p)         mean: sum_p w_p m'_p / sum_p w_p       max: max_p m'_p, w_p > 0

Source: normalisation and mean of two maps: Batzner et al., EfficientAD, WACV 2024, section 3.4. Differs: any number of
maps, weights, and the maximum.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from efficientad.calibration_statistics import normalise_map

COMBINATIONS = ("mean", "max")


def fuse_maps(maps: Tensor, quantiles: Tensor, weights: Sequence[float], combine: str = "mean") -> Tensor:
    """One map (h, w) of several on the same grid.

    Args:
        maps: (P, h, w), of any scale.
        quantiles: (P, 2), the lower and the higher one of each.
        weights: P numbers from 0 up, not all 0; a map of weight 0 takes no part.
        combine: one of COMBINATIONS.
    Raises:
        ValueError: an unknown combination, or weights of another number or sum.
    """
    if combine not in COMBINATIONS or len(weights) != len(maps) or min(weights) < 0 or sum(weights) <= 0:
        raise ValueError(f"{len(maps)} maps cannot be combined by {combine!r} with the weights {tuple(weights)}")
    start, end = quantiles.T.reshape(2, -1, 1, 1)
    normalised = normalise_map(maps, start, end)
    share = torch.tensor(weights, dtype=maps.dtype, device=maps.device)
    if combine == "max":
        return normalised[share > 0].amax(0)
    return (normalised * (share / share.sum()).view(-1, 1, 1)).sum(0)
