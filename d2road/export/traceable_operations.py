"""Operations that torch.onnx writes badly, written otherwise while a graph is traced.

Of torch.onnx with dynamo=False, torch 2.14:

- `flatten` and `unflatten` are written well, but the sizes of what comes out of them are taken for those of the
  example, so that a graph of open sizes runs with one alone. `reshape` by traced sizes has no such fault.
- `logsigmoid` becomes log(sigmoid(x)), which is not finite from x = -88 on and loses its digits from -15 on;
  -softplus(-x) is the same number.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor


@contextmanager
def traceable_operations() -> Iterator[None]:
    """Replace the above while something is traced; else without effect."""
    if not torch.jit.is_tracing():
        yield
        return
    owners: Any = ((Tensor, "flatten", _flatten), (Tensor, "unflatten", _unflatten), (F, "logsigmoid", _log_sigmoid))
    before = [getattr(owner, name) for owner, name, _ in owners]
    try:
        for owner, name, function in owners:
            setattr(owner, name, function)
        yield
    finally:
        for (owner, name, _), function in zip(owners, before, strict=True):
            setattr(owner, name, function)


def _log_sigmoid(x: Tensor) -> Tensor:
    return -F.softplus(-x)


def _flatten(x: Tensor, start_dim: int = 0, end_dim: int = -1) -> Tensor:
    start, end = start_dim % x.ndim, end_dim % x.ndim
    size = -1 if end == x.ndim - 1 else _product(x.shape[start : end + 1])
    return x.reshape(*x.shape[:start], size, *x.shape[end + 1 :])


def _unflatten(x: Tensor, dim: int, sizes: Sequence[int]) -> Tensor:
    dim %= x.ndim
    return x.reshape(*x.shape[:dim], *sizes, *x.shape[dim + 1 :])


def _product(sizes: Sequence[int]) -> int:
    product = sizes[0]
    for size in sizes[1:]:
        product = product * size
    return product
