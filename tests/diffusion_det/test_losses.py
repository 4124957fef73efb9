"""Losses against torchvision's functions and by invariants."""

import pytest
import torch
from torchvision.ops import generalized_box_iou_loss, sigmoid_focal_loss

from diffusion_det.build import in_model_order
from diffusion_det.losses import LossOptions, SetCriterion, federated_classes, sigmoid_focal
from diffusion_det.matcher import Targets


def predictions(stages=2, batch=2, count=12, classes=3, seed=0):
    generator = torch.Generator().manual_seed(seed)
    corner = torch.rand(stages, batch, count, 2, generator=generator) * 80
    boxes = torch.cat([corner, corner + 5 + torch.rand(corner.shape, generator=generator) * 40], -1)
    logits = torch.randn(stages, batch, count, classes, generator=generator)
    return logits.requires_grad_(), boxes.requires_grad_()


WHWH = torch.tensor([[120.0, 100.0, 120.0, 100.0]] * 2)
GT = [torch.tensor([[10.0, 10, 40, 50], [60, 20, 90, 60]]), torch.tensor([[30.0, 30, 70, 80]])]
LABELS = [torch.tensor([0, 2]), torch.tensor([1])]


def test_focal_equals_torchvision():
    logits, targets = torch.randn(50, 4) * 3, (torch.rand(50, 4) > 0.7).float()
    ours = sigmoid_focal(logits, targets, 0.25, 2.0)
    torch.testing.assert_close(ours, sigmoid_focal_loss(logits, targets, 0.25, 2.0))


def test_terms_of_one_stage():
    logits, boxes = predictions(stages=1)
    criterion = SetCriterion(num_classes=3, options=LossOptions(class_weight=1, l1_weight=1, giou_weight=1))
    targets = Targets.pad(GT, LABELS, WHWH)
    losses = criterion(logits, boxes, targets)
    matched = criterion.match(logits[0], boxes[0], targets)
    image, query = torch.nonzero(matched >= 0, as_tuple=True)
    gt = targets.boxes_xyxy[image, matched[image, query]]
    picked = boxes[0][image, query]
    onehot = torch.zeros(2, 12, 3)
    onehot[image, query, targets.classes[image, matched[image, query]]] = 1
    number = len(image)
    expected = {
        "loss_ce": sigmoid_focal_loss(logits[0], onehot, 0.25, 2.0, reduction="sum") / number,
        "loss_bbox": (picked / WHWH[image] - gt / WHWH[image]).abs().sum() / number,
        "loss_giou": generalized_box_iou_loss(picked, gt, reduction="sum") / number,
    }
    assert losses.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(losses[name], value, msg=name)


def test_image_without_objects_only_teaches_background():
    logits, boxes = predictions()
    losses = SetCriterion(num_classes=3)(logits, boxes, Targets.pad([GT[0][:0]] * 2, [LABELS[0][:0]] * 2, WHWH))
    assert losses["loss_ce"] > 0
    assert losses["loss_bbox"] == losses["loss_giou"] == 0
    sum(losses.values()).backward()
    assert torch.isfinite(logits.grad).all()
    assert (boxes.grad == 0).all()  # there is a gradient, and it is zero


def test_split_over_processes_changes_nothing():
    """Two processes with one image each, counts averaged, give the mean of the whole batch's losses."""
    logits, boxes = predictions()
    criterion = SetCriterion(num_classes=3)
    whole = criterion(logits, boxes, Targets.pad(GT, LABELS, WHWH))
    counts = []

    def collect(count):
        counts.append(count)
        return count

    parts = [(logits[:, i : i + 1], boxes[:, i : i + 1], Targets.pad([GT[i]], [LABELS[i]], WHWH[:1])) for i in (0, 1)]
    for part in parts:
        SetCriterion(num_classes=3, mean_over_processes=collect)(*part)
    mean = (counts[0] + counts[1]) / 2
    criterion = SetCriterion(num_classes=3, mean_over_processes=lambda _: mean)
    split = [criterion(*part) for part in parts]
    for name, value in whole.items():
        torch.testing.assert_close((split[0][name] + split[1][name]) / 2, value, msg=name)


