"""Losses against plain loops, in half precision, without objects, over batches."""

import math

import pytest
import torch

from mono3dvg.detection.dense_head import RawMaps
from mono3dvg.detection.detection_losses import (
    box_losses,
    choice_loss,
    heat_loss,
    parts_loss,
    refer_loss,
    relation_loss,
)
from mono3dvg.detection.detection_targets import dense_targets
from mono3dvg.detection.object_losses import reduce_far
from mono3dvg.language.attributes import ATTRIBUTES
from mono3dvg.language.form_parts import ANCHOR, MENTIONABLE, PARTS
from mono3dvg.language.kleene import MAYBE, NO, YES
from tests.factories.dense_heads import MAP_HW, STRIDE, image_world, objects_of, perfect_maps, raw_maps, scene_of
from tests.factories.roadside_objects import PRIORS

NAMES = {"heat", "box2d", "giou", "offset", "depth", "dims", "heading"}


def targets_of(worlds, empty=()):
    objects = [objects_of(w)[: 0 if i in empty else None] for i, w in enumerate(worlds)]
    scene = scene_of([w.camera_list[0] for w in worlds])
    return dense_targets(objects, scene, 3, MAP_HW, STRIDE, "ground"), scene


def test_heat_loss_is_that_of_the_paper():
    torch.manual_seed(0)
    logits, targets = torch.randn(1, 2, 3, 4), torch.rand(1, 2, 3, 4)
    targets[0, 0, 1, 1] = targets[0, 1, 2, 3] = 1.0
    weight = torch.ones(1, 3, 4)
    weight[0, 0] = 0
    wanted = 0.0
    for p, y, w in zip(
        logits.sigmoid().flatten().tolist(), targets.flatten().tolist(), weight.repeat(1, 2, 1).flatten()
    ):
        wanted += -((1 - p) ** 2) * math.log(p) if y == 1 else -((1 - y) ** 4) * p**2 * math.log(1 - p) * float(w)
    assert heat_loss(logits, targets, weight, torch.tensor(2.0)).item() == pytest.approx(wanted / 2, rel=1e-5)


def test_referral_prefers_the_object_that_is_meant():
    target, others = torch.zeros(1, 5, 5), torch.zeros(1, 5, 5)
    target[0, 1, 1], others[0, 3, 3] = 1.0, 1.0
    number = torch.tensor(2.0)
    right, wrong, blank = (torch.full((1, 5, 5), -6.0) for _ in range(3))
    right[0, 1, 1] = wrong[0, 3, 3] = blank[0, 4, 0] = 6.0
    good, bad = refer_loss(right, target, others, number), refer_loss(wrong, target, others, number)
    background = refer_loss(blank, target, others, number)
    missed = refer_loss(torch.full((1, 5, 5), -6.0), target, others, number)
    assert good < 1e-3 < missed < background < bad
    assert (bad - missed) == pytest.approx(3 * float(background - missed), rel=1e-3)
    overlap = others.clone()
    overlap[0, 1, 2], near = 1.0, target.clone()
    near[0, 1, 2] = 0.9  # within the Gaussian of the target, and yet another object
    logits = right.clone()
    logits[0, 1, 2] = 6.0
    assert refer_loss(logits, near, overlap, number) > 5


def test_relation_loss_against_a_loop():
    torch.manual_seed(0)
    logits, valid = torch.randn(2, 4, 5), torch.rand(4, 5) > 0.3
    meant = torch.rand(4, 5) > 0.5
    meant[1], valid[3] = False, False
    wanted = 0.0
    for block in logits:
        for row, there, true in zip(block, valid, meant):
            if not there.any():
                continue
            row, true = row[there], true[there]
            alone = torch.where(true, -row.sigmoid().log(), -(-row).sigmoid().log()).mean()
            among = torch.cat([torch.zeros(1), row]).log_softmax(0)
            picked = among[1:][true] if true.any() else among[:1]
            wanted += alone + 0.5 * (-picked.mean() - math.log(len(picked)))
    total, number = relation_loss(logits, meant, valid)
    assert total.item() == pytest.approx(wanted.item() / 2, rel=1e-5) and number == 3


def test_relation_loss_is_zero_for_right_answers_and_ignores_what_does_not_count():
    meant = torch.tensor([[True, True, False, False], [False] * 4])
    valid = torch.tensor([[True, True, True, False]] * 2)
    logits = torch.where(meant, 30.0, -30.0)
    logits[:, 3] = 50.0
    logits.requires_grad_()
    total, number = relation_loss(logits, meant, valid)
    assert total.abs() < 1e-5 and number == 2
    total.backward()
    assert (logits.grad[:, 3] == 0).all()
    nothing, none = relation_loss(logits, meant, torch.zeros_like(valid))
    assert nothing == 0 and none == 0


@pytest.mark.parametrize("ground", [True, False])
def test_perfect_maps_cost_nothing(ground):
    world = image_world(2, count=6, ground=ground)
    dense, scene = targets_of([world])
    raw = perfect_maps(world, "ground")
    losses = box_losses(raw, dense, scene, STRIDE, PRIORS)
    assert set(losses) == NAMES
    for name in ("box2d", "giou", "offset", "dims"):
        assert losses[name] < 2e-3, name
    assert losses["depth"] == pytest.approx(-5.0 if ground else -3.0, abs=0.1)
    raw.regression[:, 8] += 0.1  # direct depths 10 % off
    worse = box_losses(raw, dense, scene, STRIDE, PRIORS)["depth"] - losses["depth"]
    assert worse == pytest.approx(2**0.5 * 0.1 * math.exp(3), rel=0.1)


