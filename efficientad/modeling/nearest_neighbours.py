"""Exact nearest neighbours: only pairs whose lower bound is below a distance that has been found are looked at in full.

So the results are those of all distances. Letters: N queries, M vectors, C channels, P pairs.
"""

from collections.abc import Callable
from importlib.util import find_spec

import torch
from torch import Tensor

from d2road.utils.errors import ConfigError, DataError
from d2road.utils.processor import multiplies_bytes
from efficientad.modeling.distance_bounds import (
    GROUP,
    BoundTable,
    near_pairs,
    smallest_of_groups,
    worst_of,
)
from efficientad.modeling.integer_bounds import IntegerBounds
from efficientad.modeling.principal_bounds import PrincipalBounds

SEARCHES = ("auto", "integer", "principal")
ENOUGH = 2048  # vectors for which an integer search repays its set-up
ROWS = 128  # queries at once
INTEGER_ROWS = 256  # likewise by integers, whose products are so fast that the number of calls counts
FEW = 0.01  # share of pairs up to which looking at each costs less than a product of all channels
MANY = 64  # groups with near pairs of a query from which on its bounds by integers tell too little
SMALLEST, LARGEST = 1e-18, 1e17  # of the largest number of vectors: squares of others leave float32
PAIRS = 2**12  # pairs whose vectors are gathered at once

CURE = "are the image and the weights of the feature extractor intact?"

Found = tuple[Tensor, Tensor]  # distances (N, k) and positions (N, k)


