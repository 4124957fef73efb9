"""Quantization and lower precision for inference: bfloat16, or 8 bits by onnxruntime.

fp32   fused networks as they are, with fewer products on a CPU (`winograd`)
bf16   convolutions in bfloat16, for processors that have instructions for it; the last ones in fp32 with fewer products
int8   teacher and student in whole numbers of 8 bits; the autoencoder's convolutions rounded to them

8 bits need the range of values at each place of the networks, which calibration measures on good images. What is
anomalous goes beyond it, so they hold MARGIN times as much. Calibrations of earlier versions know no ranges of the
autoencoder, a sixteenth of the work: it stays in fp32 then. Whatever the precision, map quantiles and threshold are
measured in it, so that scores stay comparable.
"""

import torch
from torch import Tensor, nn

from d2road.utils.errors import CheckpointError, ConfigError
from efficientad.calibration_state import EXPORT
from efficientad.inference.fake_quantized import autoencoder_convolutions, autoencoder_place, rounded_autoencoder
from efficientad.inference.fused_networks import FusedNetworks
from efficientad.inference.onnx_graph import Half, Range, build_graph
from efficientad.modeling.extractor_teacher import ExtractorTeacher
from efficientad.modeling.networks import Networks
from efficientad.modeling.pdn import LAYERS, map_size_of
from efficientad.onnx_sessions import start_session

PRECISIONS = ("fp32", "bf16", "int8")
MARGIN = 1.25
# Of the autoencoder, in which rounding does little, and what an image of another size or kind adds much.
AUTOENCODER_MARGIN = 2.0


def prepare_networks(
    networks: Networks, precision: str = "fp32", ranges: Tensor | None = None
) -> "Networks | FusedNetworks | QuantizedNetworks":
    """Networks with a method `raw_maps`, for the present weights.

    Args:
        precision: one of PRECISIONS.
        ranges: of `Observer`, for int8.
    Raises:
        ValueError: unknown precision, or int8 without ranges.
        ImportError: int8 without onnx and onnxruntime.
    """
    if isinstance(networks.teacher, ExtractorTeacher):
        if precision != "fp32":
            raise ConfigError(f"precision {precision} is for teachers that are a PDN, not for features of an extractor")
        return networks  # nothing to fuse
    if precision == "fp32":
        return FusedNetworks(networks)
    if precision == "bf16":
        return FusedNetworks(networks, torch.bfloat16)
    if precision == "int8":
        return QuantizedNetworks(networks, ranges)
    raise ConfigError(f"precision is {precision!r}, expected one of {', '.join(PRECISIONS)}")


def range_names(size: str, autoencoder: nn.Module | None = None) -> list[str]:
    """The places whose ranges 8 bits need.

    Of teacher and student the image, and what each convolution gives, behind its ReLU if any; the student's last one
    counts twice, for its two halves follow different things. Of the autoencoder what each convolution takes.

    Args:
        autoencoder: None leaves it out, as calibrations of earlier versions did.
    """
    layers = [f"conv{number}" for number in range(1, len(LAYERS[size]) + 1)]
    student = [f"student.{layer}" for layer in layers[:-1]] + ["student.teacher", "student.autoencoder"]
    others = [] if autoencoder is None else map(autoencoder_place, autoencoder_convolutions(autoencoder))
    return ["image", *(f"teacher.{layer}" for layer in layers), *student, *others]


