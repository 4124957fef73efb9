"""Vectors of a bank: drawn alike from every image by its number, whoever holds it, and the coreset among them."""

import pytest
import torch

from d2road.utils.errors import DataError
from efficientad.modeling.coreset import select_coreset
from efficientad.patchcore.bank_fit import fit_bank, gather_vectors, without_images_of


class SomeImages:
    """As `DatasetImages`: the images of one of several processes."""

    def __init__(self, numbers: list[int], total: int):
        self.own, self.total = numbers, total

    def numbers(self):
        return iter(self.own)

    def __len__(self):
        return len(self.own)

    def __iter__(self):
        return iter([[{"image": torch.full((1,), float(number))}] for number in self.own])


def vectors_of(entry: dict) -> torch.Tensor:
    """20 vectors of an image, which tell the image and the place."""
    return torch.stack([entry["image"].expand(20), torch.arange(20.0)], 1)


def test_each_image_gives_as_many_vectors_whichever_process_holds_it():
    alone = gather_vectors(SomeImages([0, 1, 2, 3], 4), vectors_of, candidates=20, seed=1)
    parts = [gather_vectors(SomeImages(numbers, 4), vectors_of, candidates=20, seed=1) for numbers in ([0, 1], [2, 3])]
    assert {number: len(found.vectors) for number, found in alone.items()} == dict.fromkeys(range(4), 5)
    together = parts[0] | parts[1]
    assert all(torch.equal(alone[number].vectors, together[number].vectors) for number in alone)
    places = [tuple(found.vectors[:, 1].tolist()) for found in alone.values()]
    assert len(set(places)) > 1  # not the same places of every image
    other = gather_vectors(SomeImages([0], 4), vectors_of, candidates=20, seed=2)
    assert not torch.equal(other[0].vectors, alone[0].vectors)


@pytest.mark.parametrize("coreset", ["greedy", "approximate", "random"])
def test_a_bank_is_the_coreset_of_all_vectors_and_knows_their_images(coreset):
    options = {"candidates": 80, "coreset": coreset, "seed": 3}
    whole = fit_bank(SomeImages([0, 1, 2, 3], 4), vectors_of, size=80, **options)
    assert len(whole.vectors) == 80 and whole.by_image
    found = fit_bank(SomeImages([0, 1, 2, 3], 4), vectors_of, size=12, **options)
    chosen = select_coreset(whole.vectors, 12, coreset, 3)
    assert torch.equal(found.vectors, whole.vectors[chosen])
    assert found.images.tolist() == found.vectors[:, 0].tolist()
    assert not found.by_image


def test_a_bank_chosen_within_images_has_the_coreset_of_each():
    found = fit_bank(SomeImages([0, 1, 2, 3], 4), vectors_of, size=14, candidates=80, coreset="within_images", seed=3)
    own = torch.cat([torch.zeros(20, 1), torch.arange(20.0)[:, None]], 1)
    assert found.by_image and found.images.tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3]
    assert torch.equal(found.vectors[:3], own[select_coreset(own, 3, "greedy", 3)])


def test_an_image_of_the_bank_is_known_by_its_pixels_whatever_its_file():
    bank = fit_bank(SomeImages([0, 1, 2], 3), vectors_of, size=9, candidates=60, coreset="random", seed=0)
    assert bank.digests.shape == (3, 8) and len({tuple(row) for row in bank.digests.tolist()}) == 3
    others = [{"image": torch.full((1,), 3.0)}, {"image": torch.full((2,), 1.0)}]  # another value, another shape
    assert list(without_images_of(bank.digests, others)) == others
    copy = {"image": torch.full((1,), 1.0), "file_name": "a_copy.png"}
    with pytest.raises(DataError, match=r"a_copy\.png: the memory bank was made of this image.*not in the bank"):
        list(without_images_of(bank.digests, [*others, copy]))


def test_no_image_is_said():
    with pytest.raises(DataError, match=r"no good image; name some in DATASETS\.TRAIN"):
        fit_bank(SomeImages([], 0), vectors_of, size=5, candidates=9, coreset="random", seed=0)
