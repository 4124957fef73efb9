"""Convolution by fewer products against PyTorch's."""

from unittest import mock

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from efficientad.modeling import winograd
from efficientad.modeling.pdn import PDN


def case(kernel, inputs=6, outputs=5, size=(17, 22), dtype=torch.float64, images=2):
    """x (B, C, H, W), weight, bias."""
    generator = torch.Generator().manual_seed(kernel)
    shapes = (images, inputs, *size), (outputs, inputs, kernel, kernel), (outputs,)
    return [torch.randn(shape, generator=generator, dtype=dtype, requires_grad=True) for shape in shapes]


@pytest.mark.parametrize("tiles", [1, 7, 500])
@pytest.mark.parametrize("padding", [0, 1, 3])
@pytest.mark.parametrize("kernel", [3, 4])
def test_equals_direct_convolution_with_its_gradients(kernel, padding, tiles):
    arguments = case(kernel)
    expected = F.conv2d(*arguments, padding=padding)
    with mock.patch.object(winograd, "CHUNK", tiles):
        found = winograd.conv2d(*arguments, padding)
        torch.testing.assert_close(found, expected, rtol=1e-11, atol=1e-11)
        gradient = torch.randn_like(expected)
        ours = torch.autograd.grad(found, arguments, gradient)
    theirs = torch.autograd.grad(expected, arguments, gradient)
    torch.testing.assert_close(ours, theirs, rtol=1e-11, atol=1e-10)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("kernel", [3, 4])
def test_rounds_little(kernel, layout):
    x, weight, bias = (part.detach() for part in case(kernel, 128, 128, (24, 24), torch.float32))
    exact = F.conv2d(x.double(), weight.double(), bias.double())
    module = nn.Conv2d(128, 128, kernel)
    module.load_state_dict({"weight": weight, "bias": bias})
    with torch.no_grad():
        prepared = winograd.WinogradConv2d(module)(x.contiguous(memory_format=layout))
    for found in (winograd.conv2d(x, weight, bias), prepared):
        rounding = (found - exact).square().mean().sqrt()
        assert 1e-7 < rounding / exact.std() < 1e-5


def test_maps_are_those_of_lavin_and_gray():
    """Theirs of one axis are ours up to the order and scale of the points: 1-D convolution shows it."""
    maps = winograd.maps_for(3, torch.float64)
    signal, kernel = torch.randn(6, 6, dtype=torch.float64), torch.randn(3, 3, dtype=torch.float64)
    tile = maps.outputs @ ((maps.inputs @ signal.flatten()) * (maps.kernel @ kernel.flatten()))
    torch.testing.assert_close(tile.view(4, 4), F.conv2d(signal[None, None], kernel[None, None])[0, 0])
    assert maps.inputs.abs().max() == 1 and maps.side == 6


@pytest.mark.parametrize("kernel", [3, 4])
def test_gradients_of_what_is_asked_for_alone(kernel):
    x, weight, bias = case(kernel)
    weight.requires_grad_(False)
    winograd.conv2d(x, weight, bias).sum().backward()
    assert weight.grad is None and x.grad is not None and bias.grad is not None


def test_where_it_is_used():
    x, conv = torch.zeros(1, 128, 20, 20), nn.Conv2d(128, 128, 4)
    assert winograd.suits(conv, x)
    assert not winograd.suits(nn.Conv2d(3, 128, 4), x)
    assert not winograd.suits(nn.Conv2d(128, 128, 4, stride=2), x)
    assert not winograd.suits(nn.Conv2d(128, 128, 1), x)
    assert not winograd.suits(conv, x[..., :10]) and not winograd.suits(conv, x.bfloat16())
    with torch.autocast("cpu", torch.bfloat16):
        assert not winograd.suits(conv, x)


@pytest.mark.parametrize("padding", [False, True])
@pytest.mark.parametrize("size", ["small", "medium"])
def test_networks_give_the_same_either_way(size, padding):
    torch.manual_seed(0)
    plain = PDN(size, 128, padding, fewer_products=False)
    fewer = PDN(size, 128, padding)
    fewer.load_state_dict(plain.state_dict())
    images = torch.rand(1, 3, 92, 100)
    calls = mock.Mock(wraps=winograd.conv2d)
    with mock.patch.object(winograd, "conv2d", calls):
        maps = [network(images, slice(0, 128)) for network in (plain, fewer)]
    assert calls.call_count == 3
    torch.testing.assert_close(maps[1], maps[0], rtol=1e-4, atol=1e-5)
    for found in maps:
        found.square().mean().backward()
    for ours, theirs in zip(fewer.parameters(), plain.parameters()):  # a ReLU may fall the other way
        assert (ours.grad - theirs.grad).norm() < 1e-3 * theirs.grad.norm()
