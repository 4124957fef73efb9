"""The reading of parts: what is mentioned decides, comparisons look at the anchor, padding plays no part."""

import math

import pytest
import torch

from mono3dvg.language.form_parts import ANCHOR, ATTRIBUTE_PARTS, COMPARISONS, PARTS
from mono3dvg.language.logical_forms import RANK_KEYS
from mono3dvg.relation.attribute_modules import AttributeModules, to_logit
from mono3dvg.relation.relation_features import RelationFeatures

DIM, UNARY, PAIR = 8, 4, 3
SELECTION = PARTS.index("selection")
BETWEEN = COMPARISONS.index("between")


@pytest.fixture
def reader():
    torch.manual_seed(0)
    return AttributeModules(DIM, UNARY, PAIR)


def inputs(n: int = 2, k: int = 5, t: int = 4, seed: int = 0):
    g = torch.Generator().manual_seed(seed)
    return {
        "unary": torch.randn(n, k, UNARY, generator=g),
        "states": torch.randn(n, k, DIM, generator=g),
        "features": RelationFeatures(
            unary=torch.empty(n, k, 0),  # the unary features are these and more
            pairwise=torch.randn(n, k, k, PAIR, generator=g),
            precedes=torch.rand(n, k, k, len(RANK_KEYS), generator=g),
            distance_m=30 + 10 * torch.rand(n, k, generator=g),
            offset_m=10 * torch.randn(n, k, k, 2, generator=g),
            valid=torch.ones(n, k, dtype=torch.bool),
        ),
        "words": torch.randn(n, t, DIM, generator=g),
        "mask": torch.ones(n, t, dtype=torch.bool),
        "numbers": torch.full((n, t), torch.nan),
    }


def test_logits_of_logarithms():
    p = torch.tensor([0.01, 0.5, 0.9])
    torch.testing.assert_close(to_logit(p.log()), torch.logit(p))
    assert torch.isfinite(to_logit(torch.tensor([0.0, -200.0]))).all()


def test_descriptions_are_products_of_what_is_mentioned(reader):
    with torch.no_grad():
        logits, mentioned = reader(**inputs())
        gate = mentioned.sigmoid()
        prob = logits.sigmoid().double()
        plain_alone = 0
        for n in range(2):
            for k in range(5):
                attributes = math.prod(prob[n, k, p].item() ** gate[n, p].item() for p in range(len(ATTRIBUTE_PARTS)))
                compared = math.prod(prob[n, k, p].item() ** gate[n, p].item() for p in range(ANCHOR + 1, SELECTION))
                chosen = prob[n, k, SELECTION].item() ** gate[n, SELECTION].item()
                plain = prob[n, k, PARTS.index("attributes")].item()
                plain_alone += plain <= attributes
                assert prob[n, k, SELECTION + 1].item() == pytest.approx(plain * compared, rel=1e-3)
                assert prob[n, k, SELECTION + 2].item() == pytest.approx(plain * compared * chosen, rel=1e-3)
    assert plain_alone == 10  # nothing fits the attributes together better than each of them


def test_comparisons_are_with_the_anchor(reader):
    """One candidate is the anchor beyond doubt: what holds is what the pair with it says."""
    given = inputs(1, 4)
    with torch.no_grad():
        read = torch.randn(1, len(COMPARISONS), DIM)
        found = reader.compare(read, torch.tensor([[0.0, 1.0, 0.0, 0.0]]), given["features"])
        weights = reader.pairwise_head(read[0])
        expected = given["features"].pairwise[0, :, 1] @ weights[:, :PAIR].T + weights[:, PAIR]
    others = [c for c in range(len(COMPARISONS)) if c != BETWEEN]
    torch.testing.assert_close(found[0, :, others], expected[:, others], atol=1e-3, rtol=1e-3)
    assert (reader.compare(read, torch.zeros(1, 4), given["features"]) < -9).all()


def test_padding_plays_no_part(reader):
    given = inputs(1, 3, 4)
    alone = reader(**given)
    padded = inputs(1, 5, 6, seed=1)
    for name in ("unary", "states", "words"):
        padded[name][tuple(slice(0, n) for n in given[name].shape)] = given[name]
    for name in ("pairwise", "precedes", "offset_m"):
        getattr(padded["features"], name)[:, :3, :3] = getattr(given["features"], name)
    padded["features"].valid[:, 3:], padded["mask"][:, 4:] = False, False
    logits, mentioned = reader(**padded)
    torch.testing.assert_close(logits[:, :3], alone[0], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(mentioned, alone[1], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_finite_in_half_precision(reader, dtype):
    """As under automatic mixed precision, however sure the network is."""
    given = inputs()
    given |= {name: given[name].to(dtype) for name in ("unary", "states", "words")}
    given["unary"] *= 10  # the largest facts are about so
    logits, mentioned = reader.to(dtype)(**given)
    assert torch.isfinite(logits).all() and torch.isfinite(mentioned).all() and logits.dtype == torch.float32
    logits.sum().backward()
    assert all(torch.isfinite(p.grad).all() for p in reader.parameters() if p.grad is not None)
