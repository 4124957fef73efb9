"""Dense heads: what stands at each cell of the image map, and how much a sentence means it.

The numbers get their meaning in `box_coding.py`. Letters: B images, N sentences, C classes, D channels, P cells.
"""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mono3dvg.detection.box_coding import RawBoxes


@dataclass
class RawMaps:
    """Outputs of `DenseHead`: heat (B, C, Hf, Wf) logits, regression (B, R, Hf, Wf) for `RawBoxes.unpack`, looks
    (B, L, Hf, Wf) logits of what the object is like, L = 0 where the head does not say it."""

    heat: Tensor
    regression: Tensor
    looks: Tensor

    def at(self, image: Tensor, cells: Tensor) -> RawBoxes:
        """The numbers at cells (P,), indices into Hf * Wf, of images (P,)."""
        return RawBoxes.unpack(gather_cells(self.regression, image, cells))

    def looks_at(self, cells: Tensor) -> Tensor:
        """Logits (B, K, L) at cells (B, K) of the B images."""
        return gather_each(self.looks, cells)


def gather_cells(maps: Tensor, image: Tensor, cells: Tensor) -> Tensor:
    """(B, R, Hf, Wf) at cells (P,) of images (P,) -> (P, R)."""
    # Whole rows of one table: their gradient is added row by row, many times faster than number by number.
    rows = maps.permute(0, 2, 3, 1).flatten(0, 2)  # (B * Hf * Wf, R)
    return rows.index_select(0, image * maps.shape[2] * maps.shape[3] + cells)


def gather_each(maps: Tensor, cells: Tensor) -> Tensor:
    """(B, R, Hf, Wf) at cells (B, K) of each image -> (B, K, R)."""
    image = torch.arange(len(cells), device=cells.device).repeat_interleave(cells.shape[1])
    return gather_cells(maps, image, cells.flatten()).unflatten(0, cells.shape)


class ChannelNorm(nn.Module):
    """Layer norm over the channels of each cell.

    Group and batch norm average over the map: then the padding that an image gets from its batch would change what is
    found in it.
    """

    def __init__(self, dim: int):
        super().__init__()
        self.norm = nn.LayerNorm(dim)

    def forward(self, x: Tensor) -> Tensor:
        """(B, D, Hf, Wf) -> the same."""
        return self.norm(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


def tower(in_channels: int, dim: int, depth: int) -> nn.Sequential:
    """`depth` 3x3 convolutions with norm and ReLU."""
    layers: list[nn.Module] = []
    for i in range(depth):
        channels = in_channels if i == 0 else dim
        layers += [nn.Conv2d(channels, dim, 3, padding=1, bias=False), ChannelNorm(dim), nn.ReLU()]
    return nn.Sequential(*layers)


def prior_bias(prior: float) -> float:
    """Logit of a probability: a map that starts there is not flooded by its background."""
    return -math.log((1 - prior) / prior)


class DenseHead(nn.Module):
    """Class heat map and box regression, from the image alone.

    Args:
        in_channels: of the map.
        dim: width of the two towers.
        depth: 3x3 convolutions of each.
        num_looks: L, what is said of objects beside class and box, with a tower of its own.
        prior: probability at which the heat map starts.
    """

    def __init__(
        self,
        *,
        in_channels: int,
        num_classes: int,
        dim: int = 64,
        depth: int = 1,
        num_looks: int = 0,
        prior: float = 0.01,
    ):
        super().__init__()
        self.num_classes, self.num_looks = num_classes, num_looks
        self.heat_tower, self.box_tower = tower(in_channels, dim, depth), tower(in_channels, dim, depth)
        self.heat = nn.Conv2d(dim, num_classes, 1)
        self.regression = nn.Conv2d(dim, sum(RawBoxes.SIZES), 1)
        for layer in (self.heat, self.regression):
            nn.init.normal_(layer.weight, std=0.01)
            nn.init.zeros_(layer.bias)
        nn.init.constant_(self.heat.bias, prior_bias(prior))
        start = 0
        for size, value in zip(RawBoxes.SIZES, _STARTS):
            self.regression.bias.data[start : start + size] = value
            start += size
        if num_looks:
            self.looks = nn.Sequential(tower(in_channels, dim, depth), nn.Conv2d(dim, num_looks, 1))
            nn.init.constant_(self.looks[-1].bias, prior_bias(0.1))

    def forward(self, feature: Tensor) -> RawMaps:
        """(B, in_channels, Hf, Wf) -> maps."""
        heat, regression = self.heat(self.heat_tower(feature)), self.regression(self.box_tower(feature))
        return RawMaps(heat, regression, self.looks(feature) if self.num_looks else heat[:, :0])


# Where the fields of RawBoxes start: 2D boxes of 4 by 4 cells; depths that are off by e^-1.5, 20 %, on both ways.
_STARTS = (0.0, 0.0, math.log(2.0), 0.0, -1.5, 0.0, 0.0, 0.0)


class ReferHead(nn.Module):
    """How much a sentence means what stands at each cell: layers of one cell, for the neck has seen its surroundings.

    Args:
        dim: channels of the fused map.
        prior: probability at which it starts.
    """

    def __init__(self, dim: int, prior: float = 0.02):
        super().__init__()
        self.tower = nn.Sequential(nn.Conv2d(dim, dim, 1), nn.ReLU())
        self.output = nn.Conv2d(dim, 1, 1)
        nn.init.normal_(self.output.weight, std=0.01)
        nn.init.constant_(self.output.bias, prior_bias(prior))

    def forward(self, fused: Tensor) -> Tensor:
        """(N, D, Hf, Wf) -> logits (N, Hf, Wf)."""
        return self.output(self.tower(fused))[:, 0]


def final_scores(heat: Tensor, referral: Tensor, exponent: float = 0.5) -> Tensor:
    """Score of a box as the answer to a sentence.

    heat ** exponent * p ** (1 - exponent), p the probability of the referral: at 0.5 the geometric mean, high only if
    something stands there and it is meant. An exponent of 0 leaves the referral alone.

    Args:
        heat: (..., ) probability that an object stands there.
        referral: (..., ) logits.
    """
    log_score = exponent * heat.float().clamp(min=1e-8).log() + (1 - exponent) * F.logsigmoid(referral.float())
    return torch.exp(log_score)
