"""Tables of lower bounds of distances, and the pairs that a table leaves. Letters: N queries, M vectors, P pairs."""

import math
from collections.abc import Callable
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

GROUP = 32  # vectors whose smallest bound is looked at first


class BoundTable(NamedTuple):
    """Lower bounds of the distances of queries to vectors, in units of their own.

    Args:
        values: (N, M), float32 or int32, M a multiple of GROUP; `worst_of` its type for what is no neighbour.
        limit: from squared distances (N,) float32 to those values (N,), below `worst_of`, that no vector exceeds which
            is as near as that in float32.
    """

    values: Tensor
    limit: Callable[[Tensor], Tensor]


class DistanceBounds(Protocol):
    """Lower bounds of distances to fixed vectors."""

    def tables(self, excluded: Tensor | None, rows: int) -> Callable[[Tensor], BoundTable]:
        """What makes the table of queries (N, C); each may overwrite the one before.

        Args:
            excluded: (M,), True for vectors that are no neighbours.
            rows: N at most.
        """


def worst_of(dtype: torch.dtype) -> float | int:
    """The largest number of a type: the bound of what is no neighbour."""
    return math.inf if dtype.is_floating_point else torch.iinfo(dtype).max


def smallest_of_groups(bounds: Tensor) -> Tensor:
    """(N, M / GROUP) of bounds (N, M)."""
    return bounds.unflatten(1, (-1, GROUP)).amin(2)


def near_pairs(bounds: Tensor, smallest: Tensor, limit: Tensor) -> tuple[Tensor, Tensor]:
    """Rows and columns (P,) of bounds (N, M) that are not above a limit (N,) for each row.

    Args:
        smallest: of each group of bounds, see `smallest_of_groups`: most groups have none.
    """
    groups = bounds.unflatten(1, (-1, GROUP))
    some = (smallest <= limit[:, None]).flatten().nonzero()[:, 0]
    rows = some // groups.shape[1]
    inside, places = (groups.flatten(0, 1).index_select(0, some) <= limit[rows, None]).nonzero(as_tuple=True)
    return rows.index_select(0, inside), (some % groups.shape[1]).index_select(0, inside) * GROUP + places
