"""Coreset selection of PatchCore: few vectors such that each of many is near one of them (k-centre problem).

Letters: N vectors of C channels, a pool of P candidates.

Source: farthest-point greedy of Gonzalez, Theor. Comput. Sci. 1985, whose covering radius is at most twice the smallest
possible one, as in Algorithm 1 of Roth et al., PatchCore, CVPR 2022. Differs: no random projection before, and an order
of computation that is many times as fast, see `FarthestPoints`.
"""

import math
from collections.abc import Iterator

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from d2road.utils.errors import ConfigError, DataError
from d2road.utils.progress import track
from efficientad.modeling.distance_bounds import GROUP, near_pairs, smallest_of_groups
from efficientad.modeling.memory_bank import MemoryBank
from efficientad.modeling.nearest_neighbours import PAIRS
from efficientad.modeling.principal_bounds import PrincipalCoordinates

METHODS = ("greedy", "approximate", "random")
POOL = 1024  # P
CENTERS = 1024  # chosen vectors that others are compared with at once
ROWS = 512  # others at once: their bounds stay in the processor's cache
# Share of the variance in the directions that bound distances, and largest cosine that is assumed for the rest.
EXACT, APPROXIMATE = (0.93, 1.0), (0.9, 0.8)
HUGE = torch.finfo(torch.float32).max / 2  # no distance yet
ASLEEP = 0.93  # radius below which vectors wait, of the one before


def select_coreset(vectors: Tensor, size: int, method: str = "greedy", seed: int = 0, show: bool = True) -> Tensor:
    """Positions (size,) of the vectors of a coreset, in the order in which they were chosen.

    The same for a seed whatever the number of threads.

    Args:
        vectors: (N, C).
        size: at most N.
        method: "greedy": in each step the vector that is farthest from all chosen ones, the first of equal ones;
            "approximate": the same with distances that may be somewhat too large, in less time; "random".
        seed: of the first vector, or of all random ones.
        show: progress; False for a choice that is one of many.
    Raises:
        ConfigError: an unknown method, or a size that cannot be. DataError: vectors that are not finite.
    """
    if method not in METHODS:
        raise ConfigError(f"coreset by {method!r}: choose {', '.join(METHODS)}")
    if vectors.ndim != 2 or not 1 <= size <= len(vectors):
        raise ConfigError(
            f"a coreset of {size} among vectors of shape {tuple(vectors.shape)}: choose 1 to their number"
        )
    if not bool(torch.isfinite(vectors).all()):
        raise DataError("a coreset cannot be chosen among features that are NaN or infinite; check the weights")
    generator = torch.Generator().manual_seed(seed)
    if method == "random":
        return torch.randperm(len(vectors), generator=generator)[:size].to(vectors.device)
    first = int(torch.randint(len(vectors), (1,), generator=generator))
    points = FarthestPoints(vectors.float(), first, *(EXACT if method == "greedy" else APPROXIMATE))
    steps = points.choose(size)
    chosen = list(track(steps, size, "coreset") if show else steps)
    return torch.tensor(chosen, device=vectors.device)


def covering_radius(vectors: Tensor, chosen: Tensor) -> float:
    """Largest distance of vectors (N, C) to the nearest of those at positions `chosen`."""
    return float(MemoryBank(vectors[chosen]).distances(vectors).max())


