"""Linear layers of one input as one product of matrices."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def joint_linear(x: Tensor, layers: Sequence[nn.Linear]) -> tuple[Tensor, ...]:
    """What each of several linear layers with biases makes of (..., D): one product for all, and one for its gradient.

    The layers stay what they are, with parameters of their own.
    """
    weight = torch.cat([layer.weight for layer in layers])
    bias = torch.cat([layer.bias for layer in layers])
    return F.linear(x, weight, bias).split([layer.out_features for layer in layers], dim=-1)
