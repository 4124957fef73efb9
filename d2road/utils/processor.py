"""What the processor multiplies itself, by its instructions, and matrix products by the library that is fast on it."""

import logging
from collections.abc import Mapping
from functools import cache
from typing import Any

import torch

logger = logging.getLogger(__name__)

# By names of torch.cpu.get_capabilities.
BFLOAT16 = ("avx512_bf16", "amx_bf16")
BYTES = ("avx512_vnni", "avx_vnni", "amx_int8")  # these add products of bytes in 32 bits
AMX = ("amx_tile", "amx_bf16")
_EXACT = 2e-6  # relative, of sums of float32; rounded to bfloat16 they are off by some thousandths


def capabilities() -> Mapping[str, Any]:
    """Instruction sets of this processor by name; none where torch does not tell."""
    return getattr(torch.cpu, "get_capabilities", dict)()


def multiplies_bfloat16() -> bool:
    """Whether this processor multiplies bfloat16 itself; others emulate it, many times slower than float32."""
    # The functions are of versions of torch that do not list capabilities.
    names = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    return _has(BFLOAT16) or any(has() for name in names if (has := getattr(torch.cpu, name, None)) is not None)


def multiplies_bytes() -> bool:
    """Whether this processor multiplies and adds 8-bit integers by instructions of their own (VNNI, AMX)."""
    return _has(BYTES)


def has_matrix_units() -> bool:
    """Whether this processor has units for products of whole matrices (AMX)."""
    return _has(AMX)


def _has(names: tuple[str, ...]) -> bool:
    found = capabilities()
    return any(found.get(name, False) for name in names)


@cache
def use_fast_products() -> bool:
    """Let oneDNN do this process's float32 matrix products where the default library is slow; whether it does.

    PyTorch gives them to MKL, which on AMD's processors does not use AVX-512: it takes more than twice as long as
    oneDNN, which PyTorch has as well, and gives float32 products to if it is allowed to round them to bfloat16. Only a
    processor with AMX can do that, so here the products stay in float32, which is tried out and else taken back. A
    choice that the program or its environment made before is left alone.
    """
    found = capabilities()
    setting = getattr(torch.backends.mkldnn, "matmul", None)
    if not str(found.get("cpu_name", "")).startswith("AMD") or not found.get("avx512_f", False) or has_matrix_units():
        return False
    if setting is None or not torch.backends.mkldnn.is_available() or setting.fp32_precision not in ("none", "ieee"):
        return False
    before = setting.fp32_precision
    setting.fp32_precision = "bf16"
    if products_are_exact():
        return True
    setting.fp32_precision = before
    logger.info("oneDNN rounds float32 products to bfloat16 on this processor: they stay with MKL")
    return False


def products_are_exact() -> bool:
    """Whether matrix products, alone and in batches, are those of float32."""
    generator = torch.Generator().manual_seed(0)
    for shape in ((64, 256), (300, 1024), (8, 49, 256)):
        x = torch.rand(shape, generator=generator) + 0.5
        weight = torch.rand((*shape[:-2], shape[-1], 64), generator=generator) + 0.5
        exact = x.double() @ weight.double()
        if not bool((((x @ weight).double() - exact).abs() <= _EXACT * exact).all()):
            return False
    return True
