"""Linear layers of one input in one product: the results and gradients of each by itself."""

import torch
from torch import nn

from d2road.layers.joint_linear import joint_linear


def test_results_and_gradients_are_those_of_each_layer():
    torch.manual_seed(0)
    layers = [nn.Linear(5, width, dtype=torch.float64) for width in (1, 4, 7)]
    x = torch.randn(2, 3, 5, dtype=torch.float64, requires_grad=True)
    weights = [torch.randn(2, 3, layer.out_features, dtype=torch.float64) for layer in layers]
    gradients = []
    for results in (joint_linear(x, layers), [layer(x) for layer in layers]):
        loss = sum((result * weight).sum() for result, weight in zip(results, weights, strict=True))
        parameters = [p for layer in layers for p in layer.parameters()]
        gradients.append((loss, *torch.autograd.grad(loss, [x, *parameters])))
    for ours, theirs in zip(*gradients, strict=True):
        torch.testing.assert_close(ours, theirs)
