"""Fused networks for inference: the same maps by fewer and wider operations.

The teacher's statistics are linear and go into its last layer; teacher and student see the same image, so their first
layers become one. Equal to `Networks` up to rounding, unless in narrower numbers.
"""

import copy
from collections.abc import Iterable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from d2road.utils.processor import has_matrix_units
from efficientad.modeling.networks import Networks
from efficientad.modeling.pdn import LAYERS, PDN, map_size_of
from efficientad.modeling.winograd import LEAST_CHANNELS, POINTS, WinogradConv2d, bias_of, padding_of


class FusedNetworks(nn.Module):
    """Teacher, student and autoencoder side by side, the teacher's statistics folded into its weights.

    Args:
        networks: trained, with the teacher's statistics; it stays as it is.
        dtype: of weights and features.
        fewer_products: prepare large convolutions for `winograd` (on a CPU, and if the networks use it), which takes
            about three times their memory. In bfloat16 these are the last ones, which are faster so in float32 than
            directly, unless the processor has matrix units.
    """

    def __init__(self, networks: Networks, dtype: torch.dtype = torch.float32, fewer_products: bool = True):
        super().__init__()
        self.channels, self.border, self.padding = networks.channels, networks.border, networks.teacher.padding
        teacher, student = copy.deepcopy(networks.teacher), copy.deepcopy(networks.student)
        assert isinstance(teacher, PDN) and isinstance(student, PDN), "others are not fused"
        self.student = student
        assert networks.autoencoder is not None, "left out only beside an extractor, which is not fused"
        self.autoencoder = copy.deepcopy(networks.autoencoder)
        last = teacher.layer(len(LAYERS[teacher.size]))
        with torch.no_grad():
            scale = 1 / networks.teacher_std
            last.weight.mul_(scale.view(-1, 1, 1, 1))
            bias_of(last).sub_(networks.teacher_mean).mul_(scale)
        self.teacher = teacher
        self.stem = _side_by_side(teacher.layer(1), self.student.layer(1))
        self.split = teacher.layer(1).out_channels
        self.eval().requires_grad_(False)
        fewer_products = fewer_products and teacher.fewer_products and self.stem.weight.device.type == "cpu"
        count = len(LAYERS[teacher.size])
        layers = range(1 if dtype == torch.float32 else count, count + 1)
        prepared = []
        if fewer_products and (dtype == torch.float32 or not has_matrix_units()):
            prepared = [(pdn, _by_fewer_products(pdn, layers)) for pdn in (self.teacher, self.student)]
        self.to(dtype=dtype).to(memory_format=torch.channels_last)
        self.teacher.fewer_products = self.student.fewer_products = False
        for pdn, found in prepared:
            for name, conv in found.items():
                setattr(pdn, name, conv)

    def raw_maps(self, images: Tensor) -> Tensor:
        """As `Networks.raw_maps`: squared differences (B, 2, h, w) of normalised images (B, 3, H, W)."""
        images = images.to(self.stem.weight.dtype)
        first = F.avg_pool2d(F.relu_(self.stem(images)), 2, 2, padding=1 if self.padding else 0)
        own = [part.contiguous(memory_format=torch.channels_last) for part in first.split(self.split, dim=1)]
        teacher = self.teacher.last(self.teacher.body(own[0], first=2))
        student = self.student.last(self.student.body(own[1], first=2))
        autoencoder_output = self.autoencoder(images, map_size_of(images, self.padding))
        pairs = (teacher, student[:, : self.channels]), (autoencoder_output, student[:, self.channels :])
        return torch.stack([(one.float() - other.float()).square_().mean(1) for one, other in pairs], dim=1)


def _by_fewer_products(pdn: PDN, layers: Iterable[int]) -> dict[str, WinogradConv2d]:
    """Those of a network's layers that are large, with their kernels transformed once, by name."""
    found = {f"conv{number}": pdn.layer(number) for number in layers}
    return {
        name: WinogradConv2d(copy.deepcopy(conv).to(memory_format=torch.channels_last))
        for name, conv in found.items()
        if conv.kernel_size[0] in POINTS and min(conv.in_channels, conv.out_channels) >= LEAST_CHANNELS
    }


def _side_by_side(left: nn.Conv2d, right: nn.Conv2d) -> nn.Conv2d:
    """One convolution with the outputs of both."""
    channels, (side, _) = left.out_channels + right.out_channels, left.kernel_size
    both = nn.Conv2d(left.in_channels, channels, side, padding=padding_of(left)).to(left.weight)
    with torch.no_grad():
        both.weight.copy_(torch.cat([left.weight, right.weight]))
        bias_of(both).copy_(torch.cat([bias_of(left), bias_of(right)]))
    return both
