"""Exact nearest neighbours by a lower bound of distances in a few principal directions.

With z the coordinates of a vector in p principal directions and r the length of what they leave out,

    |a - b|^2 >= |z_a - z_b|^2 + (r_a - r_b)^2 = |a|^2 + |b|^2 - 2 (z_a, r_a) . (z_b, r_b),

one matrix product of p + 1 instead of C numbers. Only pairs whose bound is below a distance that has been found are
looked at in full, so the results are those of all distances. Letters: N queries, M vectors, C channels, P pairs.

Source: lower bounds by partial sums in an orthogonal basis are old (Fukunaga & Narendra, IEEE Trans. Comput. 1975; for
principal directions: McNames, PAMI 2001).
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

ENERGY = 0.92  # share of the variance in the principal directions that are used
GROUP = 32  # vectors whose smallest bound is looked at first
ROWS = 128  # queries at once
SAMPLE = 2**16  # vectors that the principal directions are taken from, at most
FEW = 0.01  # share of pairs up to which looking at each costs less than a product of all channels
PAIRS = 2**12  # pairs whose vectors are gathered at once


@dataclass(frozen=True)
class PrincipalCoordinates:
    """Coordinates that bound distances from below.

    Args:
        mean: (C,).
        directions: (C, p), orthonormal; all C if the variance is not in half of them.
    """

    mean: Tensor
    directions: Tensor

    @classmethod
    def fit(cls, vectors: Tensor, energy: float) -> "PrincipalCoordinates":
        """The principal directions of vectors (M, C) that hold a share of their variance."""
        mean = vectors.mean(0)
        centred = (vectors[:: -(-len(vectors) // SAMPLE)] - mean).double()
        values, directions = torch.linalg.eigh(centred.T @ centred)
        share = values.flip(0).clamp(min=0).cumsum(0)
        count = int((share < energy * share[-1]).sum()) + 1
        if 2 * count > vectors.shape[1]:
            count = vectors.shape[1]
        return cls(mean, directions.flip(1)[:, :count].float().contiguous())

    def of(self, vectors: Tensor) -> tuple[Tensor, Tensor]:
        """(z, r) of vectors (N, C) as (N, p + 1), and their squared lengths (N,)."""
        centred = vectors - self.mean
        z, squares = centred @ self.directions, centred.square().sum(1)
        left_out = (squares - z.square().sum(1)).clamp(min=0).sqrt()
        return torch.cat([z, left_out[:, None]], 1), squares

    def rounding(self, largest_square: float) -> float:
        """What float32 may add to a bound of vectors up to this squared length."""
        return 4 * (len(self.mean) + 8) * 2.0**-24 * largest_square


class NeighbourSearch:
    """Nearest neighbours of queries among fixed vectors.

    Args:
        vectors: (M, C) float32, of which only the bounds are kept.
        lookup: vectors (P, C) float32 at positions (P,): what exact distances are taken to.
    """

    def __init__(self, vectors: Tensor, lookup: Callable[[Tensor], Tensor]):
        self.lookup = lookup
        self.count, self.channels = vectors.shape
        self._prepare(vectors, ENERGY)

    def _prepare(self, vectors: Tensor, energy: float) -> None:
        self.energy, self.coordinates = energy, PrincipalCoordinates.fit(vectors, energy)
        z, squares = self.coordinates.of(vectors)
        padding = -len(vectors) % GROUP
        self.products = F.pad(z, (0, 0, 0, padding)).mul_(-2).T.contiguous()  # (p + 1, M)
        self.squares = F.pad(squares, (0, padding), value=math.inf)  # (M,)
        self.largest = float(squares.max())

    def nearest(self, queries: Tensor, k: int, excluded: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Distances (N, k), smallest first, and positions (N, k) of the nearest vectors.

        Equal distances are in the order of positions. A distance is the length of a float32 difference: 0 for a vector
        that is there.

        Args:
            queries: (N, C) float32.
            k: at most M, less the excluded ones.
            excluded: (M,), True where a vector does not count.
        """
        squares = self.squares
        if excluded is not None:
            squares = squares.masked_fill(F.pad(excluded, (0, len(squares) - self.count)), math.inf)
        memory = queries.new_empty(min(ROWS, len(queries)), len(squares))  # once: fresh pages cost as much as products
        parts = [self._nearest(part, k, squares, memory[: len(part)]) for part in queries.split(ROWS) if len(part)]
        if not parts:
            return queries.new_zeros(0, k), torch.zeros(0, k, dtype=torch.long, device=queries.device)
        distances, positions = zip(*parts)
        return torch.cat(distances), torch.cat(positions)

    def _nearest(self, queries: Tensor, k: int, squares: Tensor, memory: Tensor) -> tuple[Tensor, Tensor]:
        z, own = self.coordinates.of(queries)
        bounds = torch.addmm(squares, z, self.products, out=memory)  # (N, M), less |query|^2
        smallest = smallest_of_groups(bounds)
        limit = self._limit(queries, bounds, smallest, k)
        limit = limit - own + self.coordinates.rounding(max(self.largest, float(own.max())))
        rows, positions = near_pairs(bounds, smallest, limit)
        if len(rows) > FEW * bounds.numel() and self.energy < 1:  # bounds in so few directions tell little: take all
            self._prepare(self.lookup(torch.arange(self.count, device=queries.device)), energy=1.0)
        return _smallest_of_pairs(self._squared(queries, rows, positions), rows, positions, len(queries), k)

    def _limit(self, queries: Tensor, bounds: Tensor, smallest: Tensor, k: int) -> Tensor:
        """(N,) squared distances within which k vectors are: the k-th of the best of the best groups, or of all."""
        if smallest.shape[1] >= k:
            groups = smallest.topk(k, dim=1, largest=False).indices if k > 1 else smallest.argmin(1, keepdim=True)
            rows = torch.arange(len(queries), device=queries.device)[:, None].expand_as(groups)
            positions = groups * GROUP + bounds.unflatten(1, (-1, GROUP))[rows, groups].argmin(2)
            if bool(torch.isfinite(bounds.gather(1, positions)).all()):
                return self._squared(queries, rows.flatten(), positions.flatten()).view(-1, k).amax(1)
        return torch.full((len(queries),), torch.finfo(torch.float32).max, device=queries.device)

    def _squared(self, queries: Tensor, rows: Tensor, positions: Tensor) -> Tensor:
        """(P,) squared distances of pairs, by differences."""
        parts = [
            (queries.index_select(0, some) - self.lookup(others)).square_().sum(1)
            for some, others in zip(rows.split(PAIRS), positions.split(PAIRS))
        ]
        return torch.cat(parts)


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


def _smallest_of_pairs(squared: Tensor, rows: Tensor, positions: Tensor, count: int, k: int) -> tuple[Tensor, Tensor]:
    """The k smallest of each row's pairs, ordered by distance, then position; pairs come in order of rows."""
    order = torch.argsort(positions, stable=True)
    order = order[torch.argsort(squared[order], stable=True)]
    order = order[torch.argsort(rows[order], stable=True)]
    first = torch.searchsorted(rows, torch.arange(count, device=rows.device))
    taken = order[first[:, None] + torch.arange(k, device=rows.device)]  # (N, k)
    return squared[taken].sqrt(), positions[taken]
