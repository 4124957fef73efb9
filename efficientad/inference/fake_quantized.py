"""Teacher and student rounded to 8 bits in float32: what `QuantizedNetworks` computes, as a graph that any engine has.

Each rounding becomes a pair of QuantizeLinear and DequantizeLinear in a file of ONNX, from which OpenVINO and
onnxruntime know that the layers between them can be computed in whole numbers.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from efficientad.inference.fused_networks import FusedNetworks
from efficientad.inference.onnx_graph import LARGEST, LEVELS, Range, quantize_kernel, scale_of
from efficientad.modeling.networks import Networks
from efficientad.modeling.pdn import LAYERS, PDN, map_size_of
from efficientad.modeling.winograd import bias_of, padding_of


class FakeQuantizedNetworks(nn.Module):
    """Teacher and student in 8 bits, the autoencoder in float32, on the CPU.

    Args:
        networks: trained, with the teacher's statistics; stays as it is.
        limits: ranges by the names of `quantization.range_names`.
    """

    def __init__(self, networks: Networks, limits: dict[str, Range]):
        super().__init__()
        fused = FusedNetworks(networks, fewer_products=False).cpu().to(memory_format=torch.contiguous_format)
        self.teacher, self.student, self.autoencoder = fused.teacher, fused.student, fused.autoencoder
        self.channels, self.padding, self.limits = networks.channels, fused.padding, limits

    def raw_maps(self, images: Tensor) -> Tensor:
        """As `Networks.raw_maps`."""
        start = round_to_range(images, self.limits["image"])
        last = f"conv{len(LAYERS[self.teacher.size])}"
        (teacher,) = self._network("teacher", self.teacher, start, (f"teacher.{last}",))
        halves = self._network("student", self.student, start, ("student.teacher", "student.autoencoder"))
        pairs = (teacher, halves[0]), (self.autoencoder(images, map_size_of(images, self.padding)), halves[1])
        return torch.stack([(one - other).square().mean(1) for one, other in pairs], dim=1)

    def _network(self, name: str, pdn: PDN, x: Tensor, ends: tuple[str, ...]) -> list[Tensor]:
        """The last layer's channels in as many parts as it has names."""
        layers = LAYERS[pdn.size]
        for number, (_, _, _, relu, pool) in enumerate(layers[:-1], 1):
            limits = self.limits[f"{name}.conv{number}"]
            x = convolve_rounded(pdn.layer(number), x)
            limits = (0.0, limits[1]) if relu else limits
            x = round_to_range(F.relu(x) if relu else x, limits)
            if pool:
                x = round_to_range(F.avg_pool2d(x, 2, 2, padding=1 if pdn.padding else 0), limits)
        # A convolution for each part, as engines take long to divide a map by channels.
        return [
            round_to_range(
                convolve_rounded(pdn.layer(len(layers)), x, slice(n * self.channels, (n + 1) * self.channels)),
                self.limits[end],
            )
            for n, end in enumerate(ends)
        ]


def round_to_range(x: Tensor, limits: Range) -> Tensor:
    """Values at the nearest of 256 levels of a range, see `scale_of`."""
    step, zero = scale_of(limits)
    return torch.fake_quantize_per_tensor_affine(x, step, zero, 0, LEVELS)


def convolve_rounded(conv: nn.Conv2d, x: Tensor, part: slice = slice(None)) -> Tensor:
    """A convolution, or the output channels `part` of it, whose kernels have 255 levels for each output channel."""
    weight, bias = conv.weight[part], bias_of(conv)[part]
    steps = quantize_kernel(weight)[1]
    zeros = torch.zeros(len(steps), dtype=torch.int32)
    # No kernel reaches -128, which the format has.
    weight = torch.fake_quantize_per_channel_affine(weight, steps, zeros, 0, -LARGEST - 1, LARGEST)
    return F.conv2d(x, weight, bias, padding=padding_of(conv))
