"""Records of tensors: dataclasses whose fields share their first axis and are indexed, detached and moved together."""

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import TypeVar

import torch
from torch import Tensor

Record = TypeVar("Record", bound="TensorRecord")


@dataclass
class TensorRecord:
    """Base of dataclasses whose fields are tensors of one first axis, or such records; None stays None.

    Example: with boxes (P, 4) and classes (P,) as fields, `record[keep]` holds those of the rows to keep.
    """

    def __getitem__(self: Record, index: Tensor) -> Record:
        """The rows of an index: booleans (P,), or positions of any shape."""
        return self.map(lambda value: value[index])

    def detach(self: Record) -> Record:
        """The same numbers without their history."""
        return self.map(lambda value: value.detach())

    def to(self: Record, device: torch.device | str) -> Record:
        """The same on a device."""
        return self.map(lambda value: value.to(device))

    def map(self: Record, function: Callable) -> Record:
        """A record of what a function makes of each field."""
        values = (getattr(self, field.name) for field in fields(self))
        return type(self)(*(None if value is None else function(value) for value in values))