class NeighbourSearch:
    """Nearest neighbours of queries among fixed vectors.

    Args:
        vectors: (M, C) float32, of which only the bounds are kept.
        lookup: vectors (P, C) float32 at positions (P,): what exact distances are taken to.
        search: which bounds come first, with the same results: "integer", on the CPU; "principal"; "auto" for
            integers where onnxruntime and a processor with VNNI or AMX make them the faster ones.
    Raises:
        ConfigError: another search. ImportError: "integer" without onnx and onnxruntime.
        DataError: vectors that are not finite, or whose squares float32 cannot hold.
    """

    def __init__(self, vectors: Tensor, lookup: Callable[[Tensor], Tensor], search: str = "auto"):
        if search not in SEARCHES:
            raise ConfigError(f"a search of nearest neighbours by {search!r}: choose one of {', '.join(SEARCHES)}")
        largest = float(vectors.abs().max()) if vectors.numel() else 0.0
        if largest and not SMALLEST <= largest <= LARGEST:  # NaN is none of these
            raise DataError(
                f"vectors of a memory bank reach {largest:g}, expected finite numbers whose largest is from "
                f"{SMALLEST:g} to {LARGEST:g}: {CURE}"
            )
        self.lookup = lookup
        (self.count, self.channels), self.device = vectors.shape, vectors.device
        self.integer = IntegerBounds(vectors) if takes_integers(search, vectors) else None
        self.principal = None if self.integer is not None else PrincipalBounds(vectors)

    def nearest(self, queries: Tensor, k: int, excluded: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Distances (N, k), smallest first, and positions (N, k) of the nearest vectors.

        Equal distances are in the order of positions. A distance is the length of a float32 difference: 0 for a vector
        that is there.

        Args:
            queries: (N, C) float32.
            k: at most M, less the excluded ones.
            excluded: (M,), True where a vector does not count.
        Raises:
            DataError: queries that are not finite, or whose squares float32 cannot hold.
        """
        wrong = ~(queries.abs().amax(1) <= LARGEST)
        if bool(wrong.any()):
            raise DataError(
                f"{int(wrong.sum())} of {len(queries)} vectors of an image hold numbers that are not finite or above "
                f"{LARGEST:g}: {CURE}"
            )
        distances = queries.new_empty(len(queries), k)
        found = distances, torch.empty_like(distances, dtype=torch.long)
        rows = torch.arange(len(queries), device=queries.device)
        if self.integer is not None and len(rows):
            rows = self._find_by_integers(self.integer, queries, rows, excluded, found)
        if len(rows):
            self._find_by_directions(queries, rows, excluded, found)
        return found

    def _find_by_integers(
        self, bounds: IntegerBounds, queries: Tensor, rows: Tensor, excluded: Tensor | None, found: Found
    ) -> Tensor:
        """Write what is found for some rows of the queries; returns those whose bounds tell too little."""
        tables, k, left = bounds.tables(excluded, min(INTEGER_ROWS, len(rows))), found[0].shape[1], [rows[:0]]
        for some in rows.split(INTEGER_ROWS):
            part = queries.index_select(0, some)
            values, smallest, limit = self._limits(part, tables(part), k)
            few = (smallest <= limit[:, None]).sum(1) < MANY + k
            if not bool(few.all()):
                left.append(some[~few])
                some, part, values, smallest, limit = (of[few] for of in (some, part, values, smallest, limit))
            self._write(part, some, near_pairs(values, smallest, limit), found)
        return torch.cat(left)

    def _find_by_directions(self, queries: Tensor, rows: Tensor, excluded: Tensor | None, found: Found) -> None:
        """Write what is found for some rows of the queries."""
        bounds, size = self.principal or self._prepare(), min(ROWS, len(rows))
        tables = bounds.tables(excluded, size)
        for some in rows.split(ROWS):
            part = queries.index_select(0, some)
            pairs = near_pairs(*self._limits(part, tables(part), found[0].shape[1]))
            self._write(part, some, pairs, found)
            if len(pairs[0]) > FEW * len(part) * self.count and bounds.energy < 1:  # so few directions tell little
                bounds = self._prepare(energy=1.0)
                tables = bounds.tables(excluded, size)

    def _prepare(self, energy: float | None = None) -> PrincipalBounds:
        vectors = self.lookup(torch.arange(self.count, device=self.device))
        self.principal = PrincipalBounds(vectors, energy)
        return self.principal

    def _limits(self, queries: Tensor, table: BoundTable, k: int) -> tuple[Tensor, Tensor, Tensor]:
        """Bounds (N, M), the smallest of each group, and the largest (N,) of a vector that may be among the k."""
        smallest = smallest_of_groups(table.values)
        return table.values, smallest, table.limit(self._reached(queries, table.values, smallest, k))

    def _reached(self, queries: Tensor, bounds: Tensor, smallest: Tensor, k: int) -> Tensor:
        """(N,) squared distances within which k vectors are: the k-th of the best of the best groups, or of all."""
        if smallest.shape[1] >= k:
            groups = smallest.topk(k, dim=1, largest=False).indices if k > 1 else smallest.argmin(1, keepdim=True)
            rows = torch.arange(len(queries), device=queries.device)[:, None].expand_as(groups)
            positions = groups * GROUP + bounds.unflatten(1, (-1, GROUP))[rows, groups].argmin(2)
            if bool((bounds.gather(1, positions) < worst_of(bounds.dtype)).all()):
                return self._squared(queries, rows.flatten(), positions.flatten()).view(-1, k).amax(1)
        return torch.full((len(queries),), torch.finfo(torch.float32).max, device=queries.device)

    def _write(self, queries: Tensor, rows: Tensor, pairs: tuple[Tensor, Tensor], found: Found) -> None:
        """Write the k nearest of each query to its row, from the pairs that may be."""
        if len(rows):
            squared = self._squared(queries, *pairs)
            nearest = _smallest_of_pairs(squared, *pairs, len(queries), found[0].shape[1])
            for whole, part in zip(found, nearest):
                whole[rows] = part

    def _squared(self, queries: Tensor, rows: Tensor, positions: Tensor) -> Tensor:
        """(P,) squared distances of pairs, by differences."""
        parts = [
            (queries.index_select(0, some) - self.lookup(others)).square_().sum(1)
            for some, others in zip(rows.split(PAIRS), positions.split(PAIRS))
        ]
        return torch.cat(parts)


def takes_integers(search: str, vectors: Tensor) -> bool:
    """Whether bounds of these vectors (M, C) are taken by integers, see `NeighbourSearch`."""
    if search != "auto":
        return search == "integer" and vectors.device.type == "cpu"
    installed = all(find_spec(name) is not None for name in ("onnx", "onnxruntime"))
    return installed and len(vectors) >= ENOUGH and vectors.device.type == "cpu" and multiplies_bytes()


def _smallest_of_pairs(squared: Tensor, rows: Tensor, positions: Tensor, count: int, k: int) -> tuple[Tensor, Tensor]:
    """The k smallest of each row's pairs, ordered by distance, then position; pairs come in order of rows."""
    order = torch.argsort(positions, stable=True)
    order = order[torch.argsort(squared[order], stable=True)]
    order = order[torch.argsort(rows[order], stable=True)]
    first = torch.searchsorted(rows, torch.arange(count, device=rows.device))
    taken = order[first[:, None] + torch.arange(k, device=rows.device)]  # (N, k)
    return squared[taken].sqrt(), positions[taken]
