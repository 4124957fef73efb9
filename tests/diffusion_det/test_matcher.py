"""The vectorised assignment against a literal loop over objects."""

import pytest
import torch
from scipy.optimize import linear_sum_assignment

from diffusion_det.matcher import Targets, match_dynamic_k
from tests.oracles.dynamic_k import loop_match


def scene(seed, count, objects, classes=4):
    generator = torch.Generator().manual_seed(seed)
    whwh = torch.tensor([320.0, 200.0, 320.0, 200.0])

    def boxes(n):
        corner = torch.rand(n, 2, generator=generator) * torch.tensor([260.0, 150.0])
        return torch.cat([corner, corner + 4 + torch.rand(n, 2, generator=generator) * 90], 1)

    gt = boxes(objects)
    predicted = boxes(count)
    near = min(count, objects * 2)
    if objects:  # some queries close to objects
        source = torch.randint(objects, (near,), generator=generator)
        predicted[:near] = gt[source] + torch.randn(near, 4, generator=generator) * 2
    labels = torch.randint(classes, (objects,), generator=generator)
    return torch.randn(count, classes, generator=generator), predicted, gt, labels, whwh


@pytest.mark.parametrize("seed", range(6))
def test_batch_equals_loop(seed):
    scenes = [scene(seed * 10 + i, 30, m) for i, m in enumerate([0, 1, 5, 12, 28, 30])]
    logits, boxes, gt, labels, whwh = zip(*scenes)
    matched = match_dynamic_k(
        torch.stack(logits), torch.stack(boxes), Targets.pad(list(gt), list(labels), torch.stack(whwh))
    )
    for ours, case in zip(matched, scenes):
        assert torch.equal(ours, loop_match(*case))


@pytest.mark.parametrize("published", [False, True])
def test_more_objects_than_queries(published):
    logits, boxes, gt, labels, whwh = scene(3, 8, 50)
    matched = match_dynamic_k(
        logits[None], boxes[None], Targets.pad([gt], [labels], whwh[None]), as_published=published
    )[0]
    assert (matched >= 0).all()  # every query serves an object, and the call returns
    if not published:
        assert len(matched.unique()) == 8  # each another one


def test_every_object_is_served():
    for seed in range(20):
        logits, boxes, gt, labels, whwh = scene(seed, 30, 25)
        matched = match_dynamic_k(logits[None], boxes[None], Targets.pad([gt], [labels], whwh[None]))[0]
        assert set(matched.tolist()) >= set(range(25)) or (matched >= 0).all()  # all served, or no query left
    sparse = 0
    for seed in range(20):
        logits, boxes, gt, labels, whwh = scene(seed, 60, 12)
        matched = match_dynamic_k(logits[None], boxes[None], Targets.pad([gt], [labels], whwh[None]))[0]
        assert set(matched.tolist()) == {-1, *range(12)}
        sparse += (matched == -1).sum().item()
    assert sparse > 200


def test_perfect_predictions_match_as_hungarian():
    """Where each object has exactly one good query, the rule agrees with the optimal assignment."""
    _, _, gt, labels, whwh = scene(11, 10, 10)
    order = torch.randperm(10, generator=torch.Generator().manual_seed(0))
    boxes = gt[order]
    logits = torch.nn.functional.one_hot(labels[order], 4).float() * 8 - 4
    matched = match_dynamic_k(logits[None], boxes[None], Targets.pad([gt], [labels], whwh[None]), candidates=1)[0]
    _, best = linear_sum_assignment((boxes[:, None] - gt[None]).abs().sum(-1).numpy())
    assert matched.tolist() == best.tolist()
