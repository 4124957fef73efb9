"""Export graph of EfficientAD: networks, statistics, quantiles and enlargement, without any branch on a value."""

import copy

import torch
from torch import Tensor, nn

from efficientad.calibration_statistics import finish_map, maps_for_quantiles
from efficientad.inference.anomaly_maps import normalised
from efficientad.inference.fake_quantized import FakeQuantizedNetworks
from efficientad.inference.fused_networks import FusedNetworks
from efficientad.inference.graph_parts import enlarged
from efficientad.inference.onnx_graph import Range
from efficientad.modeling.networks import Networks
from efficientad.modeling.pdn import PDN
from efficientad.modeling.puad import Puad, channel_means


class StudentGraph(nn.Module):
    """Normalised images to anomaly maps, of images that are taken whole.

    Args:
        networks: trained; they stay as they are.
        quantiles: (2, 2), of both maps.
        compat: see `calibration_statistics`.
        size: (h, w) of the network input.
        puad: adds the distance of mean features to the score, or None.
        limits: of values in 8 bits, see `quantization.limits_of`; None for float32. With PUAD there are none.
    """

    quantiles: Tensor

    def __init__(
        self,
        networks: Networks,
        quantiles: Tensor,
        compat: str,
        size: tuple[int, int],
        puad: Puad | None,
        limits: dict[str, Range] | None = None,
    ):
        super().__init__()
        self.border, self.compat, self.size = networks.border, compat, size
        self.puad = None if puad is None else copy.deepcopy(puad).cpu()
        self.networks: nn.Module = (
            plain_networks(networks, keeps_features=puad is not None)
            if limits is None
            else FakeQuantizedNetworks(networks, limits)
        )
        self.register_buffer("quantiles", quantiles.detach().clone().cpu())

    def forward(self, images: Tensor, output: tuple[int, int]) -> tuple[Tensor, Tensor | None]:
        """Images (B, 3, h, w) to maps (B, 1, *output) and, with PUAD, scores (B,)."""
        means = None
        if self.puad is None:
            raw = self.networks.raw_maps(images)  # type: ignore[operator]  # of all of them
        else:
            features = self.networks.features(images)  # type: ignore[operator]  # PUAD keeps the networks themselves
            raw, means = self.networks.maps_of(features), channel_means(features.student)  # type: ignore[operator]
        values = normalised(maps_for_quantiles(raw, self.compat, self.size), self.quantiles)
        maps = enlarged(finish_map(values.mean(1, keepdim=True), self.compat, self.border), output)
        if self.puad is None or means is None:
            return maps, None
        return maps, self.puad.combine(self.puad.distance(means), maps.flatten(1).amax(1))


def plain_networks(networks: Networks, keeps_features: bool = False) -> Networks | FusedNetworks:
    """Copies of the networks whose operations any engine has: teacher and student fused, where that is possible.

    Args:
        keeps_features: leave them as they are, with `features` and `maps_of`.
    """
    if isinstance(networks.teacher, PDN) and not keeps_features:
        return FusedNetworks(networks, fewer_products=False).cpu().to(memory_format=torch.contiguous_format)
    copied = copy.deepcopy(networks).cpu().eval().to(memory_format=torch.contiguous_format)
    for part in copied.modules():
        if isinstance(part, PDN):
            part.fewer_products = False
    return copied
