"""Gradients of losses, measured apart."""

import pytest
import torch

from benchmarks.diffusion_det.loss_gradients import gradient_norm, split


def test_norms_are_those_of_each_part():
    a, b = torch.tensor([3.0], requires_grad=True), torch.tensor([2.0], requires_grad=True)
    losses = {"loss_ce": (4 * a)[0], "loss_ce_0": (a * b)[0], "loss_velocity": (b**3)[0], "loss_velocity_0": (2 * b)[0]}
    classes, boxes = split(losses)
    assert gradient_norm(classes, [a, b]) == pytest.approx((6**2 + 3**2) ** 0.5)
    assert gradient_norm(boxes, [a, b]) == pytest.approx(14)
    assert gradient_norm(classes, [a, b]) == pytest.approx((6**2 + 3**2) ** 0.5)  # the graph is still there