class Observer:
    """Collects the ranges of networks over images.

    Args:
        networks: with the teacher's statistics.
        least, largest: values that normalised images can have.

    Attributes:
        ranges: (P, 2) least and largest value at each of `range_names` so far.
    """

    def __init__(self, networks: Networks, least: float, largest: float):
        self.fused = FusedNetworks(networks)
        self.names = range_names(self.fused.teacher.size, self.fused.autoencoder)
        self.ranges = networks.teacher_mean.new_tensor([torch.inf, -torch.inf]).repeat(len(self.names), 1)
        self.ranges[0] = torch.tensor([least, largest])
        for name, pdn in (("teacher", self.fused.teacher), ("student", self.fused.student)):
            for number in range(2, len(LAYERS[pdn.size]) + 1):
                self._watch(pdn.get_submodule(f"conv{number}"), self._places(name, number, pdn.size))
        self._watch(self.fused.stem, ["teacher.conv1", "student.conv1"])
        for name, conv in autoencoder_convolutions(self.fused.autoencoder).items():
            self._watch_inputs(conv, autoencoder_place(name))

    @staticmethod
    def _places(name: str, number: int, size: str) -> list[str]:
        if name == "student" and number == len(LAYERS[size]):
            return ["student.teacher", "student.autoencoder"]
        return [f"{name}.conv{number}"]

    def _watch(self, module: nn.Module, places: list[str]) -> None:
        def observe(_module: nn.Module, _inputs: object, output: Tensor) -> None:
            for place, part in zip(places, output.chunk(len(places), dim=1)):
                self._take(place, part)

        module.register_forward_hook(observe)

    def _watch_inputs(self, module: nn.Module, place: str) -> None:
        module.register_forward_pre_hook(lambda _module, inputs: self._take(place, inputs[0]))

    def _take(self, place: str, values: Tensor) -> None:
        row = self.ranges[self.names.index(place)]
        row[0], row[1] = torch.minimum(row[0], values.min()), torch.maximum(row[1], values.max())

    @torch.no_grad()
    def update(self, images: Tensor) -> None:
        """Take in normalised images (B, 3, H, W)."""
        self.fused.raw_maps(images)


def limits_of(size: str, autoencoder: nn.Module | None, ranges: Tensor | None) -> dict[str, Range]:
    """What 8 bits hold at each of `range_names` of networks of a size.

    Args:
        ranges: of `Observer`, or those of teacher and student alone.
    Raises:
        CheckpointError: the ranges are not of such networks or were not measured.
    """
    names, both = range_names(size, autoencoder), range_names(size)
    if ranges is not None and len(ranges) == len(both):
        names = both
    if ranges is None or len(ranges) != len(names) or not bool((ranges[:, 1] > ranges[:, 0]).all()):
        raise CheckpointError(f"8-bit quantization needs ranges that were not measured for this model: {EXPORT}")
    margins = [1.0] + [MARGIN] * (len(both) - 1) + [AUTOENCODER_MARGIN] * (len(names) - len(both))
    wider = ranges * torch.tensor(margins).view(-1, 1).to(ranges)
    limits = {name: (low, high) for name, (low, high) in zip(names, wider.tolist(), strict=True)}
    if names != both:
        limits[names[len(both)]] = limits["image"]  # what the first one sees, whatever the good images had
    return limits


class QuantizedNetworks(nn.Module):
    """Teacher and student in 8 bits; the autoencoder's convolutions are rounded to them, and computed in float32.

    Kernels have a scale for each output channel, values one for each place: 0 to 255 of those behind a ReLU, which so
    costs nothing.

    Args:
        networks: trained, with the teacher's statistics; stays as it is.
        ranges: of `Observer`.
    Raises:
        ValueError: the ranges are not of such networks or were not measured.
        ImportError: onnx or onnxruntime is missing.
    """

    def __init__(self, networks: Networks, ranges: Tensor | None):
        super().__init__()
        fused = FusedNetworks(networks, fewer_products=False)
        limits = limits_of(fused.teacher.size, fused.autoencoder, ranges)
        self.autoencoder, self.padding = rounded_autoencoder(fused.autoencoder, limits), fused.padding
        channels = networks.channels
        halves = [Half("student.teacher", 0, channels), Half("student.autoencoder", channels, 2 * channels)]
        graph = build_graph(
            {"teacher": (fused.teacher, [Half("teacher.conv" + str(len(LAYERS[fused.teacher.size])), 0, channels)]),
             "student": (fused.student, halves)},
            limits,
        )  # fmt: skip
        self.session = start_session(graph)

    @torch.no_grad()
    def raw_maps(self, images: Tensor) -> Tensor:
        """As `Networks.raw_maps`."""
        found = self.session.run(None, {"images": images.contiguous().cpu().numpy()})
        student_teacher, student = (torch.from_numpy(part).to(images.device) for part in found)
        autoencoder_output = self.autoencoder(images, map_size_of(images, self.padding))
        return torch.cat([student_teacher, (autoencoder_output - student).square_().mean(1, keepdim=True)], dim=1)