def test_deep_supervision_off():
    logits, boxes = predictions(stages=3)
    targets = Targets.pad(GT, LABELS, WHWH)
    alone = SetCriterion(num_classes=3, deep_supervision=False)(logits, boxes, targets)
    full = SetCriterion(num_classes=3)(logits, boxes, targets)
    assert set(alone) == {"loss_ce", "loss_bbox", "loss_giou"}
    assert len(full) == 9
    for name, value in alone.items():
        torch.testing.assert_close(full[name], value)


def test_softmax_is_weighted_cross_entropy():
    logits, boxes = predictions(classes=4)
    criterion = SetCriterion(num_classes=3, options=LossOptions(use_focal=False, class_weight=1.0))
    targets = Targets.pad(GT, LABELS, WHWH)
    losses = criterion(logits, boxes, targets)
    for stage, name in enumerate(["loss_ce_0", "loss_ce"]):
        matched = criterion.match(logits[stage], boxes[stage], targets)
        wanted = torch.where(matched >= 0, targets.classes.gather(1, matched.clamp(min=0)), 3)
        weight = torch.tensor([1, 1, 1, 0.1])
        expected = torch.nn.functional.cross_entropy(logits[stage].flatten(0, 1), wanted.flatten(), weight)
        torch.testing.assert_close(losses[name], expected)


def test_class_frequencies_are_those_of_the_classes_of_their_name():
    given = torch.tensor([5.0, 7.0])
    assert in_model_order(given, ["car", "bus"], ("bus", "van", "car")).tolist() == [7, 0, 5]
    assert in_model_order(given, ["car", "bus"], ()) is given


def test_federated_loss_counts_present_and_drawn_classes():
    torch.manual_seed(0)
    weights = torch.ones(100)
    weights[50:] = 0
    for _ in range(20):
        mask = federated_classes(torch.tensor([70, 71, 70]), 10, 100, weights)
        assert mask.sum() == 10
        assert mask[70] and mask[71] and not mask[[i for i in range(50, 100) if i not in (70, 71)]].any()
    logits, boxes = predictions()
    targets = Targets.pad(GT, LABELS, WHWH)
    full = SetCriterion(num_classes=3)(logits, boxes, targets)
    fed = SetCriterion(num_classes=3, fed_loss_weights=torch.ones(3), fed_loss_classes=3)(logits, boxes, targets)
    assert fed["loss_ce"].item() == pytest.approx(full["loss_ce"].item())
    few = SetCriterion(num_classes=3, fed_loss_weights=torch.ones(3), fed_loss_classes=1)
    one = few(logits[:, 1:], boxes[:, 1:], Targets.pad(GT[1:], LABELS[1:], WHWH[1:]))
    both = SetCriterion(num_classes=3)(logits[:, 1:], boxes[:, 1:], Targets.pad(GT[1:], LABELS[1:], WHWH[1:]))
    assert one["loss_ce"] < both["loss_ce"]  # classes 0 and 2 do not count


def test_federated_loss_draws_as_multinomial_does():
    """Of what is not there, as many as are missing, without replacement; padding is no class."""
    weights = torch.rand(40)
    present = torch.tensor([3, 40, 3, 39, 40])
    for seed in range(5):
        torch.manual_seed(seed)
        mask = federated_classes(present, 12, 40, weights)
        others = weights.clone()
        others[[3, 39]] = 0
        torch.manual_seed(seed)
        drawn = torch.multinomial(others, 10, replacement=False)
        assert set(mask.nonzero()[:, 0].tolist()) == {3, 39, *drawn.tolist()}
    assert federated_classes(present, 2, 40, weights).sum() == 2
    assert federated_classes(present, 1, 40, weights).sum() == 2
