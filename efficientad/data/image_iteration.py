"""Images of whole data sets one by one, and what several processes found in theirs."""

import logging
import math
from collections.abc import Iterable, Iterator, Sequence, Sized
from itertools import islice
from typing import Any, Protocol, TypeVar

import torch
from detectron2.config import CfgNode
from detectron2.utils import comm
from torch import Tensor
from torch.utils.data import DataLoader

from d2road.data.build import build_test_loader
from d2road.utils.progress import track
from efficientad.data.anomaly_datasets import validation_name

logger = logging.getLogger(__name__)
Entry = dict[str, Any]  # a mapped image: what a model takes


class Mergeable(Protocol):
    """Statistics of which parts can be merged."""

    def merge(self, other: Any) -> None:
        """Take in what another of the same kind has seen."""


M = TypeVar("M", bound=Mergeable)


class DatasetImages:
    """Mapped images of several data sets, one after the other, without augmentation.

    Args:
        names: of the data sets.
        most: images to take at most, of each data set its share; None takes all.
    """

    def __init__(self, cfg: CfgNode, names: Sequence[str], most: int | None = None):
        self.loaders = [build_test_loader(cfg, name) for name in names]
        counts = [len(loader) for loader in self.loaders]
        kept = 1.0 if most is None else min(1.0, most / max(sum(counts), 1))
        self.counts = [math.ceil(count * kept) for count in counts]

    def __len__(self) -> int:
        """Batches, of one image each."""
        return sum(self.counts)

    @property
    def total(self) -> int:
        """Images of all processes, without a limit."""
        return sum(map(_images_in, self.loaders))

    def numbers(self) -> Iterator[int]:
        """The place of each image among those of all data sets together, whatever the number of processes."""
        first = 0
        for loader, count in zip(self.loaders, self.counts):
            yield from (first + index for index in islice(loader.sampler, count))
            first += _images_in(loader)

    def __iter__(self) -> Iterator[list[Entry]]:
        for loader, count in zip(self.loaders, self.counts):
            yield from islice(loader, count)


def _images_in(loader: DataLoader) -> int:
    """Images of the data set of a loader, of all processes."""
    data: Any = loader.dataset
    return len(data)


def calibration_names(cfg: CfgNode) -> list[str]:
    """The data sets of good images that a model is calibrated on."""
    return list(cfg.DATASETS.CALIBRATION) or [validation_name(name) for name in cfg.DATASETS.TRAIN]


def images_of(batches: Iterable[list[Entry]], label: str) -> Iterator[Entry]:
    """The images of batches one by one, with progress in the log."""
    total = len(batches) if isinstance(batches, Sized) else None
    counted = batches if total is None else track(batches, total, label, every_s=20, log=logger.info)
    for batch in counted:
        yield from batch


def gathered(part: M) -> M:
    """The merged statistics of all processes, in every process."""
    parts: list[M] = comm.all_gather(part)
    whole = parts[0]
    for other in parts[1:]:
        whole.merge(other)
    return whole


def rows_of_all(values: Tensor) -> Tensor:
    """Rows of all processes, on the CPU."""
    return torch.cat([part.cpu() for part in comm.all_gather(values.cpu())])
