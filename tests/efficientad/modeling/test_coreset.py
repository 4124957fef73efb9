"""Coreset selection, against the greedy algorithm worked off step by step and against the real anomalib."""

import numpy as np
import pytest
import torch

from d2road.utils.errors import ConfigError, DataError
from efficientad.modeling import coreset
from efficientad.modeling.coreset import covering_radius, select_coreset


def farthest_points(vectors, size, first):
    """Gonzalez's algorithm with all differences in float64; of equal distances the first."""
    vectors, chosen = vectors.double().numpy(), [first]
    distances = ((vectors - vectors[first]) ** 2).sum(1)
    distances[first] = -1
    while len(chosen) < size:
        chosen.append(int(distances.argmax()))
        distances = np.minimum(distances, ((vectors - vectors[chosen[-1]]) ** 2).sum(1))
        distances[chosen] = -1
    return chosen


def clusters(count, channels, seed=0):
    """Vectors around a few centres, on a grid where nothing is rounded."""
    generator = torch.Generator().manual_seed(seed)
    centers = 4 * torch.randn(12, channels, generator=generator)
    which = torch.randint(12, (count,), generator=generator)
    vectors = centers[which] + torch.randn(count, channels, generator=generator) * torch.linspace(2, 0.1, channels)
    return (vectors * 1024).round() / 1024


@pytest.fixture
def small_blocks(monkeypatch):
    for name, value in {"POOL": 40, "CENTERS": 24, "ROWS": 100}.items():
        monkeypatch.setattr(coreset, name, value)


@pytest.mark.parametrize(("count", "channels", "size"), [(900, 20, 300), (500, 3, 500), (300, 1, 40), (7, 5, 1)])
def test_greedy_chooses_what_the_algorithm_says(count, channels, size, small_blocks):
    vectors = clusters(count, channels)
    chosen = select_coreset(vectors, size, "greedy", seed=3)
    assert chosen.dtype == torch.long
    assert chosen.tolist() == farthest_points(vectors, size, int(chosen[0]))


def test_blocks_and_threads_change_nothing(monkeypatch):
    vectors = torch.randn(800, 40, generator=torch.Generator().manual_seed(0)) * torch.linspace(3, 0.1, 40)
    expected = select_coreset(vectors, 200)
    for name, value in {"POOL": 100, "CENTERS": 40, "ROWS": 77, "PAIRS": 50}.items():
        monkeypatch.setattr(coreset, name, value)
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        assert torch.equal(select_coreset(vectors, 200), expected)
    finally:
        torch.set_num_threads(threads)


def test_equal_distances_are_taken_in_order(small_blocks):
    vectors = torch.cartesian_prod(*[torch.arange(5.0)] * 4)  # 625 points with few different distances
    vectors = torch.cat([vectors, vectors[:100]])  # and some twice
    chosen = select_coreset(vectors, len(vectors), seed=1).tolist()
    assert chosen == farthest_points(vectors, len(vectors), chosen[0])


def test_equal_vectors_are_no_obstacle():
    assert sorted(select_coreset(torch.zeros(50, 3), 50).tolist()) == list(range(50))


def test_the_seed_decides():
    vectors = clusters(400, 8)
    for method in ("greedy", "random"):
        first, again, other = (select_coreset(vectors, 60, method, seed) for seed in (1, 1, 2))
        assert torch.equal(first, again) and not torch.equal(first, other)
        assert len(first.unique()) == 60


def test_covering_radius_is_the_largest_distance():
    vectors, chosen = clusters(800, 16), torch.tensor([5, 17, 300])
    expected = torch.cdist(vectors.double(), vectors[chosen].double()).amin(1).max()
    assert covering_radius(vectors, chosen) == pytest.approx(float(expected), rel=1e-6)


def test_greedy_covers_better_than_random_and_approximate_nearly_as_well():
    vectors = clusters(4000, 32)
    radius = {method: covering_radius(vectors, select_coreset(vectors, 600, method)) for method in coreset.METHODS}
    assert radius["approximate"] <= 1.05 * radius["greedy"]
    assert radius["greedy"] < 0.9 * radius["random"]


def test_what_cannot_be_chosen():
    vectors = torch.zeros(4, 2)
    with pytest.raises(ConfigError, match="greedy, approximate, random"):
        select_coreset(vectors, 2, "kmeans")
    for size in (0, 5):
        with pytest.raises(ConfigError, match=f"coreset of {size} among"):
            select_coreset(vectors, size)
    with pytest.raises(DataError, match="NaN or infinite"):
        select_coreset(torch.tensor([[float("inf")]]), 1)
