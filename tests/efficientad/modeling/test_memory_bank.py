"""Distances to a bank of features, against scikit-learn, and how the bank is drawn."""

import pytest
import torch
from sklearn.neighbors import NearestNeighbors

from efficientad.modeling import nearest_neighbours
from efficientad.modeling.memory_bank import MemoryBank


def test_distances_are_those_of_scikit_learn(monkeypatch):
    generator = torch.Generator().manual_seed(0)
    bank, features = torch.randn(300, 24, generator=generator), torch.randn(101, 24, generator=generator)
    features[3] = bank[7] + 1e-4  # a small distance between long vectors
    features[4] = bank[8]
    monkeypatch.setattr(nearest_neighbours, "ROWS", 7)  # several blocks, the last one not full
    expected = NearestNeighbors(n_neighbors=1, algorithm="brute").fit(bank.double().numpy())
    distance = expected.kneighbors(features.double().numpy())[0][:, 0]
    found = MemoryBank(bank).distances(features)
    assert found.double().numpy() == pytest.approx(distance, abs=1e-6)
    assert found[4] == 0


def test_map_keeps_the_places():
    bank = MemoryBank(torch.zeros(1, 2))
    features = torch.zeros(2, 3, 4)
    features[:, 1, 2] = torch.tensor([3.0, 4.0])
    expected = torch.zeros(3, 4)
    expected[1, 2] = 5
    assert torch.equal(bank.distance_map(features), expected)


def test_every_image_gives_its_share():
    maps = [torch.full((2, 5, 5), float(number)) for number in range(3)]
    bank = MemoryBank.from_maps(iter(maps), 3, 10)
    assert torch.bincount(bank.vectors[:, 0].long()).tolist() == [3, 3, 4]
    assert len(MemoryBank.from_maps(maps, 3, 1000)) == 75  # all there are


def test_the_draw_follows_the_seed():
    maps = [torch.arange(200.0).view(2, 10, 10)]
    first, again, other = (MemoryBank.from_maps(maps, 1, 20, seed).vectors for seed in (1, 1, 2))
    assert torch.equal(first, again) and not torch.equal(first, other)
    assert len(first.unique(dim=0)) == 20  # no place twice
    assert torch.equal(first[:, 1] - first[:, 0], torch.full((20,), 100.0))  # channels of a place stay together


@pytest.mark.parametrize(
    ("maps", "count", "size", "match"),
    [([], 0, 5, "are there images"), ([torch.zeros(1, 2, 2)], 2, 5, "1 maps"), ([], 1, 0, "choose at least 1")],
)
def test_banks_that_cannot_be_made(maps, count, size, match):
    with pytest.raises(ValueError, match=match):
        MemoryBank.from_maps(maps, count, size)


def test_wrong_features():
    with pytest.raises(ValueError, match="NaN or infinite"):
        MemoryBank(torch.tensor([[float("nan")]]))
    with pytest.raises(ValueError, match="same teacher"):
        MemoryBank(torch.zeros(2, 3)).distances(torch.zeros(2, 4))
    with pytest.raises(ValueError, match="more than 1"):
        MemoryBank.from_maps([torch.zeros(1, 2, 2)] * 2, 1, 5)
