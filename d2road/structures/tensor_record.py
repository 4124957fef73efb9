"""Records of tensors: dataclasses whose fields share their first axis and are indexed, detached, moved and joined."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from typing import Any, TypeVar

import torch
from torch import Tensor

from d2road.utils.uploads import upload_together

Record = TypeVar("Record", bound="TensorRecord")


@dataclass
class TensorRecord:
    """Base of dataclasses whose fields are tensors of one first axis, or such records; None stays None.

    Example: with boxes (P, 4) and classes (P,) as fields, `record[keep]` holds those of the rows to keep.
    """

    def __getitem__(self: Record, index: Tensor | slice) -> Record:
        """The rows of an index: booleans (P,), positions of any shape, or a slice."""
        return self.map(lambda value: value[index])

    def for_each(self: Record, index: Tensor) -> Record:
        """The rows at positions (N,), as `self[index]`; a record of one row is that row N times, without a copy."""
        return self.map(lambda value: rows_for_each(value, index))

    def detach(self: Record) -> Record:
        """The same numbers without their history."""
        return self.map(lambda value: value.detach())

    def to(self: Record, device: torch.device | str) -> Record:
        """The same on a device; what comes from the host goes there together."""
        values = [getattr(self, field.name) for field in fields(self)]
        moved = iter(upload_together([value for value in values if isinstance(value, Tensor)], device))
        return self.map(lambda value: value.to(device) if isinstance(value, TensorRecord) else next(moved))

    def take(self: Record, order: Tensor) -> Record:
        """Of fields (B, K, ...) the entries at `order` (B, K') along their second axis."""

        def pick(value: Any) -> Any:
            if isinstance(value, TensorRecord):
                return value.take(order)
            index = order.view(*order.shape, *[1] * (value.ndim - 2)).expand(*order.shape, *value.shape[2:])
            return value.gather(1, index)

        return self.map(pick)

    def map(self: Record, function: Callable[[Any], Any]) -> Record:
        """A record of what a function makes of each field."""
        values = (getattr(self, field.name) for field in fields(self))
        return type(self)(*(None if value is None else function(value) for value in values))

    @classmethod
    def cat(cls: type[Record], records: Sequence[Record]) -> Record:
        """The rows of at least one record, one after the other; a field that is None in the first stays None."""
        return cls(*(_join([getattr(record, field.name) for record in records]) for field in fields(cls)))


def rows_for_each(value: Any, index: Tensor) -> Any:
    """`TensorRecord.for_each` of a tensor (P, ...) or a record."""
    if isinstance(value, TensorRecord):
        return value.for_each(index)
    return value.expand(index.shape[0], *value.shape[1:]) if value.shape[0] == 1 else value[index]


def _join(values: list[Any]) -> Any:
    first = values[0]
    if first is None:
        return None
    return type(first).cat(values) if isinstance(first, TensorRecord) else torch.cat(values)
