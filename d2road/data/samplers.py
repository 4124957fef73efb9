"""Deterministic, resumable training sampler: which images a step gets is a pure function of the seed.

One endless stream of dataset indices is shared by all processes. Consecutive images of it form micro-batches (what one
process passes through the network at once), consecutive micro-batches form the batch of one optimizer step:

    step s = micro-batches of rank 0, then of rank 1, ...     (each rank has GRAD_ACCUM_STEPS micro-batches in a step)

so the images of a step depend neither on the number of data workers nor, without aspect-ratio grouping, on the number
of processes. Skipping the first n steps draws their indices and nothing else.
"""

from collections.abc import Iterator, Sequence
from itertools import islice

import numpy as np
import torch
from torch.utils.data import Sampler

from d2road.utils.errors import ConfigError

_PRIME = 0x9E3779B97F4A7C15  # 2**64 / golden ratio: spreads consecutive positions (SplitMix64)
_MASK = 0xFFFFFFFFFFFFFFFF


class TrainingBatches(Sampler):
    """Yields the micro-batches of one process, endlessly: each a list of (dataset index, sample seed).

    Args:
        repeat_factors: (N,) how often each image comes in one pass, on average; 0 leaves it out, 1 is once.
        micro_batch_size: images that one process handles at once.
        micro_batches_per_step: micro-batches that one process handles in one optimizer step.
        seed: of the shuffling and of the sample seeds.
        rank, world_size: this process among all.
        groups: (N,) group of each image, or None. A micro-batch holds images of one group (aspect-ratio grouping).
        start_step: optimizer steps that were already done.
    Raises:
        ValueError: no image can be drawn, a size is below one, or lengths differ.
    """

    def __init__(
        self,
        repeat_factors: torch.Tensor,
        *,
        micro_batch_size: int,
        micro_batches_per_step: int = 1,
        seed: int,
        rank: int = 0,
        world_size: int = 1,
        groups: Sequence[int] | None = None,
        start_step: int = 0,
    ):
        if float(repeat_factors.sum()) <= 0 or len(repeat_factors) == 0:
            raise ConfigError(f"none of the {len(repeat_factors)} training images has a repeat factor above 0")
        sizes = (micro_batch_size, micro_batches_per_step, world_size)
        if min(sizes) < 1 or start_step < 0 or not 0 <= rank < world_size:
            raise ValueError(
                f"micro_batch_size {micro_batch_size}, micro_batches_per_step {micro_batches_per_step} and "
                f"world_size {world_size} must be 1 or more, start_step {start_step} not negative, rank {rank} in "
                "0..world_size-1"
            )
        if groups is not None and len(groups) != len(repeat_factors):
            raise ValueError(f"{len(groups)} groups for {len(repeat_factors)} images")
        self.repeat_factors = repeat_factors.to(torch.float32)
        self.micro_batch_size = micro_batch_size
        self.micro_batches_per_step = micro_batches_per_step
        self.seed = seed
        self.rank = rank
        self.world_size = world_size
        self.groups = groups
        self.start_step = start_step

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        micro_batches = self._micro_batches()
        per_step = self.micro_batches_per_step * self.world_size
        # Drawing is all that skipping costs: about half a microsecond an image.
        next(islice(micro_batches, self.start_step * per_step, self.start_step * per_step), None)
        mine = range(self.rank * self.micro_batches_per_step, (self.rank + 1) * self.micro_batches_per_step)
        while True:
            step = list(islice(micro_batches, per_step))
            for number in mine:
                yield [(index, sample_seed(self.seed, position)) for position, index in step[number]]

    def _micro_batches(self) -> Iterator[list[tuple[int, int]]]:
        """All processes' micro-batches in order, as lists of (position in the stream, dataset index)."""
        stream = enumerate(shuffled_indices(self.repeat_factors, self.seed))
        if self.groups is None:
            while True:
                yield list(islice(stream, self.micro_batch_size))
        waiting: dict[int, list[tuple[int, int]]] = {}
        for position, index in stream:
            bucket = waiting.setdefault(self.groups[index], [])
            bucket.append((position, index))
            if len(bucket) == self.micro_batch_size:
                yield waiting.pop(self.groups[index])


def shuffled_indices(repeat_factors: torch.Tensor, seed: int) -> Iterator[int]:
    """Endless passes over the indices, each in a new order.

    In every pass, image i comes floor(r_i) times and once more with probability r_i - floor(r_i), drawn anew, so that
    repeat factors are met on average (Gupta et al., LVIS, 2019).
    """
    generator = torch.Generator()
    generator.manual_seed(seed)
    whole = torch.floor(repeat_factors)
    fraction = repeat_factors - whole
    while True:
        counts = (whole + (torch.rand(len(whole), generator=generator) < fraction)).long()
        indices = torch.repeat_interleave(counts)
        yield from indices[torch.randperm(len(indices), generator=generator)].tolist()


def sample_seed(seed: int, position: int) -> int:
    """A seed for one drawn image, 0 <= result < 2**63: SplitMix64 of the run's seed and the stream position."""
    x = (seed * _PRIME + (position + 1) * 0xD1342543DE82EF95) & _MASK
    x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) & _MASK
    return (x ^ (x >> 31)) >> 1


def aspect_ratio_groups(widths: Sequence[int], heights: Sequence[int]) -> np.ndarray:
    """(N,) 0 for landscape images, 1 for the others: the two groups that Detectron2 knows."""
    return np.where(np.asarray(widths) > np.asarray(heights), 0, 1)
