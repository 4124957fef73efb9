"""Memory bank (PatchCore): anomaly maps by distances to the nearest features that good images have shown.

What a student and an autoencoder learn has to be worth more than this, which learns nothing. Letters: M vectors of the
bank, N of an image, C channels, h x w cells.

Source: the bank of patch features is that of Roth et al., PatchCore, CVPR 2022; vectors are drawn at random instead of
by their greedy search, and the score is the largest distance, without the reweighting.
"""

from collections.abc import Iterable

import torch
from torch import Tensor

from d2road.utils.errors import CheckpointError, DataError

# Entries of the table of distances that is held at once: 128 MB.
CHUNK = 2**25


class MemoryBank:
    """Features of good images, a bounded number of them.

    Args:
        vectors: (M, C).
    Raises:
        ValueError: no vector, or some are not finite.
    """

    def __init__(self, vectors: Tensor):
        if vectors.ndim != 2 or not len(vectors):
            raise DataError(f"a memory bank needs vectors (M, C), got {tuple(vectors.shape)}: are there images?")
        if not bool(torch.isfinite(vectors).all()):
            raise CheckpointError(
                "a memory bank cannot hold features that are NaN or infinite; check the teacher's weights"
            )
        self.vectors = vectors.float()
        self._squares = self.vectors.square().sum(1)

    @classmethod
    def from_maps(cls, maps: Iterable[Tensor], count: int, size: int, seed: int = 0) -> "MemoryBank":
        """Draw `size` places at random, as many of each image, without keeping the maps.

        Args:
            maps: (C, h, w) of each image.
            count: number of images, which decides how many places each gives.
            size: M; all places are taken where there are fewer.
            seed: of the drawing.
        Raises:
            ValueError: there are more or fewer maps than `count`, or none.
        """
        if size < 1:
            raise ValueError(f"a memory bank of {size} vectors: choose at least 1, better 20000")
        generator, parts = torch.Generator().manual_seed(seed), []
        for number, features in enumerate(maps):
            if number >= count:
                raise ValueError(f"there are more than {count} maps for the memory bank")
            cells = features.flatten(1).T  # (h * w, C)
            share = size * (number + 1) // count - size * number // count
            chosen = torch.randperm(len(cells), generator=generator)[:share]
            parts.append(cells[chosen.to(cells.device)].clone())
        if len(parts) < count:
            raise ValueError(f"there are {len(parts)} maps for the memory bank, {count} were announced")
        return cls(torch.cat(parts) if parts else torch.zeros(0, 1))

    def __len__(self) -> int:
        return len(self.vectors)

    def distances(self, features: Tensor) -> Tensor:
        """Euclidean distance (N,) of vectors (N, C) to their nearest neighbour in the bank.

        Raises:
            ValueError: another number of channels.
        """
        if features.ndim != 2 or features.shape[1] != self.vectors.shape[1]:
            raise ValueError(
                f"features are {tuple(features.shape)}, the bank's vectors have {self.vectors.shape[1]} channels: both "
                "must come from the same teacher"
            )
        features = features.float()
        rows = max(1, CHUNK // len(self))
        # |a - b|^2 = |a|^2 + |b|^2 - 2 a b finds the neighbour fast; its rounding would show in small distances, so
        # the distance itself is taken from the difference.
        nearest = [
            torch.addmm(self._squares, part, self.vectors.T, alpha=-2).argmin(1) for part in features.split(rows)
        ]
        return (features - self.vectors[torch.cat(nearest)]).norm(dim=1)

    def distance_map(self, features: Tensor) -> Tensor:
        """Distances (h, w) of a feature map (C, h, w)."""
        return self.distances(features.flatten(1).T).view(features.shape[-2:])
