"""Pictures of whole data sets one by one, and what several processes found in theirs."""

import logging
import math
from collections.abc import Iterable, Sequence
from itertools import islice

import torch
from detectron2.utils import comm
from torch import Tensor

from d2road.data.build import build_test_loader
from d2road.utils.progress import track

logger = logging.getLogger(__name__)


class Pictures:
    """Mapped pictures of several data sets, one after the other, without augmentation.

    Args:
        names: of the data sets.
        most: pictures to take at most, of each data set its share; None takes all.
    """

    def __init__(self, cfg, names: Sequence[str], most: int | None = None):
        self.loaders = [build_test_loader(cfg, name) for name in names]
        counts = [len(loader) for loader in self.loaders]
        kept = 1 if most is None else min(1, most / max(sum(counts), 1))
        self.counts = [math.ceil(count * kept) for count in counts]

    def __len__(self) -> int:
        return sum(self.counts)

    def __iter__(self):
        for loader, count in zip(self.loaders, self.counts):
            yield from islice(loader, count)


def pictures_of(batches: Iterable[list[dict]], label: str) -> Iterable[dict]:
    """The pictures of batches one by one, with progress in the log."""
    total = len(batches) if hasattr(batches, "__len__") else None
    counted = batches if total is None else track(batches, total, label, every_s=20, log=logger.info)
    for batch in counted:
        yield from batch


def gathered(part):
    """The merged statistics of all processes, in every process."""
    parts = comm.all_gather(part)
    whole = parts[0]
    for other in parts[1:]:
        whole.merge(other)
    return whole


def rows_of_all(values: Tensor) -> Tensor:
    """Rows of all processes, on the CPU."""
    return torch.cat([part.cpu() for part in comm.all_gather(values.cpu())])
