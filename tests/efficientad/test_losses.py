"""Losses against the published formulas, with torch.quantile for the hard features."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from efficientad.losses import feature_loss, hard_feature_loss, penalty_loss, upper_quantile
from efficientad.modeling.networks import Networks
from efficientad.modeling.pdn import PDN


@settings(max_examples=60, deadline=None)
@given(
    st.integers(1, 3000),
    st.sampled_from([0.0, 0.5, 0.9, 0.99, 0.999, 0.9999]),
    st.booleans(),
    st.integers(0, 2**20),
)
def test_hard_feature_loss_is_the_quantile_form(count, quantile, ties, seed):
    generator = torch.Generator().manual_seed(seed)
    values = torch.rand(count, generator=generator, dtype=torch.float64)
    values = (values * 5).round() if ties else values
    threshold = torch.quantile(values, quantile)
    assert upper_quantile(values, quantile).item() == pytest.approx(threshold.item(), abs=1e-12)
    # Away from equal values, rounding of the threshold could let one value more or less in.
    expected = values[values >= threshold - 1e-12].mean()
    assert hard_feature_loss(values - 0.0, quantile).item() == pytest.approx(expected.item(), rel=1e-6)


def test_hard_feature_loss_of_a_published_map():
    distance = torch.rand(2, 96, 56, 56, generator=torch.Generator().manual_seed(0)) ** 3
    expected = distance[distance >= torch.quantile(distance, 0.999)].mean()
    assert hard_feature_loss(distance).item() == pytest.approx(expected.item(), rel=1e-6)


def test_hard_feature_loss_of_quantile_zero_is_the_mean():
    distance = torch.rand(2, 3, 5, 5)
    assert hard_feature_loss(distance, 0).item() == pytest.approx(distance.mean().item(), rel=1e-6)


def test_hard_feature_loss_gradient_and_equal_values():
    distance = torch.rand(1, 8, 20, 20, requires_grad=True)
    hard_feature_loss(distance, 0.99).backward()
    hard = distance.detach() >= torch.quantile(distance.detach(), 0.99)
    assert torch.allclose(distance.grad, hard / hard.sum())
    assert hard_feature_loss(torch.full((2, 3, 4, 4), 0.7)).item() == pytest.approx(0.7)


def test_more_values_than_older_torch_takes():
    values = torch.zeros(2**24 + 10)
    values[:1000] = torch.arange(1000.0) + 1
    assert hard_feature_loss(values, 1 - 100.5 / len(values)).item() == pytest.approx(950.5, abs=0.6)


@pytest.mark.parametrize("quantile", [-0.1, 1.0, 2.0])
def test_quantile_out_of_range(quantile):
    with pytest.raises(ValueError, match="quantile"):
        hard_feature_loss(torch.rand(4), quantile)


class Plain(nn.Module):
    """An autoencoder that looks at the mean colour."""

    def __init__(self):
        super().__init__()
        self.mix = nn.Linear(3, 6)

    def forward(self, images, size):
        return self.mix(images.mean((2, 3)))[:, :, None, None].expand(-1, -1, *size)


def test_terms_and_their_gradients_are_the_published_ones():
    torch.manual_seed(0)
    networks = Networks(PDN("small", 6), PDN("small", 12), Plain(), hard_quantile=0.9)
    networks.teacher_mean, networks.teacher_std = torch.randn(6), torch.rand(6) + 0.5
    images, images_ae, penalty = (torch.randn(n, 3, 40, 44) for n in (2, 2, 3))
    losses = networks.losses(images, images_ae, penalty)

    mean, std = networks.teacher_mean.view(-1, 1, 1), networks.teacher_std.view(-1, 1, 1)
    with torch.no_grad():
        teacher, teacher_ae = ((networks.teacher(x) - mean) / std for x in (images, images_ae))
    distance = (teacher - networks.student(images)[:, :6]) ** 2
    guess = networks.autoencoder(images_ae, teacher.shape[-2:])
    expected = {
        "loss_hard": distance[distance >= torch.quantile(distance, 0.9)].mean(),
        "loss_penalty": (networks.student(penalty)[:, :6] ** 2).mean(),
        "loss_autoencoder": ((teacher_ae - guess) ** 2).mean(),
        "loss_student_autoencoder": ((guess - networks.student(images_ae)[:, 6:]) ** 2).mean(),
    }
    for name, value in expected.items():
        assert losses[name].item() == pytest.approx(value.item(), rel=1e-5), name
    trained = [p for p in networks.parameters() if p.requires_grad]
    ours = torch.autograd.grad(sum(losses.values()), trained)
    theirs = torch.autograd.grad(sum(expected.values()), trained)
    assert all(torch.allclose(a, b, atol=1e-6, rtol=1e-4) for a, b in zip(ours, theirs))
    assert "loss_penalty" not in networks.losses(images, images_ae)


def test_the_teacher_never_trains():
    networks = Networks(PDN("small", 6), PDN("small", 12), Plain()).train()
    assert not networks.teacher.training and networks.student.training
    assert not any(p.requires_grad for p in networks.teacher.parameters())


def test_simple_terms():
    student = torch.tensor([[1.0, -2.0], [3.0, 0.0]])
    assert penalty_loss(student).item() == 3.5
    assert feature_loss(student, torch.zeros(2, 2)).item() == 3.5
