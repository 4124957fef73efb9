"""Searches by either kind of bounds against all distances, on vectors that bounds find hard."""

import builtins
import copy
import math
from unittest import mock

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from d2road.utils.errors import DataError
from efficientad import onnx_sessions
from efficientad.modeling import integer_bounds, nearest_neighbours
from efficientad.modeling.integer_bounds import IntegerBounds, spell
from efficientad.modeling.memory_bank import MemoryBank
from efficientad.modeling.nearest_neighbours import NeighbourSearch


def some(count, channels=19, seed=0):
    return torch.randn(count, channels, generator=torch.Generator().manual_seed(seed))


def one_outlier_channel(vectors):
    return torch.cat([vectors[:, :3], 1e4 * vectors[:, 3:4], vectors[:, 4:]], 1)


# Bank and queries.
HARD = {
    "plain": (some(700), some(300, seed=1)),
    "duplicates": (some(50).repeat(14, 1), some(150, seed=1)),
    "equal to a vector of the bank": (some(700), some(700)[100:240]),
    "large norms": (1e3 + some(700), 1e3 + some(150, seed=1)),
    "one outlier channel": (one_outlier_channel(some(700)), one_outlier_channel(some(150, seed=1))),
    "one outlier vector": (torch.cat([some(699), 1e5 * some(1)]), some(150, seed=1)),
    "far queries": (some(700), 1e3 * some(150, seed=1)),
    "near and far queries": (some(700), torch.cat([some(140, seed=1), 1e3 + some(10, seed=1)])),
    "constant features": (torch.full((70, 19), 7.5), torch.full((30, 19), 7.5)),
    "constant but for the queries": (torch.full((70, 19), 7.5), some(30, seed=1)),
    "zeros": (torch.zeros(40, 19), torch.zeros(5, 19)),
    "tiny numbers": (1e-12 * some(700), 1e-12 * some(150, seed=1)),
    "tiny bank": (some(3), some(30, seed=1)),
    "one vector": (some(1), some(30, seed=1)),
    "one query": (some(700), some(1, seed=1)),
    "one channel": (some(700, 1), some(150, 1, seed=1)),
    "many channels": (some(300, 151), some(40, 151, seed=1)),
    "no query": (some(30), some(0)),
}


def all_distances(vectors, queries, k):
    """By all differences in float32, equal squared ones by position."""
    rows = [(vectors - query).square_().sum(1) for query in queries]
    table = torch.stack(rows) if rows else torch.zeros(0, len(vectors))
    squared, positions = table.sort(dim=1, stable=True)
    return squared[:, :k].sqrt(), positions[:, :k]


def search_of(vectors, search):
    return NeighbourSearch(vectors, lambda positions: vectors.index_select(0, positions), search)


@pytest.mark.parametrize("search", ["integer", "principal"])
@pytest.mark.parametrize("name", HARD)
def test_neighbours_are_those_of_all_distances(name, search):
    vectors, queries = HARD[name]
    made = search_of(vectors, search)
    for k in {1, min(9, len(vectors))}:
        distances, positions = made.nearest(queries, k)
        expected, places = all_distances(vectors, queries, k)
        torch.testing.assert_close(distances, expected, rtol=1e-6, atol=0)
        assert torch.equal(positions, places)


@pytest.mark.parametrize("name", HARD)
def test_both_searches_give_the_same_bits(name):
    vectors, queries = HARD[name]
    excluded = torch.arange(len(vectors)) % 5 == 3
    for without in (None, excluded):
        one, other = (search_of(vectors, search).nearest(queries, 1, without) for search in ("integer", "principal"))
        assert torch.equal(one[0], other[0]) and torch.equal(one[1], other[1])
        assert without is None or not without[one[1]].any()


def test_queries_that_integers_tell_little_of_are_found_by_directions():
    vectors = some(2500, 8)
    made = search_of(vectors, "integer")
    made.nearest(some(300, 8, seed=1), 1)
    assert made.principal is None
    far = torch.cat([some(5, 8, seed=2), 1e3 * some(3, 8, seed=3)])
    distances, positions = made.nearest(far, 1)
    assert made.principal is not None
    expected, places = all_distances(vectors, far, 1)
    assert torch.equal(distances, expected) and torch.equal(positions, places)