class FarthestPoints:
    """Farthest-point greedy choice, exact and lazy.

    The P vectors with the largest distances are a pool: as long as the largest distance in it is not below the largest
    outside, which can only shrink, the greedy choice is made in the pool alone. Then all that were chosen are compared
    with the others at once, by lower bounds first. Vectors whose distance is too small to be chosen soon wait, and are
    compared with what they missed when their turn comes, if it does.

    Distances are those of vectors rounded to integers times a power of 2, about 2^-21 of the largest number: sums of
    products are exact in float64, and no order of computation changes a choice.

    Args:
        vectors: (N, C) float32, finite.
        first: position of the first choice.
        energy: share of the variance in the directions that bound distances.
        cosine: largest one that is assumed between what two vectors have beside these directions. Below 1 the bounds
            are tighter, and some distances that would become smaller stay as they were.
    """

    def __init__(self, vectors: Tensor, first: int, energy: float, cosine: float):
        count, channels = vectors.shape
        bits = math.floor((53 - math.log2(4 * channels)) / 2)
        largest = float(vectors.abs().max())
        self.step = 2.0 ** (math.ceil(math.log2(largest)) - bits) if largest else 1.0
        self.grid = (vectors / self.step).round_()  # (N, C) integers
        coordinates = PrincipalCoordinates.fit(self.grid, energy)
        self.coordinates, self.squares = coordinates.of(self.grid)  # (N, p + 1), (N,)
        self.coordinates[:, -1] *= math.sqrt(cosine)
        self.tolerance = (channels + 8) * 2.0**-23
        self.slack = coordinates.rounding(float(self.squares.max()))
        self.chosen = torch.tensor([first], device=vectors.device)
        # Squared distance to the first `seen` of the chosen vectors, -1 for these themselves.
        self.squared = torch.full((count,), math.inf, dtype=torch.float64, device=vectors.device)
        self.seen = torch.zeros(count, dtype=torch.long, device=vectors.device)
        self.level = math.inf  # awake: squared distance at least this
        self.awake = torch.arange(count, device=vectors.device)

    def choose(self, size: int) -> Iterator[int]:
        """Positions of the choices, one after the other."""
        yield from self.chosen.tolist()
        while len(self.chosen) < size:
            self._compare(self.awake)
            pool, threshold = self._pool()
            new = pool[self._choose_in(pool, threshold, size - len(self.chosen))]
            self.chosen = torch.cat([self.chosen, new])
            yield from new.tolist()

    def _pool(self) -> tuple[Tensor, float]:
        """Positions of the largest distances, in order, and a bound of all others (equal ones come later in order)."""
        while self.level > 0 and int((self.squared[self.awake] >= self.level).sum()) < POOL // 4:
            self._wake()
        squared = self.squared[self.awake]
        threshold = max(self.level, float(squared.topk(min(POOL, len(squared))).values[-1]))
        inside = (squared > threshold).nonzero()[:, 0]
        equal = (squared == threshold).nonzero()[:, 0][: POOL - len(inside)]
        return self.awake[torch.cat([inside, equal]).sort().values], threshold

    def _wake(self) -> None:
        """Take in the vectors of the next smaller distances."""
        largest = self.squared.topk(min(POOL, len(self.squared))).values
        self.level = max(0.0, min(ASLEEP**2 * min(self.level, float(largest[0])), float(largest[-1])))
        self.awake = (self.squared >= self.level).nonzero()[:, 0]
        self._compare(self.awake)
        self.awake = self.awake[self.squared[self.awake] >= self.level]

    def _choose_in(self, pool: Tensor, threshold: float, most: int) -> Tensor:
        """Places in the pool of the next choices, at most so many: as long as none outside can be farther."""
        vectors = self.grid[pool].double()
        own = vectors.square().sum(1)
        between = torch.addmm(own, vectors, vectors.T, alpha=-2).add_(own[:, None]).cpu().numpy()  # (P, P)
        distances, places = self.squared[pool].cpu().numpy(), list[int]()
        while len(places) < most:
            place = int(distances.argmax())  # the first of equal ones
            if distances[place] < threshold:
                break
            np.minimum(distances, between[place], out=distances)
            distances[place] = -1
            places.append(place)
        return torch.tensor(places, device=pool.device)

    def _compare(self, rows: Tensor) -> None:
        """Bring the distances of vectors to date with all choices."""
        seen = self.seen[rows]
        for start in seen.unique().tolist():
            some = rows[seen == start]
            for centers in self.chosen[start:].split(CENTERS):
                self._compare_with(some, centers)
        self.seen[rows] = len(self.chosen)
        self.squared[self.chosen] = -1

    def _compare_with(self, rows: Tensor, centers: Tensor) -> None:
        padding = -len(centers) % GROUP
        products = F.pad(self.coordinates[centers], (0, 0, 0, padding)).mul_(-2).T.contiguous()
        squares = F.pad(self.squares[centers], (0, padding), value=math.inf)
        pairs = []
        for part in rows.split(ROWS):
            bounds = torch.addmm(squares, self.coordinates.index_select(0, part), products)  # (N, B)
            limit = self.squared[part].clamp(max=HUGE).float() - self.squares[part] + self.slack
            near, places = near_pairs(bounds, smallest_of_groups(bounds), limit)
            pairs.append(torch.stack([part.index_select(0, near), centers.index_select(0, places)]))
        for row, center in torch.cat(pairs, 1).split(PAIRS, dim=1):
            difference = self.grid.index_select(0, row).sub_(self.grid.index_select(0, center))
            # float32 is near enough to tell most that cannot be; the others are exact integers in float64.
            nearer = difference.square().sum(1) <= self.squared[row].float() * (1 + self.tolerance)
            exact = difference[nearer].double().square_().sum(1)
            self.squared.scatter_reduce_(0, row[nearer], exact, "amin")
