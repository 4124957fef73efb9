"""Adaptive average pooling that every engine runs."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor


def adaptive_avg_pool(maps: Tensor, size: int) -> Tensor:
    """Means over windows of maps (B, C, h, w), (B, C, size, size), as `F.adaptive_avg_pool2d`.

    While a graph is traced they are two products with matrices of constants: ONNX has no such pooling where the sides
    are no multiples of `size`. The maps' sides are constants of the graph then.
    """
    if not torch.jit.is_tracing():
        return F.adaptive_avg_pool2d(maps, size)
    height, width = (int(side) for side in maps.shape[-2:])
    return pooling_matrix(height, size).to(maps) @ maps @ pooling_matrix(width, size).to(maps).T


def pooling_matrix(length: int, size: int) -> Tensor:
    """Weights (size, length) of the pooling along an axis: window i is floor(i n / m) to ceil((i + 1) n / m)."""
    matrix = torch.zeros(size, length)
    for i in range(size):
        start, end = i * length // size, math.ceil((i + 1) * length / size)
        matrix[i, start:end] = 1 / (end - start)
    return matrix
