"""Memory bank of a PatchCore model from the good images of data sets: gather the vectors, choose the coreset.

Letters: N vectors of C channels of all images, M of the bank.
"""

import logging
import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from detectron2.utils import comm
from torch import Tensor

from d2road.engine.distributed import by_first_process
from d2road.utils.errors import DataError
from efficientad.data.image_iteration import DatasetImages, Entry, images_of
from efficientad.modeling.coreset import covering_radius, select_coreset

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class BankVectors:
    """Vectors of a bank and where they come from.

    Attributes:
        vectors: (M, C).
        images: (M,), the number of the image of each.
        covering_radius: largest distance of one of the N vectors to the nearest of these; infinite if not measured.
    """

    vectors: Tensor
    images: Tensor
    covering_radius: float = math.inf


def fit_bank(
    images: DatasetImages,
    vectors_of: Callable[[Entry], Tensor],
    *,
    size: int,
    candidates: int,
    coreset: str,
    seed: int,
    with_radius: bool = False,
) -> BankVectors:
    """The vectors of a bank, the same in every process and for any number of them.

    Args:
        images: good images; of several processes each has its share.
        vectors_of: the vectors (h * w, C) of an image.
        size: M at most.
        candidates: N at most, as many of each image.
        coreset: how M of N are chosen, see `select_coreset`.
        seed: of what is drawn.
        with_radius: measure the covering radius.
    Raises:
        DataError: no image.
    """
    own = gather_vectors(images, vectors_of, candidates, seed)
    parts = comm.gather(own, dst=0)

    def choose() -> BankVectors:
        ordered = sorted((number, vectors) for part in parts for number, vectors in part.items())
        if not ordered:
            raise DataError("memory bank: there is no good image; name some in DATASETS.TRAIN")
        numbers = torch.cat([torch.full((len(vectors),), number) for number, vectors in ordered])
        vectors = torch.cat([part for _, part in ordered])
        if len(numbers) <= size:
            logger.info("The bank holds all %d vectors of %d images", len(numbers), len(ordered))
            return BankVectors(vectors, numbers, 0.0)
        logger.info("Choosing %d of %d vectors of %d images (%s)", size, len(numbers), len(ordered), coreset)
        chosen = select_coreset(vectors, size, coreset, seed)
        radius = covering_radius(vectors, chosen) if with_radius else math.inf
        return BankVectors(vectors[chosen], numbers[chosen], radius)

    return by_first_process(choose)


def gather_vectors(
    images: DatasetImages, vectors_of: Callable[[Entry], Tensor], candidates: int, seed: int
) -> dict[int, Tensor]:
    """Vectors (n, C) of the images of this process by their numbers, on the CPU.

    Args:
        candidates: of all images of all processes together at most, drawn from each by `seed` and its number.
    """
    most = math.ceil(candidates / max(images.total, 1))
    found = {}
    for entry, number in zip(images_of(images, "features of good images"), images.numbers()):
        vectors = vectors_of(entry).cpu()
        if len(vectors) > most:
            generator = torch.Generator().manual_seed(seed + 1_000_003 * (number + 1))
            vectors = vectors[torch.randperm(len(vectors), generator=generator)[:most].sort().values]
        found[number] = vectors.clone()
    return found
