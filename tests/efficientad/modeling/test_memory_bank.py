"""Distances to a bank of features, against scikit-learn, and how the bank is drawn."""

import pytest
import torch
from sklearn.neighbors import NearestNeighbors

from efficientad.modeling import nearest_neighbours, principal_bounds
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


def some_vectors(count=500, channels=12, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(count, channels, generator=generator) * torch.linspace(3, 0.2, channels) + 5


@pytest.mark.parametrize("k", [1, 4, 60])
def test_neighbours_are_those_of_scikit_learn(k):
    vectors, features = some_vectors(), some_vectors(40, seed=1)
    expected, positions = NearestNeighbors(n_neighbors=k, algorithm="brute").fit(vectors.double()).kneighbors(features)
    found, where = MemoryBank(vectors).nearest(features, k)
    assert where.tolist() == positions.tolist()
    assert found.numpy() == pytest.approx(expected, abs=1e-5)


def test_directions_that_tell_little_give_way_to_all(monkeypatch):
    vectors, features = some_vectors(), some_vectors(300, seed=1)
    table = torch.cdist(features.double(), vectors.double())
    monkeypatch.setattr(principal_bounds, "ENERGY", 0.3)
    monkeypatch.setattr(nearest_neighbours, "ROWS", 100)
    search = nearest_neighbours.NeighbourSearch(vectors, lambda positions: vectors[positions], "principal")
    few = len(search.principal.products)
    distances, positions = search.nearest(features, 2)
    assert few < 6 and len(search.principal.products) == 13
    assert positions.tolist() == table.argsort(1)[:, :2].tolist()
    assert distances.numpy() == pytest.approx(table.sort(1).values[:, :2].numpy(), abs=1e-5)


def test_equal_vectors_are_neighbours_in_order():
    distances, positions = MemoryBank(torch.ones(70, 3)).nearest(torch.ones(2, 3), 70)
    assert torch.equal(positions, torch.arange(70).expand(2, 70)) and not distances.any()


def test_every_vector_of_the_bank_is_at_distance_0_from_itself():
    vectors = 1000 + some_vectors()  # products would lose such small differences
    vectors[1] = vectors[0] + 1e-3
    distances, positions = MemoryBank(vectors).nearest(vectors, 1)
    assert not distances.any() and torch.equal(positions[:, 0], torch.arange(len(vectors)))


def test_no_features_have_no_distances():
    assert MemoryBank(some_vectors()).distances(torch.zeros(0, 12)).shape == (0,)


def test_without_an_image_is_as_if_it_had_never_been_there():
    vectors, features = some_vectors(), some_vectors(50, seed=1)
    images = torch.arange(len(vectors)) % 7
    bank, other = MemoryBank(vectors, images=images), MemoryBank(vectors[images != 3])
    assert torch.equal(bank.distances(features, without_image=3), other.distances(features))
    distances = other.distances(features)
    assert bank.image_score(features, distances, 9, without_image=3) == other.image_score(features, distances, 9)
    own = vectors[images == 3]
    assert not bank.distances(own).any() and bool((bank.distances(own, without_image=3) > 0).all())


def test_image_score_is_the_published_one():
    vectors, features = some_vectors().double(), some_vectors(50, seed=1).double()
    bank = MemoryBank(vectors)
    table = torch.cdist(features, vectors)
    worst = int(table.amin(1).argmax())
    nearest = int(table[worst].argmin())
    around = torch.cdist(vectors[nearest][None], vectors)[0].argsort()[:9]
    expected = table[worst, nearest] * (1 - table[worst, nearest].exp() / table[worst, around].exp().sum())
    score = bank.image_score(features.float(), bank.distances(features.float()))
    assert float(score) == pytest.approx(float(expected), rel=1e-5)
    assert bank.image_score(features.float(), bank.distances(features.float()), 1) == bank.distances(features).max()


def test_int8_keeps_distances_within_what_it_says():
    vectors, features = some_vectors(), some_vectors(200, seed=1)
    exact, bank = MemoryBank(vectors), MemoryBank(vectors, "int8")
    assert exact.rounding == 0 and 0 < bank.rounding < 0.1
    error = (bank.distances(features) - exact.distances(features)).abs().max()
    assert 0 < error <= bank.rounding
    assert bank.distances(bank.vectors).max() == 0
    assert bank.state()["codes"].dtype == torch.int8 and bank.state()["codes"].unique().numel() > 200
    constant = MemoryBank(torch.full((3, 2), 7.5), "int8")  # a channel without any range
    assert torch.equal(constant.vectors, torch.full((3, 2), 7.5))


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_a_bank_is_what_its_tensors_say(precision):
    vectors, features = some_vectors(), some_vectors(50, seed=1)
    bank = MemoryBank(vectors, precision, images=torch.arange(len(vectors)) // 100)
    again = MemoryBank.from_state(bank.state())
    assert again.precision == precision and len(again) == len(vectors)
    assert torch.equal(again.distances(features, 2), bank.distances(features, 2))


def test_questions_that_a_bank_cannot_answer():
    vectors = some_vectors()
    with pytest.raises(ValueError, match="choose fp32 or int8"):
        MemoryBank(vectors, "int4")
    with pytest.raises(ValueError, match="expected one for each"):
        MemoryBank(vectors, images=torch.zeros(3))
    with pytest.raises(ValueError, match="does not know which images"):
        MemoryBank(vectors).distances(vectors, without_image=0)
    with pytest.raises(ValueError, match="1 nearest neighbours among 0"):
        MemoryBank(vectors, images=torch.zeros(500)).distances(vectors, without_image=0)
    with pytest.raises(ValueError, match="501 nearest neighbours among 500"):
        MemoryBank(vectors).nearest(vectors, 501)
