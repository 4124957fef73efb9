"""Memory bank of a PatchCore model from the good images of data sets: gather the vectors, choose the coreset.

Letters: N vectors of C channels of all images, M of the bank.
"""

import logging
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from hashlib import blake2b

import torch
from detectron2.utils import comm
from torch import Tensor

from d2road.engine.distributed import by_first_process
from d2road.utils.errors import ConfigError, DataError
from d2road.utils.progress import track
from efficientad.data.image_iteration import DatasetImages, Entry, images_of
from efficientad.inference.image_batches import name_of
from efficientad.modeling.coreset import select_coreset

logger = logging.getLogger(__name__)

WITHIN_IMAGES = "within_images"
DIGEST_BYTES = 8


@dataclass(frozen=True)
class BankVectors:
    """Vectors of a bank and where they come from.

    Attributes:
        vectors: (M, C).
        images: (M,), the number of the image of each.
        digests: (I, DIGEST_BYTES) uint8, of the pixels of the images, see `image_digest`.
        by_image: whether those of an image were chosen without a look at the other images, or are all.
    """

    vectors: Tensor
    images: Tensor
    digests: Tensor
    by_image: bool = False


def fit_bank(
    images: DatasetImages,
    vectors_of: Callable[[Entry], Tensor],
    *,
    size: int,
    candidates: int,
    coreset: str,
    seed: int,
) -> BankVectors:
    """The vectors of a bank, the same in every process and for any number of them.

    Args:
        images: good images; of several processes each has its share.
        vectors_of: the vectors (h * w, C) of an image.
        size: M at most.
        candidates: N at most, as many of each image.
        coreset: how M of N are chosen, see `select_coreset`, or `WITHIN_IMAGES`.
        seed: of what is drawn.
    Raises:
        DataError: no image. ConfigError: fewer vectors than images, where they are chosen within images.
    """
    own = gather_vectors(images, vectors_of, candidates, seed)
    parts = comm.gather(own, dst=0)

    def choose() -> BankVectors:
        ordered = sorted(
            ((number, found) for part in parts for number, found in part.items()), key=lambda pair: pair[0]
        )
        if not ordered:
            raise DataError("memory bank: there is no good image; name some in DATASETS.TRAIN")
        numbers = torch.cat([torch.full((len(found.vectors),), number) for number, found in ordered])
        vectors = torch.cat([found.vectors for _, found in ordered])
        digests = torch.stack([found.digest for _, found in ordered])
        if len(numbers) <= size:
            logger.info("The bank holds all %d vectors of %d images", len(numbers), len(ordered))
            return BankVectors(vectors, numbers, digests, True)
        logger.info("Choosing %d of %d vectors of %d images (%s)", size, len(numbers), len(ordered), coreset)
        if coreset == WITHIN_IMAGES:
            chosen = choose_within_images([len(found.vectors) for _, found in ordered], vectors, size, seed)
        else:
            chosen = select_coreset(vectors, size, coreset, seed)
        return BankVectors(vectors[chosen], numbers[chosen], digests, coreset == WITHIN_IMAGES)

    return by_first_process(choose)


def choose_within_images(counts: Sequence[int], vectors: Tensor, size: int, seed: int) -> Tensor:
    """Positions of the vectors of a greedy coreset of each image by itself, as many of each.

    Which vectors an image gives does not depend on the others, so that the scores of images without their own vectors
    promise as much as those of held-out images, see `efficientad.conformal.leave_one_out_threshold`.

    Args:
        counts: of the vectors of each image.
        vectors: (N, C), those of an image in a row.
        size: M at most.
    Raises:
        ConfigError: there are more images.
    """
    share = size // len(counts)
    if share < 1:
        raise ConfigError(
            f"MODEL.PATCHCORE.BANK_SIZE is {size}, there are {len(counts)} images, and each gives one vector at least: "
            "set it higher, or MODEL.PATCHCORE.CORESET greedy"
        )
    chosen, first = [], 0
    for count in track(counts, label="coresets of images"):
        own = vectors[first : first + count]
        chosen.append(first + select_coreset(own, min(share, count), "greedy", seed, show=False))
        first += count
    return torch.cat(chosen)


@dataclass(frozen=True)
class ImageVectors:
    """Vectors (n, C) of an image, and the digest of its pixels."""

    vectors: Tensor
    digest: Tensor


def image_digest(entry: Entry) -> Tensor:
    """(DIGEST_BYTES,) uint8 of the pixels of a model input: equal for equal images, whatever their files."""
    image = entry["image"].cpu().contiguous()
    content = f"{tuple(image.shape)} {image.dtype}".encode() + image.numpy().tobytes()
    return torch.tensor(list(blake2b(content, digest_size=DIGEST_BYTES).digest()), dtype=torch.uint8)


def without_images_of(digests: Tensor, entries: Iterable[Entry]) -> Iterator[Entry]:
    """Pass on model inputs that are not among the images with these digests.

    Raises:
        DataError: one of them is: scored against its own vectors it would lower the threshold.
    """
    known = set(map(tuple, digests.tolist()))
    for entry in entries:
        if tuple(image_digest(entry).tolist()) in known:
            raise DataError(
                f"{name_of(entry)}: the memory bank was made of this image, or of one with the same pixels, so that it "
                "cannot tell how high other good images score. Calibrate on images that are not in the bank"
            )
        yield entry


def gather_vectors(
    images: DatasetImages, vectors_of: Callable[[Entry], Tensor], candidates: int, seed: int
) -> dict[int, ImageVectors]:
    """Vectors of the images of this process by their numbers, on the CPU.

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
        found[number] = ImageVectors(vectors.clone(), image_digest(entry))
    return found
