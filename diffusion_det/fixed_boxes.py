"""Sets of boxes that are the same for every image: a pyramid of regular grids, and Sobol points.

Letters: N boxes.
"""

import itertools
from functools import lru_cache

import torch
from torch import Tensor


@lru_cache(16)
def grid_boxes(count: int) -> Tensor:
    """Regular grids of boxes by octaves, in a number of choice.

    Octave k = 0, 1, ... has boxes of side 2^-k, in numbers that grow as 4^k, so that each octave covers the image as
    often as any other: as many octaves as cover it at least once. The boxes of one stand in rows, evenly over it.

    Args:
        count: N, from 1.
    Returns:
        shared, (N, 4) float64 cx, cy, w, h in units of the image, large boxes first.
    """
    octaves = 1
    while _covering(octaves + 1) <= count:
        octaves += 1
    rows = []
    for octave in range(octaves):
        first, last = (_rounded_share(count, _covering(k), _covering(octaves)) for k in (octave, octave + 1))
        rows += [(*center, 2.0**-octave, 2.0**-octave) for center in _grid_centers(last - first)]
    return torch.tensor(rows, dtype=torch.float64)


def _covering(octaves: int) -> int:
    """The least number of boxes with which so many octaves each cover the image: 0, 1, 5, 21, 85, 341, ..."""
    return (4**octaves - 1) // 3


def _rounded_share(count: int, part: int, whole: int) -> int:
    return (2 * count * part + whole) // (2 * whole)


def _grid_centers(count: int) -> list[tuple[float, float]]:
    """Centres of so many boxes in rows, from the upper left; where they do not fill a square, some rows have more."""
    lines = int(count**0.5)
    ends = [count * line // lines for line in range(lines + 1)]
    sizes = [end - begin for begin, end in itertools.pairwise(ends)]
    return [((i + 0.5) / size, (line + 0.5) / lines) for line, size in enumerate(sizes) for i in range(size)]


@lru_cache(16)
def sobol_normal(count: int) -> Tensor:
    """Sobol points as standard normal numbers: a sample of low discrepancy of what noise is drawn from.

    Points of the sequence are corners of the cells that they stand for; here they are the middle of theirs, so that
    none is infinite and the first 2^m of them are balanced in each coordinate.

    Args:
        count: N, from 1.
    Returns:
        shared, (N, 4) float64.
    Source: Sobol, USSR Computational Mathematics 7(4), 1967; direction numbers of Joe and Kuo, SIAM J. Sci. Comput. 30,
        2008. Not scrambled.
    """
    corners = torch.quasirandom.SobolEngine(4).draw(count, dtype=torch.float64)
    cells = 2 ** (count - 1).bit_length()
    return torch.special.ndtri(corners + 0.5 / cells)
