"""mamba_ssm's Triton kernels as a back end of `ssd`, imported when they are first needed."""

import logging
import os
from collections.abc import Callable
from functools import lru_cache
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor

from d2road.utils.errors import ConfigError

logger = logging.getLogger(__name__)

BACKENDS = ("auto", "torch", "mamba_ssm")


def use_kernels(backend: str, *tensors: Tensor) -> bool:
    """Whether mamba_ssm is to compute what goes in as `tensors`.

    Raises:
        ConfigError: unknown back end, or mamba_ssm is asked for and cannot work on these tensors.
        ImportError: mamba_ssm is asked for and cannot be imported.
    """
    if backend not in BACKENDS:
        raise ConfigError(f"ssd: back end is {backend!r}, expected one of {', '.join(BACKENDS)}")
    fits = all(t.is_cuda and t.dtype != torch.float64 for t in tensors)
    if backend == "mamba_ssm":
        _load_kernels()
        # The interpreter runs Triton's programs on a CPU, for tests.
        if not fits and os.environ.get("TRITON_INTERPRET") != "1":
            raise ConfigError(
                f"ssd: back end mamba_ssm takes tensors of float32 or less on CUDA, got {tensors[0].dtype} on "
                f"{tensors[0].device}; take back end 'torch' or 'auto'"
            )
        return tensors[0].numel() > 0
    return backend == "auto" and fits and tensors[0].numel() > 0 and _kernels_work()


@lru_cache
def _kernels_work() -> bool:
    """Whether mamba_ssm can be imported; a broken installation is told once."""
    if find_spec("mamba_ssm") is None:
        return False
    try:
        _load_kernels()
    except ImportError as error:
        logger.warning("%s; using back end torch", error)
        return False
    return True


def _load_kernels() -> Callable:
    try:
        from mamba_ssm.ops.triton.ssd_combined import mamba_chunk_scan_combined
    except Exception as error:  # built for another torch or Triton it fails in ways of its own
        raise ImportError(
            f"ssd: back end mamba_ssm cannot be imported ({type(error).__name__}: {error}); install it on a machine "
            "with CUDA by `pip install mamba-ssm --no-build-isolation`, or take back end 'torch' or 'auto'"
        ) from error
    return mamba_chunk_scan_combined


def run_kernels(
    x: Tensor, dt: Tensor, A: Tensor, B: Tensor, C: Tensor, **options: Any
) -> Tensor | tuple[Tensor, Tensor]:
    """mamba_ssm's kernels: x, B and C of one type, the rest in float32."""
    single = {k: v.float() if isinstance(v, Tensor) else v for k, v in options.items()}
    B, C = B.to(x.dtype), C.to(x.dtype)
    return _load_kernels()(x.contiguous(), dt.float(), A.float(), B.contiguous(), C.contiguous(), **single)