def random_maps(batch: int, dtype=torch.float32, scale: float = 1.0) -> RawMaps:
    generator = torch.Generator().manual_seed(0)
    heat = scale * torch.randn(batch, 3, *MAP_HW, generator=generator) - 4
    regression = scale * torch.randn(batch, 39, *MAP_HW, generator=generator)
    return raw_maps(heat.to(dtype).requires_grad_(), regression.to(dtype).requires_grad_())


def test_an_object_counts_the_same_in_any_batch():
    worlds = [image_world(0, count=3), image_world(1, count=6)]
    raw = random_maps(2)
    both = box_losses(raw, *targets_of(worlds), STRIDE, PRIORS)
    parts = [
        box_losses(raw_maps(raw.heat[i : i + 1], raw.regression[i : i + 1]), *targets_of([w]), STRIDE, PRIORS)
        for i, w in enumerate(worlds)
    ]
    for name in NAMES:
        torch.testing.assert_close(both[name], (3 * parts[0][name] + 6 * parts[1][name]) / 9, rtol=1e-4, atol=1e-5)
    doubled = box_losses(raw, *targets_of(worlds), STRIDE, PRIORS, mean=lambda numbers: 2 * numbers)
    assert all(doubled[name].item() == pytest.approx(both[name].item() / 2, rel=1e-5) for name in NAMES)


def test_attributes_that_are_known_are_learned():
    world = image_world(0, count=3)
    dense, scene = targets_of([world])
    raw = random_maps(1)
    raw.attributes = torch.randn(1, len(ATTRIBUTES), *MAP_HW)
    assert box_losses(raw, dense, scene, STRIDE, PRIORS)["attributes"] == 0  # nothing is known
    dense.objects.attributes[0, 2], dense.objects.attributes[1, 5], dense.owns[2] = YES, NO, False
    dense.objects.attributes[2] = NO  # of a cell that another object has
    logits = raw.attributes.flatten(2)[0][:, dense.cells].T.double()
    wanted = -math.log(logits[0, 2].sigmoid()) - math.log(1 - logits[1, 5].sigmoid())
    assert box_losses(raw, dense, scene, STRIDE, PRIORS)["attributes"].item() == pytest.approx(wanted / 2, rel=1e-5)


def test_no_objects_give_zero_and_finite_gradients():
    worlds = [image_world(0, count=3)]
    raw = random_maps(1)
    losses = box_losses(raw, *targets_of(worlds, empty=(0,)), STRIDE, PRIORS)
    assert all(losses[name] == 0 for name in NAMES - {"heat"}) and losses["heat"] > 0
    sum(losses.values()).backward()
    assert torch.isfinite(raw.heat.grad).all() and (raw.regression.grad == 0).all()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_finite_in_half_precision_for_any_output(dtype):
    raw = random_maps(1, dtype, scale=200.0)
    losses = box_losses(raw, *targets_of([image_world(0, count=5)]), STRIDE, PRIORS)
    sum(losses.values()).backward()
    assert all(torch.isfinite(value) and value.dtype == torch.float32 for value in losses.values())
    assert torch.isfinite(raw.heat.grad).all() and torch.isfinite(raw.regression.grad).all()


def test_truncated_objects_do_not_drown_the_others():
    """A middle tens of cells away costs as little as one in the image, for the same relative error."""
    near, far = reduce_far(torch.tensor([0.5, 40.0])).tolist()
    assert near == 0.5 and far == pytest.approx(4 * (1 + math.log(10)))


def test_parts_loss_against_a_loop():
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(2, 5, len(PARTS), generator=generator)
    mentioned = torch.randn(2, len(MENTIONABLE), generator=generator)
    truths = torch.randint(0, 3, (2, 5, len(PARTS)), generator=generator).to(torch.int8)
    truths[0, :, 3] = MAYBE
    valid = torch.tensor([[True, True, True, False, True], [True, False, True, True, True]])
    total = 0.0
    for n in range(2):
        for p in range(len(PARTS)):
            asked = [k for k in range(5) if valid[n, k] and truths[n, k, p] != MAYBE]
            for k in asked:
                right = torch.sigmoid(logits[n, k, p] if truths[n, k, p] == YES else -logits[n, k, p])
                total -= right.log().item() / len(asked)
            if p < len(MENTIONABLE):
                right = torch.sigmoid(mentioned[n, p] if asked else -mentioned[n, p])
                total -= right.log().item() / len(MENTIONABLE)
        odds = torch.cat([torch.zeros(1), logits[n, valid[n], ANCHOR]]).softmax(0)
        chosen = [1 + i for i, t in enumerate(truths[n, valid[n], ANCHOR]) if t == YES] or [0]
        total -= odds[chosen].log().mean().item() + math.log(len(chosen))
    assert parts_loss(logits, mentioned, truths, valid).item() == pytest.approx(total, rel=1e-5)
    unknown = torch.full_like(truths, int(MAYBE))
    assert parts_loss(logits, mentioned, unknown, valid) == 0


def test_right_choices_cost_nothing():
    """Of one, of two, of none, with rubbish where nothing is valid."""
    chosen = torch.tensor([[True, False, False], [True, True, False], [False, False, False]])
    valid = torch.tensor([[True, True, False]] * 3)
    logits = torch.where(chosen, 20.0, -20.0)
    logits[:, 2] = 1e3
    torch.testing.assert_close(choice_loss(logits, chosen, valid), torch.zeros(3), atol=1e-4, rtol=0)
    assert (choice_loss(-logits.clamp(-5, 5), chosen, valid) > 1).all()
