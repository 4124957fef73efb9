"""Exponential moving average of a model's weights."""

import math
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

from d2road.utils.errors import CheckpointError, ConfigError


class ModelEma:
    """Keeps averages of a model's floating-point parameters and persistent buffers.

    After every optimizer step: average += (1 - decay) * (weight - average). A weight that does not change therefore
    keeps its exact value.

    Args:
        model: the module to average, not wrapped for distribution.
        decay: of an average per update, 0 <= decay < 1.
        device: where the averages live; "" is beside the weights.
        warm_up: grow the decay from 0 as decay * (1 - exp(-updates / 2000)), as YOLOX does.
    Raises:
        ConfigError: decay out of range.
    """

    def __init__(self, model: nn.Module, decay: float, device: str = "", warm_up: bool = False):
        if not 0 <= decay < 1:
            raise ConfigError(f"MODEL_EMA.DECAY is {decay}, expected 0 <= DECAY < 1, e.g. 0.999")
        self.decay = decay
        self.device = device
        self.warm_up = warm_up
        self.updates = 0
        self.weights: dict[str, torch.Tensor] = {}
        self.reset(model)

    def reset(self, model: nn.Module) -> None:
        """Start anew from the model's present weights."""
        self.updates = 0
        self.weights = {
            name: value.detach().clone().to(self.device or value.device)
            for name, value in model.state_dict().items()
            if value.is_floating_point()
        }

    @torch.no_grad()
    def update(self, model: nn.Module) -> None:
        """Take in the weights after an optimizer step."""
        self.updates += 1
        decay = self.decay * (1 - math.exp(-self.updates / 2000)) if self.warm_up else self.decay
        state = model.state_dict()
        averages = list(self.weights.values())
        values = [state[name].to(average.device) for name, average in self.weights.items()]
        torch._foreach_lerp_(averages, values, 1 - decay)

    @contextmanager
    def applied(self, model: nn.Module) -> Iterator[None]:
        """The model has the averaged weights inside, and its own, unchanged, afterwards."""
        state = model.state_dict()
        own = {name: state[name].detach().clone() for name in self.weights}
        self._copy(self.weights, state)
        try:
            yield
        finally:
            self._copy(own, state)

    @staticmethod
    @torch.no_grad()
    def _copy(source: dict[str, torch.Tensor], state: dict[str, torch.Tensor]) -> None:
        for name, value in source.items():
            state[name].copy_(value)  # entries of a state dict share the model's memory

    def state_dict(self) -> dict:
        return {"updates": self.updates, "weights": self.weights}

    def load_state_dict(self, state: dict) -> None:
        """Continue from a checkpoint.

        Raises:
            CheckpointError: it averages other weights than this model has.
        """
        if set(state["weights"]) != set(self.weights):
            odd = sorted(set(state["weights"]) ^ set(self.weights))
            raise CheckpointError(
                f"the averaged weights in the checkpoint are not those of this model: {odd[:5]} differ"
            )
        self.updates = state["updates"]
        for name, value in state["weights"].items():
            self.weights[name].copy_(value)
