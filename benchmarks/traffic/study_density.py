"""Density as an input: banks and students that are told how dense the traffic of a window is.

Letters: N windows, C channels, h x w cells, B images, D channels of a hidden layer.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from sklearn.metrics import roc_auc_score
from torch import Tensor, nn

from benchmarks.traffic.study_windows import SEED, StudyWindow
from d2road.traffic.baselines.lasting_rules import window_density
from d2road.utils.bootstrap import draw_weights, percentile_interval
from efficientad.modeling.pdn import PDN

DRAWS = 1000
WIDTH = 16  # of the layer between density and gains


def densities_of(windows: Sequence[StudyWindow]) -> np.ndarray:
    """Vehicles per km of windows, (N,)."""
    return np.array([window_density(one.window) for one in windows])


class DensityScale:
    """Densities in standard deviations of those of good windows.

    Args:
        good: (N,), vehicles per km.
    """

    def __init__(self, good: np.ndarray):
        self.mean, self.std = float(good.mean()), max(float(good.std()), 1e-6)

    def __call__(self, density: np.ndarray) -> Tensor:
        """(N,), float32."""
        return torch.from_numpy((np.asarray(density, dtype=float) - self.mean) / self.std).float()


class DensityStudent(nn.Module):
    """A PDN whose last hidden layer is scaled and shifted by what density says; at first it is the PDN itself.

    Args:
        pdn: with its weights.
        scale: of the densities.
    Source: Perez et al., FiLM, AAAI 2018; one modulated layer, from a number.
    """

    def __init__(self, pdn: PDN, scale: DensityScale):
        super().__init__()
        self.pdn, self.scale = pdn, scale
        channels = pdn.layer(3).out_channels  # D
        last = nn.Linear(WIDTH, 2 * channels)
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)
        self.modulation = nn.Sequential(nn.Linear(1, WIDTH), nn.ReLU(), last)

    def forward(self, images: Tensor, density: np.ndarray) -> Tensor:
        """Maps of images (B, 3, H, W) of traffic of some densities (B,): (B, C, h, w)."""
        found = self.modulation(self.scale(density)[:, None])  # (B, 2 D)
        gain, shift = found[..., None, None].chunk(2, dim=1)
        return self.pdn.last(self.pdn.body(images) * (1 + gain) + shift)


def append_density(features: Tensor, density: np.ndarray, scale: DensityScale, weight: float, spread: float) -> Tensor:
    """Features with density as one more channel.

    Args:
        features: (N, C, h, w). density: (N,).
        weight: what a standard deviation of density counts, in units of `spread`.
        spread: a distance between features, see `feature_spread`.
    Returns:
        (N, C + 1, h, w), float32.
    """
    more = (weight * spread * scale(density))[:, None, None, None]
    return torch.cat([features.float(), more.expand(-1, 1, *features.shape[-2:])], dim=1)


def feature_spread(features: Tensor) -> float:
    """Root mean squared distance of the cells of features (N, C, h, w) from their mean."""
    return float(features.float().var(dim=(0, 2, 3)).sum().sqrt())


def compare_scores(
    windows: Sequence[StudyWindow], first: Mapping[str, np.ndarray], second: Mapping[str, np.ndarray]
) -> dict[str, object]:
    """Window AUROC of one kind of scores less that of another on the same windows, paired.

    Args:
        windows: those that are tested, good ones and incidents, in the order of the scores.
        first, second: scores (N,) of each scoring, as "raw".
    """
    kinds = [one.kind for one in windows]
    bad = np.array(kinds) != "good"
    weights = list(draw_weights(kinds, DRAWS, SEED))
    found: dict[str, object] = {}
    for name in first:
        draws = [
            roc_auc_score(bad, first[name], sample_weight=w) - roc_auc_score(bad, second[name], sample_weight=w)
            for w in weights
        ]
        value = roc_auc_score(bad, first[name]) - roc_auc_score(bad, second[name])
        found[name] = {"auroc": value, "interval": percentile_interval(np.array(draws))}
    return found
