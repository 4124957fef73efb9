"""The query head: matching against brute force, gradients, no objects, the same candidates as the dense head."""

from itertools import permutations

import pytest
import torch

from mono3dvg.detection.query_head import DecodeContext, Proposals, QueryHead, RawQueries, decode_queries
from mono3dvg.detection.query_losses import match_queries, query_losses
from tests.factories.dense_heads import SIZE_HW, image_world, objects_of, scene_of
from tests.factories.roadside_objects import PRIORS

STRIDE = 40
MAP_HW = (27, 48)


@pytest.fixture
def head():
    torch.manual_seed(0)
    return QueryHead(dim=32, num_classes=3, stride=STRIDE, stages=2, heads=4)


def inputs(sentences: int, queries: int = 12):
    generator = torch.Generator().manual_seed(1)
    fused = torch.randn(sentences, 32, *MAP_HW, generator=generator)
    words = torch.randn(sentences, 5, 32, generator=generator)
    proposals = Proposals(
        cells=torch.randint(0, MAP_HW[0] * MAP_HW[1], (sentences, queries), generator=generator),
        heat=torch.randn(sentences, queries, 3, generator=generator),
        regression=torch.randn(sentences, queries, 39, generator=generator) / 4,
        valid=torch.ones(sentences, queries, dtype=torch.bool),
    )
    return fused, words, torch.ones(sentences, 5, dtype=torch.bool), sizes(sentences), proposals


def sizes(sentences: int):
    return torch.tensor([SIZE_HW] * sentences)


def context(scene, sentences: int):
    return DecodeContext(scene, sizes(sentences), MAP_HW[1], STRIDE, PRIORS, "ground")


def test_candidates_of_every_sentence(head):
    world = image_world(0)
    scene = scene_of(world.camera_list[:2])
    outputs = head(*inputs(2))
    assert len(outputs) == 2
    found, logits = decode_queries(outputs[-1], context(scene, 2), threshold=0.0)
    assert found.rows.shape == (2, 12, 7) and logits.shape == (2, 12) and found.valid.all()
    assert (found.heat.diff(dim=1) <= 0).all() and torch.isfinite(found.rows).all()
    assert found.cells.max() < MAP_HW[0] * MAP_HW[1] and found.boxes_xyxy.min() >= 0
    none, _ = decode_queries(outputs[-1], context(scene, 2), threshold=0.999)
    assert none.rows.shape == (2, 1, 7) and not none.valid.any()


def test_queries_start_at_what_the_dense_head_says(head):
    """With nothing learned they repeat it, at its cells."""
    torch.nn.init.zeros_(head.output.weight)
    given = inputs(2)
    for said in head(*given):
        for name in ("cells", "heat", "regression", "valid"):
            assert torch.equal(getattr(said, name), getattr(given[4], name))


def test_a_sentence_alone_gives_the_same(head):
    """Whatever words and queries others have: padding plays no part."""
    fused, words, mask, size, proposals = inputs(3)
    mask[1, 2:], proposals.valid[1, 7:], proposals.valid[2] = False, False, False
    words[1, 2:], proposals.regression[1, 7:] = 100.0, 1e4
    together = head(fused, words, mask, size, proposals)[-1]
    few = Proposals(*(part[1:2, :7] for part in vars(proposals).values()))
    alone = head(fused[1:2], words[1:2, :2], mask[1:2, :2], size[1:2], few)[-1]
    torch.testing.assert_close(together.regression[1:2, :7], alone.regression, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(together.referral[1:2, :7], alone.referral, atol=1e-5, rtol=1e-4)
    assert together.referral.isfinite().all()
    found, _ = decode_queries(together, context(scene_of(image_world(0).camera_list[:3]), 3), threshold=0.0)
    assert found.valid.sum(1).tolist() == [12, 7, 0]


def test_matching_is_the_cheapest():
    """Against all permutations, with class costs that are alike, so that boxes decide; padding matches nothing."""
    world = image_world(0, count=3)
    objects = objects_of(world)
    half = (objects.boxes_xyxy[:, 2:] - objects.boxes_xyxy[:, :2]) / 2
    middle = objects.boxes_xyxy[:, :2] + half
    order = torch.tensor([2, 0, 1, 1])
    own = (middle[order] / STRIDE).long()
    cells = torch.cat([own[:, 1] * MAP_HW[1] + own[:, 0], torch.tensor([0, 7])])[None]
    regression = torch.zeros(1, 6, 39)
    regression[0, :4, 4:8] = (half / STRIDE).repeat(1, 2)[order].log()
    valid = torch.tensor([[True, True, True, False, True, True]])  # a query that fits as well as the third is padding
    raw = RawQueries(cells, torch.zeros(1, 6, 3), torch.zeros(1, 6), regression, valid)
    about = context(scene_of(world.camera_list[:1]), 1)
    ((queries, found),) = match_queries(raw, [objects], about)
    distance = torch.cdist(about.centers(cells[0]), middle)
    there = [0, 1, 2, 4, 5]
    best = min(permutations(there, 3), key=lambda p: sum(distance[q, m] for m, q in enumerate(p)))
    assert dict(zip(found.tolist(), queries.tolist())) == dict(enumerate(best))


def test_losses_have_finite_gradients_and_know_no_objects(head):
    world = image_world(0, count=4)
    objects, about = objects_of(world), context(scene_of([world.camera_list[0]] * 3), 3)
    none = objects[torch.zeros(0, dtype=torch.long)]
    given = inputs(3)
    given[4].valid[1, 2:], given[4].valid[2] = False, False  # fewer queries than objects; none
    outputs = head(*given)
    meant = [torch.tensor([0, 2]), torch.tensor([], dtype=torch.long), torch.tensor([], dtype=torch.long)]
    losses = query_losses(outputs, [objects, objects, none], meant, about)
    assert set(losses) == {"heat", "refer", "box2d", "giou", "offset", "depth", "dims", "heading"}
    sum(losses.values()).backward()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in head.parameters())
    empty = query_losses(outputs, [none] * 3, [meant[1]] * 3, about)
    assert all(empty[name] == 0 for name in ("box2d", "giou", "offset", "depth", "dims", "heading"))


def test_it_learns_one_image():
    """Sixty steps on one image mend its three objects and tell which is meant."""
    torch.manual_seed(0)
    head = QueryHead(dim=32, num_classes=3, stride=STRIDE, stages=1, heads=4, pool=3)
    world = image_world(0, count=3)
    about, meant = context(scene_of(world.camera_list[:1]), 1), [torch.tensor([1])]
    given = inputs(1, 6)
    middle = ((world.boxes_xyxy[:, :2] + world.boxes_xyxy[:, 2:]) / 2 / STRIDE).long()
    given[4].cells[0, :3] = middle[:, 1] * MAP_HW[1] + middle[:, 0]
    optimizer = torch.optim.AdamW(head.parameters(), lr=5e-3)
    history = []
    for _ in range(60):
        losses = query_losses(head(*given), [objects_of(world)], meant, about)
        history.append({name: value.item() for name, value in losses.items()})
        optimizer.zero_grad()
        sum(losses.values()).backward()
        torch.nn.utils.clip_grad_norm_(head.parameters(), 10.0)
        optimizer.step()
    for name in ("heat", "refer", "box2d", "offset", "heading"):
        assert history[-1][name] < 0.5 * history[0][name], name