@given(st.integers(0, 10**6), st.sampled_from([1, 2, 7, 40]), st.floats(1e-3, 1e3))
@settings(max_examples=25, deadline=None)
def test_no_vector_exceeds_the_limit_of_its_distance(seed, channels, scale):
    """The bound itself, in one channel as tight as rounding allows; and it tells something."""
    vectors, queries = scale * some(60, channels, seed), scale * some(40, channels, seed + 1)
    table = IntegerBounds(vectors).tables(None, 40)(queries)
    squared = (queries[:, None] - vectors).square().sum(2)
    limits = torch.stack([table.limit(column) for column in squared.T], 1)
    assert bool((table.values[:, :60] <= limits).all())
    assert bool((table.values[:, :60] > table.limit(0 * squared[:, 0])[:, None]).any())


@given(st.lists(st.integers(-(10**6), 10**6), min_size=1, max_size=20))
@settings(max_examples=40, deadline=None)
def test_digits_spell_their_numbers(numbers):
    digits = spell(torch.tensor(numbers))
    assert digits.dtype == torch.int8
    assert (127 * digits[:, :-1].long().sum(1) + digits[:, -1]).tolist() == numbers


def test_the_faster_search_is_taken_where_there_is_one(monkeypatch):
    vectors = some(nearest_neighbours.ENOUGH)
    for fast in (False, True):
        monkeypatch.setattr(nearest_neighbours, "multiplies_bytes", lambda fast=fast: fast)
        assert (search_of(vectors, "auto").integer is not None) == fast
    assert search_of(vectors[:-1], "auto").integer is None
    monkeypatch.setattr(nearest_neighbours, "find_spec", lambda name: None if name == "onnxruntime" else name)
    assert search_of(vectors, "auto").integer is None


@pytest.mark.parametrize("fast", [None, False])
def test_sums_of_the_largest_products_are_not_cut(monkeypatch, fast):
    """As 16 bits would cut them; with the instructions of this processor, and as if there were none."""
    if fast is False:
        monkeypatch.setattr(onnx_sessions, "multiplies_bytes", lambda: False)
    codes = torch.cat([torch.full((40, 64), 127), torch.full((40, 64), -127)]).to(torch.int8)
    session = onnx_sessions.start_session(integer_bounds._product(codes.T.contiguous().numpy()))
    queries = torch.tensor([0, 255]).repeat_interleave(20)[:, None].repeat(1, 64).to(torch.uint8)
    found = torch.from_numpy(session.run(None, {"queries": queries.numpy()})[0])
    assert torch.equal(found.long(), (queries.long() - 128) @ codes.long().T)


@pytest.mark.parametrize("module", ["onnx", "onnxruntime"])
def test_a_search_that_cannot_be_is_refused_with_the_cure(module):
    importing = builtins.__import__

    def absent(name, *args, **kwargs):
        if name == module:
            raise ImportError(f"No module named '{name}'")
        return importing(name, *args, **kwargs)

    cure = r"pip install 'd2road\[export\]', or set MODEL.PATCHCORE.SEARCH auto"
    with mock.patch("builtins.__import__", absent), pytest.raises(ImportError, match=cure):
        search_of(some(10), "integer")
    with pytest.raises(ValueError, match="'fastest': choose one of auto, integer, principal"):
        search_of(some(10), "fastest")


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_a_bank_answers_the_same_by_either_search(precision):
    vectors, features, images = some(900), some(200, seed=1), torch.arange(900) % 7
    banks = [MemoryBank(vectors, precision, images, search) for search in ("integer", "principal")]
    banks.append(copy.deepcopy(banks[0]))  # after a search, too, whose session cannot be copied
    banks.append(MemoryBank.from_state(banks[0].state(), "integer"))
    for without in (None, 3):
        scores = []
        for bank in banks:
            distances = bank.distances(features, without)
            scores.append((distances, bank.image_score(features, distances, 9, without)))
        assert all(torch.equal(a, b) for other in scores[1:] for a, b in zip(scores[0], other))
        banks[2] = copy.deepcopy(banks[0])


@pytest.mark.parametrize("search", ["integer", "principal"])
def test_numbers_without_finite_squares_are_refused(search):
    """A query of them would take another one's neighbours."""
    vectors = torch.randn(3000, 16, generator=torch.Generator().manual_seed(0))
    bank, queries = MemoryBank(vectors, search=search), torch.randn(5, 16)
    for value in (math.nan, math.inf, -1e18):
        queries[1, 3] = value
        with pytest.raises(DataError, match="1 of 5 vectors of an image hold numbers that are not finite or above"):
            bank.distances(queries)
    for scale in (1e-19, 1e18):
        with pytest.raises(DataError, match=r"vectors of a memory bank reach .*, expected finite numbers"):
            MemoryBank(vectors / vectors.abs().max() * scale, search=search)
    assert float(MemoryBank(torch.zeros(3000, 16), search=search).distances(torch.zeros(1, 16))) == 0
