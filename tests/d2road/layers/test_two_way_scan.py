"""Both ways over a short sequence against the recurrence over it and over its reverse."""

import pytest
import torch
import torch.nn.functional as F

from d2road.layers import BidirectionalMamba2
from d2road.layers.state_space import ssd_reference
from d2road.layers.two_way_scan import convolve_two_ways, scan_two_ways


@pytest.mark.parametrize("groups", [1, 2])
def test_equals_the_recurrence_of_each_way(groups):
    torch.manual_seed(0)
    b, h, p, n, length = 2, 4, 3, 5, 7
    x, dt = torch.randn(b, 2, h, p, length), torch.rand(b, length, 2, h)
    A, D = -torch.rand(2, h), torch.randn(2, h)
    B, C = torch.randn(b, 2, groups, n, length), torch.randn(b, 2, groups, n, length)
    dt[0, 5:] = 0  # padding
    y, state = scan_two_ways(x, dt, -A, B, C, D)
    for way in range(2):
        order = torch.arange(length).flip(0) if way else torch.arange(length)
        tokens = [t[:, way].movedim(-1, 1)[:, order] for t in (x, B, C)]
        expected, last = ssd_reference(
            tokens[0], dt[:, order, way], A[way], *tokens[1:], D=D[way], return_final_states=True
        )
        torch.testing.assert_close(y[:, way].movedim(-1, 1)[:, order], expected, atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(state[:, way], last, atol=1e-5, rtol=1e-5)


def test_each_half_of_the_channels_sees_one_side():
    torch.manual_seed(0)
    x, weight, bias = torch.randn(2, 6, 9), torch.randn(6, 1, 4), torch.randn(6)
    found = convolve_two_ways(x, weight, bias)
    ahead = F.conv1d(F.pad(x[:, :3], (3, 0)), weight[:3], bias[:3], groups=3)
    back = F.conv1d(F.pad(x[:, 3:].flip(-1), (3, 0)), weight[3:], bias[3:], groups=3).flip(-1)
    torch.testing.assert_close(found, torch.cat([ahead, back], dim=1), atol=1e-6, rtol=1e-5)


def test_short_and_long_sequences_are_the_same_layer():
    """One product of all steps, or chunks of a turned sequence: outputs, states and gradients."""
    torch.manual_seed(0)
    layer = BidirectionalMamba2(8, heads=4, head_dim=4, state_dim=6, groups=2, chunk_size=16)
    x, valid = torch.randn(3, 11, 8), torch.arange(11) < torch.tensor([11, 4, 1])[:, None]
    gate, found = torch.rand(3, 11), []
    for size in (16, 3):
        layer.ahead.chunk_size = size
        layer.zero_grad()
        y, state = layer(x, valid=valid, step_gate=gate, return_final_states=True)
        (y.square().sum() + state.sin().sum()).backward()
        found.append([y, state, *(p.grad.clone() for p in layer.parameters())])
    for one, other in zip(*found):
        torch.testing.assert_close(one, other, atol=1e-4, rtol=1e-4)
