"""Inference in bfloat16 of a model that was trained in float32: weights are rounded once, values on their way."""

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from d2road.export.precision import BF16, FP32

ROUNDED = (nn.Conv2d, nn.Linear, nn.MultiheadAttention)


class Bfloat16Inference:
    """What a meta-architecture inherits to offer INFERENCE.PRECISION bf16, see `d2road.engine.meta_arch`.

    Attributes:
        rounded_parts: submodules whose convolutions and linear layers are in bfloat16.
        exact_layers: names of layers among these that stay in float32, such as the last ones.
    """

    rounded_parts: ClassVar[tuple[str, ...]]
    exact_layers: ClassVar[tuple[str, ...]] = ()
    precisions = (FP32, BF16)
    inference_precision = FP32

    def set_precision(self, precision: str) -> None:
        """Predict in one of `precisions` from now on; bf16 is not undone."""
        self.inference_precision = precision
        if precision == BF16:
            model: Any = self
            for name in self.rounded_parts:
                round_weights(model.get_submodule(name), self.exact_layers)

    def inference_autocast(self, device: torch.device) -> AbstractContextManager:
        """A context in which layers of `rounded_parts` compute in the chosen precision."""
        lower = self.inference_precision == BF16
        return torch.autocast(device.type, dtype=torch.bfloat16) if lower else nullcontext()

    def in_full(self, values: Tensor) -> Tensor:
        """What a part gave, in float32 for those that compute in full behind it; else as it is."""
        return values.float() if self.inference_precision == BF16 else values


def round_weights(module: nn.Module, exact_layers: Sequence[str] = ()) -> None:
    """Convolutions and linear layers of a module to bfloat16, in place.

    Under autocast each call would round them anew.

    Args:
        exact_layers: names of submodules, of any depth, that stay as they are with all that is in them.
    """
    for name, child in module.named_children():
        if name in exact_layers:
            continue
        if isinstance(child, ROUNDED):
            for parameter in child.parameters(recurse=False):
                parameter.data = parameter.data.to(torch.bfloat16)
        round_weights(child, exact_layers)
