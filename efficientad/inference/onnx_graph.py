"""Teacher and student as a graph of whole numbers in ONNX, run by onnxruntime on the CPU.

Values are unsigned, kernels signed: the pair that processors multiply fastest (AVX512-VNNI, and its like on ARM).
"""

from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from efficientad.modeling.pdn import LAYERS, PDN
from efficientad.modeling.winograd import bias_of, padding_of
from efficientad.onnx_sessions import require_onnx

Range = tuple[float, float]
OPSET, CONTRIB_OPSET, IR_VERSION = 17, 1, 8
LEVELS = 255  # of an unsigned number, beside 0
LARGEST = 127  # of a signed one
# A quarter of all means of four whole numbers lie halfway between two, where engines round as their arithmetic happens
# to fall. Of steps that are longer by 1/512 none comes nearer to halfway than a thousandth of a step.
POOLED_STEP = 1 + 1 / 512
CURE = "set INFERENCE.PRECISION fp32"  # without onnx


class Half(NamedTuple):
    """Channels `start` to `stop` of a last layer, under the name of its range."""

    name: str
    start: int
    stop: int


def scale_of(limits: Range) -> tuple[float, int]:
    """Step and zero point of unsigned numbers that hold a range, with 0 among them exactly."""
    low, high = min(limits[0], 0.0), max(limits[1], 0.0)
    step = (high - low) / LEVELS or 1.0
    return step, round(-low / step)


def pooled_range(limits: Range) -> Range:
    """The range of the means of 2 x 2 values of a range, whose levels no mean lies halfway between."""
    return limits[0] * POOLED_STEP, limits[1] * POOLED_STEP


def quantize_kernel(weight: Tensor) -> tuple[Tensor, Tensor]:
    """Kernels (O, C, r, r) as int8 and the step (O,) of each output channel."""
    steps = weight.abs().flatten(1).amax(1) / LARGEST
    steps = torch.where(steps > 0, steps, torch.ones_like(steps))
    return (weight / steps.view(-1, 1, 1, 1)).round().clamp(-LARGEST, LARGEST).to(torch.int8), steps


def build_graph(networks: dict[str, tuple[PDN, list[Half]]], limits: dict[str, Range]) -> Any:
    """A model of both networks.

    Args:
        networks: "teacher" with one half, "student" with two.
        limits: ranges by name, see `quantization.range_names`.
    Returns:
        an onnx.ModelProto that takes `images` (B, 3, H, W) float32 and gives the squared difference of student and
        teacher (B, 1, h, w) and the student's other half (B, C, h, w).
    Raises:
        ImportError: see `require_onnx`.
    """
    onnx, _ = require_onnx(CURE)
    graph = _Graph(onnx, limits)
    start = graph.add("QuantizeLinear", ["images", *graph.scale("image", limits["image"])], "image")
    ends = [end for name, (pdn, halves) in networks.items() for end in graph.network(name, pdn, halves, start)]
    difference = graph.add("Sub", ends[:2], "difference")
    square = graph.add("Mul", [difference, difference], "square")
    graph.add("ReduceMean", [square], "student_teacher", axes=[1], keepdims=1)
    helper, kind = onnx.helper, onnx.TensorProto.FLOAT
    outputs = [helper.make_tensor_value_info("student_teacher", kind, ["B", 1, "h", "w"])]
    outputs.append(helper.make_tensor_value_info(ends[2], kind, ["B", networks["teacher"][0].out_channels, "h", "w"]))
    whole = helper.make_graph(
        graph.nodes,
        "efficientad",
        [helper.make_tensor_value_info("images", kind, ["B", 3, "H", "W"])],
        outputs,
        graph.constants,
    )
    opsets = [helper.make_opsetid("", OPSET), helper.make_opsetid("com.microsoft", CONTRIB_OPSET)]
    return helper.make_model(whole, opset_imports=opsets, ir_version=IR_VERSION)


class _Graph:
    """Nodes and constants of a graph in the making."""

    def __init__(self, onnx: Any, limits: dict[str, Range]):
        self.onnx, self.limits = onnx, limits
        self.nodes: list[Any] = []
        self.constants: list[Any] = []
        self.steps: dict[str, float] = {}  # by the name of their constant

    def add(self, kind: str, inputs: list[str], output: str, **attributes: Any) -> str:
        """A node; the name of what it gives."""
        self.nodes.append(self.onnx.helper.make_node(kind, inputs, [output], **attributes))
        return output

    def constant(self, name: str, value: Any, dtype: type) -> str:
        """A constant; its name."""
        self.constants.append(self.onnx.numpy_helper.from_array(np.asarray(value, dtype=dtype), name))
        return name

    def scale(self, name: str, limits: Range) -> list[str]:
        """Step and zero point of a place, as constants; their names."""
        step, zero = scale_of(limits)
        self.steps[f"{name}.step"] = step
        return [self.constant(f"{name}.step", step, np.float32), self.constant(f"{name}.zero", zero, np.uint8)]

    def network(self, name: str, pdn: PDN, halves: list[Half], value: str) -> list[str]:
        """All layers of a network behind the quantized image; names of its halves, as float32."""
        layers, step, zero = LAYERS[pdn.size], "image.step", "image.zero"
        for number, (_, _, _, relu, pool) in enumerate(layers[:-1], 1):
            place = f"{name}.conv{number}"
            limits = (0.0, self.limits[place][1]) if relu else self.limits[place]
            value, step, zero = self.convolution(pdn, number, place, [value, step, zero], limits)
            if pool:
                source = [value, step, zero]
                step, zero = self.scale(f"{place}.pooled", pooled_range(limits))
                value = self.add(
                    "QLinearAveragePool",
                    [*source, step, zero],
                    f"{place}.pooled",
                    domain="com.microsoft",
                    kernel_shape=[2, 2],
                    strides=[2, 2],
                    pads=[int(pdn.padding)] * 4,
                    count_include_pad=1,
                )
        source, ends = [value, step, zero], []
        for half in halves:
            found = self.convolution(pdn, len(layers), half.name, source, self.limits[half.name], half)
            ends.append(self.add("DequantizeLinear", found, f"{half.name}.float"))
        return ends

    def convolution(
        self, pdn: PDN, number: int, place: str, source: list[str], limits: Range, half: Half | None = None
    ) -> list[str]:
        """A convolution, whose ReLU is that unsigned numbers end at 0; names of value, step and zero point."""
        conv = pdn.layer(number)
        part = slice(half.start, half.stop) if half else slice(None)
        weight, steps = quantize_kernel(conv.weight[part].detach().cpu())
        bias = (bias_of(conv)[part].detach().cpu().double() / (steps.double() * self.steps[source[1]])).round()
        kernel = [
            self.constant(f"{place}.weight", weight.numpy(), np.int8),
            self.constant(f"{place}.weight_step", steps.numpy(), np.float32),
            self.constant(f"{place}.weight_zero", np.zeros(len(steps)), np.int8),
        ]
        target = self.scale(place, limits)
        offset = self.constant(f"{place}.bias", bias.numpy(), np.int32)
        pads = [padding_of(conv)] * 4
        value = self.add("QLinearConv", [*source, *kernel, *target, offset], f"{place}.value", pads=pads)
        return [value, *target]
