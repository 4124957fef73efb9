"""Lower bounds of distances in a few principal directions.

With z the coordinates of a vector in p principal directions and r the length of what they leave out,

    |a - b|^2 >= |z_a - z_b|^2 + (r_a - r_b)^2 = |a|^2 + |b|^2 - 2 (z_a, r_a) . (z_b, r_b),

one matrix product of p + 1 instead of C numbers. Letters: N queries, M vectors, C channels.

Source: lower bounds by partial sums in an orthogonal basis are old (Fukunaga & Narendra, IEEE Trans. Comput. 1975; for
principal directions: McNames, PAMI 2001).
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from efficientad.modeling.distance_bounds import GROUP, BoundTable

ENERGY = 0.92  # share of the variance in the principal directions that are used
SAMPLE = 2**16  # vectors that the principal directions are taken from, at most


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


class PrincipalBounds:
    """Bounds of squared distances to fixed vectors, less those of the queries to their mean, in float32.

    Args:
        vectors: (M, C) float32; they are not kept.
        energy: share of their variance in the directions that are used; 1 for all.
    """

    def __init__(self, vectors: Tensor, energy: float | None = None):
        self.energy = ENERGY if energy is None else energy
        self.coordinates = PrincipalCoordinates.fit(vectors, self.energy)
        z, squares = self.coordinates.of(vectors)
        self.count, padding = len(vectors), -len(vectors) % GROUP
        self.products = F.pad(z, (0, 0, 0, padding)).mul_(-2).T.contiguous()  # (p + 1, M)
        self.squares = F.pad(squares, (0, padding), value=math.inf)  # (M,)
        self.largest = float(squares.max())

    def tables(self, excluded: Tensor | None, rows: int) -> Callable[[Tensor], BoundTable]:
        """See `DistanceBounds`."""
        squares = self.squares
        if excluded is not None:
            squares = squares.masked_fill(F.pad(excluded, (0, len(squares) - self.count)), math.inf)
        memory = squares.new_empty(rows, len(squares))  # once: fresh pages cost as much as products

        def table(queries: Tensor) -> BoundTable:
            z, own = self.coordinates.of(queries)
            values = torch.addmm(squares, z, self.products, out=memory[: len(queries)])
            rounding = self.coordinates.rounding(max(self.largest, float(own.max())))
            return BoundTable(values, lambda squared: squared - own + rounding)

        return table
