"""Functions that one formula needs to hold for arrays and for tensors: those that NumPy and PyTorch name differently.

What both call alike (`where`, `clip`, `minimum`, `roll`, ...) is taken from `namespace_of(values)`. Tensors keep their
gradients and their device; arrays never import torch.
"""

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from importlib import import_module
from typing import Any

import numpy as np


def namespace_of(values: Any) -> Any:
    """The module `numpy` for an array, `torch` for a tensor."""
    return np if isinstance(values, np.ndarray) else import_module("torch")


def on_accelerator(values: Any) -> bool:
    """Whether the host has to wait for these values."""
    return not isinstance(values, np.ndarray) and values.device.type != "cpu"


def as_float64(values: Any) -> Any:
    """Double precision."""
    return values.astype(np.float64, copy=False) if isinstance(values, np.ndarray) else values.double()


def cast(values: Any, dtype: Any) -> Any:
    """Another dtype of the same library."""
    return values.astype(dtype, copy=False) if isinstance(values, np.ndarray) else values.to(dtype)


def floating_dtype(a: Any, b: Any) -> Any:
    """The dtype of results about a and b: their common one, or the library's default where that is of integers."""
    if isinstance(a, np.ndarray):
        dtype = np.result_type(a, b)
        return dtype if np.issubdtype(dtype, np.floating) else np.dtype(np.float64)
    torch = namespace_of(a)
    dtype = torch.promote_types(a.dtype, b.dtype)
    return dtype if dtype.is_floating_point else torch.get_default_dtype()


def constant(values: Sequence, like: Any) -> Any:
    """Constants in the dtype and on the device of `like`."""
    return np.asarray(values, like.dtype) if isinstance(like, np.ndarray) else like.new_tensor(values)


def cat(parts: Sequence[Any], axis: int = 0) -> Any:
    """One after the other."""
    return np.concatenate(parts, axis) if isinstance(parts[0], np.ndarray) else namespace_of(parts[0]).cat(parts, axis)


def take_rows(values: Any, index: Any) -> Any:
    """Rows by an index of integers."""
    # tensor[index] uses threads for less than 100 rows.
    return values[index] if isinstance(values, np.ndarray) else values.index_select(0, index)


def take_along(values: Any, order: Any) -> Any:
    """Values of each column in an order of its own: (N, K), (M, K) -> (M, K)."""
    return np.take_along_axis(values, order, 0) if isinstance(values, np.ndarray) else values.gather(0, order)


def placed(like: Any, index: Any, values: Any) -> Any:
    """Zeros as `like` (N,) with `values` at `index`."""
    if isinstance(like, np.ndarray):
        result = np.zeros_like(like)
        result[index] = values
        return result
    return namespace_of(like).zeros_like(like).scatter(0, index, values)


def detached(values: Any) -> Any:
    """Without a gradient."""
    return values if isinstance(values, np.ndarray) else values.detach()


def no_gradients(values: Any) -> AbstractContextManager:
    """A block that keeps nothing for gradients."""
    return nullcontext() if isinstance(values, np.ndarray) else namespace_of(values).no_grad()
