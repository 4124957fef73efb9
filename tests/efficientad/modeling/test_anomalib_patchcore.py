"""Memory bank and coreset against anomalib's Patchcore on the same vectors."""

import pytest
import torch

from efficientad.modeling.coreset import covering_radius, select_coreset
from efficientad.modeling.memory_bank import MemoryBank
from tests.factories.anomalib_patchcore import Memory, anomalib_patchcore


def features_like_a_network(count, channels, seed):
    """Non-negative vectors of many lengths around a few centres, with a common offset as features have it."""
    generator = torch.Generator().manual_seed(seed)
    centers = 3 * torch.randn(20, channels, generator=torch.Generator().manual_seed(7))
    which = torch.randint(20, (count,), generator=generator)
    spread = torch.linspace(1.5, 0.2, channels)
    return (centers[which] + spread * torch.randn(count, channels, generator=generator)).relu() + 0.5


@pytest.fixture(scope="module")
def compared(tmp_path_factory):
    """A bank, features of three images, and what anomalib makes of them; then the same of a bank of four vectors."""
    vectors = features_like_a_network(3000, 96, 0)
    features = torch.stack([features_like_a_network(300, 96, seed) for seed in (1, 2, 3)])
    features[0, 5] = vectors[1]
    features[2, :3] += 4  # an anomaly
    few = features_like_a_network(4, 96, 0), features_like_a_network(30, 96, 1)
    memories = Memory(vectors, features, (9, 3, 1), 300), Memory(few[0], few[1][None])
    theirs = anomalib_patchcore(tmp_path_factory.mktemp("peer"), *memories)
    return (vectors, features, theirs[0]), (*few, theirs[1])


def test_distances_and_scores_are_those_of_anomalib(compared):
    vectors, features, theirs = compared[0]
    bank = MemoryBank(vectors)
    ours = torch.stack([bank.distances(image) for image in features])
    # anomalib's distances are float32 differences of products: not 0 for a vector of the bank.
    slack = 5e-3 * float(ours.median())
    torch.testing.assert_close(ours, theirs["distances"], rtol=1e-4, atol=slack)
    assert ours[0, 5] == 0
    for neighbours in (9, 3, 1):
        scores = torch.stack([bank.image_score(*pair, neighbours) for pair in zip(features, ours)])
        torch.testing.assert_close(scores, theirs[neighbours], rtol=1e-4, atol=slack)
        assert scores[2] > 1.5 * scores[1]


def test_a_bank_of_fewer_vectors_than_neighbours_is_scored_as_by_anomalib(compared):
    vectors, features, theirs = compared[1]
    bank = MemoryBank(vectors)
    score = bank.image_score(features, bank.distances(features))
    assert float(score) == pytest.approx(float(theirs[9]), rel=1e-4)


def test_coresets_cover_as_well_as_that_of_anomalib(compared):
    vectors, _, theirs = compared[0]
    assert len(theirs["coreset"].unique()) == 300
    bound = covering_radius(vectors, theirs["coreset"])
    for method in ("greedy", "approximate"):
        assert covering_radius(vectors, select_coreset(vectors, 300, method)) <= 1.02 * bound
