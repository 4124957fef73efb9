"""Export graph: what a meta-architecture gives to be written to a file, and what the file must reproduce."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from d2road.utils.errors import ConfigError

if TYPE_CHECKING:
    from torch import nn

TASKS = ("anomaly", "detection", "grounding")


@dataclass(frozen=True)
class ExportOptions:
    """Flags of `d2road export` that a model may heed.

    Attributes:
        steps: of a sampler; None for the config's.
        nms: whether duplicates are suppressed inside the graph.
        image_size: (height, width) of a graph that takes one size alone; None for any size where the model can.
    """

    steps: int | None = None
    nms: bool = True
    image_size: tuple[int, int] | None = None

    def refuse_sampling(self, model: str) -> None:
        """For models without a sampler, which must not drop its options silently.

        Args:
            model: for messages.
        Raises:
            ConfigError: `steps` or `nms` was given.
        """
        for option, is_given in (("--steps", self.steps is not None), ("--no-nms", not self.nms)):
            if is_given:
                raise ConfigError(f"{option} is for DiffusionDet, this is {model}: leave it out")


@dataclass(frozen=True)
class GraphCheck:
    """Inputs of a graph and the outputs that the model itself computed, not the graph.

    Attributes:
        inputs, outputs: arrays by name, as the file takes and gives them.
    """

    inputs: Mapping[str, np.ndarray]
    outputs: Mapping[str, np.ndarray]


@dataclass(frozen=True)
class ExportGraph:
    """A model as a graph of tensors.

    Attributes:
        module: in eval mode; tensors in the order of `input_names` to a tuple of tensors in that of `output_names`.
            It is traced: shapes may enter arithmetic, but no Python branch may depend on a value or a dynamic size.
        dynamic: {input or output name: {axis: symbol}}; axes of outputs are optional, they only name them.
        checks: two test images with their expected outputs.
        tolerances: {output name: (absolute, relative)}: a value x may be off by absolute + relative * |x|.
        metadata: JSON-able: `task` is one of TASKS; meta_architecture, classes, thresholds, preprocessing, ...
    """

    module: "nn.Module"
    input_names: tuple[str, ...]
    output_names: tuple[str, ...]
    dynamic: Mapping[str, Mapping[int, str]]
    checks: tuple[GraphCheck, GraphCheck]
    tolerances: Mapping[str, tuple[float, float]]
    metadata: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.metadata.get("task") not in TASKS:
            raise ValueError(f"metadata has the task {self.metadata.get('task')!r}, expected one of {TASKS}")
        if set(self.tolerances) != set(self.output_names):
            raise ValueError(f"tolerances are of {sorted(self.tolerances)}, outputs are {sorted(self.output_names)}")
        for check in self.checks:
            if set(check.inputs) != set(self.input_names) or set(check.outputs) != set(self.output_names):
                raise ValueError("a check has other inputs or outputs than the graph")

    def example(self) -> tuple[np.ndarray, ...]:
        """Inputs to trace the module with: those of the first check, twice along dynamic axes of length 1.

        Whoever traces takes a length of 1 for a constant.
        """
        found = []
        for name in self.input_names:
            value = np.asarray(self.checks[0].inputs[name])
            for axis in self.dynamic.get(name, {}):
                if value.shape[axis] == 1:
                    value = np.repeat(value, 2, axis)
            found.append(value.copy())
        return tuple(found)
