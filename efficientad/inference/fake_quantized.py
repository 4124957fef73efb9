"""Networks rounded to 8 bits in float32: what `QuantizedNetworks` computes, as a graph that any engine has.

Each rounding becomes a pair of QuantizeLinear and DequantizeLinear in a file of ONNX, from which OpenVINO and
onnxruntime know that the layers between them can be computed in whole numbers.
"""

import copy
from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from efficientad.inference.fused_networks import FusedNetworks
from efficientad.inference.onnx_graph import LARGEST, LEVELS, Range, pooled_range, quantize_kernel, scale_of
from efficientad.modeling.networks import Networks
from efficientad.modeling.pdn import LAYERS, PDN, map_size_of
from efficientad.modeling.winograd import bias_of, padding_of


class FakeQuantizedNetworks(nn.Module):
    """Teacher, student and, where its ranges are known, the convolutions of the autoencoder in 8 bits, on the CPU.

    Args:
        networks: trained, with the teacher's statistics; stays as it is.
        limits: ranges by the names of `quantization.range_names`.
    """

    def __init__(self, networks: Networks, limits: dict[str, Range]):
        super().__init__()
        fused = FusedNetworks(networks, fewer_products=False).cpu().to(memory_format=torch.contiguous_format)
        self.teacher, self.student = fused.teacher, fused.student
        self.autoencoder = rounded_autoencoder(fused.autoencoder, limits)
        self.channels, self.padding, self.limits = networks.channels, fused.padding, limits

    def raw_maps(self, images: Tensor) -> Tensor:
        """As `Networks.raw_maps`."""
        start = round_to_range(images, self.limits["image"])
        last = f"conv{len(LAYERS[self.teacher.size])}"
        (teacher,) = self._network("teacher", self.teacher, start, (f"teacher.{last}",))
        halves = self._network("student", self.student, start, ("student.teacher", "student.autoencoder"))
        pairs = (teacher, halves[0]), (self.autoencoder(images, map_size_of(images, self.padding)), halves[1])
        # By the norm, which engines take in one pass over the channels.
        norms = [torch.linalg.vector_norm(one - other, dim=1) for one, other in pairs]
        return torch.stack(norms, dim=1).square() / self.channels

    def _network(self, name: str, pdn: PDN, x: Tensor, ends: tuple[str, ...]) -> list[Tensor]:
        """The last layer's channels in as many parts as it has names."""
        layers = LAYERS[pdn.size]
        for number, (_, _, _, relu, pool) in enumerate(layers[:-1], 1):
            limits = self.limits[f"{name}.conv{number}"]
            x = convolve_rounded(pdn.layer(number), x)
            limits = (0.0, limits[1]) if relu else limits
            x = round_to_range(F.relu(x) if relu else x, limits)
            if pool:
                x = round_to_range(F.avg_pool2d(x, 2, 2, padding=1 if pdn.padding else 0), pooled_range(limits))
        # A convolution for each part, as engines take long to divide a map by channels.
        return [
            round_to_range(
                convolve_rounded(pdn.layer(len(layers)), x, slice(n * self.channels, (n + 1) * self.channels)),
                self.limits[end],
            )
            for n, end in enumerate(ends)
        ]


class RoundedConv2d(nn.Module):
    """A convolution whose inputs lie on the levels of a range and whose kernels do so, see `convolve_rounded`."""

    def __init__(self, conv: nn.Conv2d, limits: Range):
        super().__init__()
        self.conv, self.limits = conv, limits

    def forward(self, x: Tensor) -> Tensor:
        """See above."""
        return convolve_rounded(self.conv, round_to_range(x, self.limits))


def autoencoder_convolutions(autoencoder: nn.Module) -> dict[str, nn.Conv2d]:
    """The convolutions that 8 bits take over, by name, the one that sees the image first; no depthwise ones."""
    return {
        name: part for name, part in autoencoder.named_modules() if isinstance(part, nn.Conv2d) and part.groups == 1
    }


def autoencoder_place(name: str) -> str:
    """What the range of the inputs of an autoencoder's convolution is called."""
    return f"autoencoder.{name}.input"


def rounded_autoencoder(autoencoder: nn.Module, limits: Mapping[str, Range]) -> nn.Module:
    """A copy with convolutions in 8 bits; the module itself where no ranges of it are known.

    All that lies between convolutions, enlargement and attention, stays in float32, and what an enlargement gives is
    rounded once.
    """
    names = list(autoencoder_convolutions(autoencoder))
    if not any(autoencoder_place(name) in limits for name in names):
        return autoencoder
    rounded = copy.deepcopy(autoencoder)
    for name in names:
        owner, _, leaf = name.rpartition(".")
        conv = rounded.get_submodule(name)
        assert isinstance(conv, nn.Conv2d)
        setattr(rounded.get_submodule(owner), leaf, RoundedConv2d(conv, limits[autoencoder_place(name)]))
    return rounded


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
    return F.conv2d(x, weight, bias, stride=conv.stride, padding=padding_of(conv))
