"""Export graph of the fused detector: student, autoencoder and memory bank in one pass.

Letters: B images, h x w cells.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from efficientad.calibration_statistics import resize_maps
from efficientad.fusion.map_fusion import fuse_maps
from efficientad.inference.student_graph import plain_networks
from efficientad.modeling.networks import Networks
from efficientad.patchcore.bank_graph import PatchCoreGraph


class FusionGraph(nn.Module):
    """Normalised images to fused maps, smoothed, and scores.

    Args:
        networks: of EfficientAD.
        bank: of PatchCore.
        shares_features: whether the networks' teacher gives the features that the bank compares.
        pixels: (mean, std) of the images, and of those that the bank's extractor takes.
        quantiles: (3, 2), of the maps of student, autoencoder and bank.
        weights, combine: see `fuse_maps`.
    """

    quantiles: Tensor
    scale: Tensor
    shift: Tensor

    def __init__(
        self,
        networks: Networks,
        bank: PatchCoreGraph,
        *,
        shares_features: bool,
        pixels: tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]],
        quantiles: Tensor,
        weights: Sequence[float],
        combine: str,
    ):
        super().__init__()
        self.networks, self.bank = plain_networks(networks, keeps_features=True), bank
        self.shares_features, self.weights, self.combine = shares_features, tuple(weights), combine
        (mean, std), (bank_mean, bank_std) = pixels
        self.register_buffer("scale", (std / bank_std).cpu().clone())
        self.register_buffer("shift", ((mean - bank_mean) / bank_std).cpu().clone())
        self.register_buffer("quantiles", quantiles.detach().clone().cpu())

    def forward(self, images: Tensor, output: tuple[int, int]) -> tuple[Tensor, Tensor]:
        """Images (B, 3, H, W) to maps (B, 1, *output) and scores (B,)."""
        networks = self.networks
        assert isinstance(networks, Networks), "those that keep features"
        if self.shares_features:
            embedding = networks.teacher(images)
            learned = networks.maps_of(networks.features(images, embedding))
        else:
            embedding = self.bank.embed(images * self.scale + self.shift)
            learned = F.pad(networks.raw_maps(images), (networks.border,) * 4, mode="replicate")
        (height, width), channels = embedding.shape[-2:], embedding.shape[1]
        distances, _ = self.bank.bank(embedding.flatten(2).transpose(1, 2).reshape(-1, channels))
        of_bank = distances.view(-1, 1, height, width)
        if learned.shape[-2:] != of_bank.shape[-2:]:  # sides are constants of the graph
            learned = resize_maps(learned, (height, width))
        maps = torch.cat([learned, of_bank], dim=1)  # (B, 3, h, w)
        columns = maps.transpose(0, 1).reshape(3, -1, width)  # (3, B * h, w)
        fused = fuse_maps(columns, self.quantiles, self.weights, self.combine).view(-1, 1, height, width)
        return self.bank.smooth(fused, output), fused.flatten(1).amax(1)
