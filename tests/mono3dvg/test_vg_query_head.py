"""The query head: matching against brute force, gradients, no objects, the same candidates as the dense head."""

from itertools import permutations

import pytest
import torch
from head_world import SIZE_HW, image_world, objects_of, scene_of
from roadside_world import PRIORS

from mono3dvg.query_head import QueryHead, RawQueries, decode, match_queries, query_losses

STRIDE = 40
MAP_HW = (27, 48)


@pytest.fixture
def head():
    torch.manual_seed(0)
    return QueryHead(dim=32, num_classes=3, stride=STRIDE, queries=12, stages=2, heads=4)


def inputs(sentences: int):
    generator = torch.Generator().manual_seed(1)
    fused = torch.randn(sentences, 32, *MAP_HW, generator=generator)
    words = torch.randn(sentences, 5, 32, generator=generator)
    return fused, words, torch.ones(sentences, 5, dtype=torch.bool), torch.tensor([SIZE_HW] * sentences)


def test_candidates_of_every_sentence(head):
    world = image_world(0)
    scene = scene_of(world.camera_list[:2])
    outputs = head(*inputs(2))
    assert len(outputs) == 2
    found, logits = decode(outputs[-1], scene, inputs(2)[3], MAP_HW, STRIDE, PRIORS, "ground", threshold=0.0)
    assert found.rows.shape == (2, 12, 7) and logits.shape == (2, 12) and found.valid.all()
    assert (found.heat.diff(dim=1) <= 0).all() and torch.isfinite(found.rows).all()
    assert found.cells.max() < MAP_HW[0] * MAP_HW[1] and found.boxes_xyxy.min() >= 0
    none, _ = decode(outputs[-1], scene, inputs(2)[3], MAP_HW, STRIDE, PRIORS, "ground", threshold=0.99)
    assert none.rows.shape == (2, 1, 7) and not none.valid.any()


def test_a_sentence_alone_gives_the_same(head):
    fused, words, mask, sizes = inputs(3)
    mask[1, 2:] = False
    words[1, 2:] = 100.0
    together = head(fused, words, mask, sizes)[-1]
    alone = head(fused[1:2], words[1:2, :2], mask[1:2, :2], sizes[1:2])[-1]
    torch.testing.assert_close(together.regression[1:2], alone.regression, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(together.places[1:2], alone.places, atol=1e-2, rtol=1e-4)


def test_matching_is_the_cheapest():
    """Against all permutations, with class costs that are alike, so that boxes decide."""
    world = image_world(0, count=3)
    objects = objects_of(world)
    torch.manual_seed(0)
    places = (objects.boxes_xyxy[:, :2] + objects.boxes_xyxy[:, 2:]) / 2
    half = (objects.boxes_xyxy[:, 2:] - objects.boxes_xyxy[:, :2]) / 2 / STRIDE
    order = torch.tensor([2, 0, 1])
    regression = torch.zeros(1, 5, 39)
    regression[0, :3, 4:8] = half.repeat(1, 2)[order].log()
    points = torch.cat([places[order] + 30 * torch.randn(3, 2), torch.tensor([[10.0, 10], [1900, 20]])])[None]
    raw = RawQueries(points, torch.zeros(1, 5, 3), torch.zeros(1, 5), regression)
    ((queries, found),) = match_queries(raw, [objects], torch.tensor([SIZE_HW]), STRIDE)
    distance = torch.cdist(points[0], places)
    best = min(permutations(range(5), 3), key=lambda p: sum(distance[q, m] for m, q in enumerate(p)))
    assert dict(zip(found.tolist(), queries.tolist())) == dict(enumerate(best))


def test_losses_have_finite_gradients_and_know_no_objects(head):
    world = image_world(0, count=4)
    objects, scene = objects_of(world), scene_of([world.camera_list[0]] * 3)
    none = objects[torch.zeros(0, dtype=torch.long)]
    outputs = head(*inputs(3))
    meant = [torch.tensor([0, 2]), torch.tensor([], dtype=torch.long), torch.tensor([], dtype=torch.long)]
    sizes = inputs(3)[3]
    losses = query_losses(outputs, [objects, objects, none], meant, scene, sizes, STRIDE, PRIORS, "ground")
    assert set(losses) == {"heat", "refer", "box2d", "giou", "offset", "depth", "dims", "heading"}
    sum(losses.values()).backward()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in head.parameters())
    empty = query_losses(outputs, [none] * 3, [meant[1]] * 3, scene, sizes, STRIDE, PRIORS, "ground")
    assert all(empty[name] == 0 for name in ("box2d", "giou", "offset", "depth", "dims", "heading"))


def test_it_learns_one_picture():
    """Sixty steps on one picture find its three objects."""
    torch.manual_seed(0)
    head = QueryHead(dim=32, num_classes=3, stride=STRIDE, queries=6, stages=1, heads=4, pool=3)
    world = image_world(0, count=3)
    scene, meant = scene_of(world.camera_list[:1]), [torch.tensor([1])]
    optimizer = torch.optim.AdamW(head.parameters(), lr=5e-3)
    history = []
    for _ in range(60):
        losses = query_losses(
            head(*inputs(1)), [objects_of(world)], meant, scene, inputs(1)[3], STRIDE, PRIORS, "ground"
        )
        history.append({name: value.item() for name, value in losses.items()})
        optimizer.zero_grad()
        sum(losses.values()).backward()
        torch.nn.utils.clip_grad_norm_(head.parameters(), 10.0)
        optimizer.step()
    for name in ("heat", "box2d", "offset", "heading"):
        assert history[-1][name] < 0.5 * history[0][name], name
