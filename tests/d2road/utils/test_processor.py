"""A processor is asked for its instructions, and products go to the faster library only where they stay exact."""

import pytest
import torch

from d2road.utils import processor


@pytest.fixture
def capable(monkeypatch):
    """Sets what the processor says of itself; the library of products is as before afterwards."""
    processor.use_fast_products.cache_clear()
    for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported"):
        monkeypatch.setattr(torch.cpu, name, lambda: False, raising=False)
    before = torch.backends.mkldnn.matmul.fp32_precision
    yield lambda **found: monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx2": True, **found})
    torch.backends.mkldnn.matmul.fp32_precision = before
    processor.use_fast_products.cache_clear()


@pytest.mark.parametrize("name", processor.BYTES)
def test_products_of_bytes_are_known_by_their_instructions(capable, name):
    capable(**{name: True})
    assert processor.multiplies_bytes() and processor.multiplies_bfloat16() == (name == "amx_bf16")
    capable(**{name: False})
    assert not processor.multiplies_bytes()


@pytest.mark.parametrize("name", processor.BFLOAT16)
def test_products_of_bfloat16_are_known_by_their_instructions(capable, name):
    capable(**{name: True})
    assert processor.multiplies_bfloat16()
    capable(avx512_f=True)
    assert not processor.multiplies_bfloat16()


def test_a_torch_that_does_not_tell_has_nothing(capable, monkeypatch):
    monkeypatch.delattr(torch.cpu, "get_capabilities")
    assert not processor.multiplies_bytes() and not processor.multiplies_bfloat16()
    assert not processor.use_fast_products()


@pytest.mark.parametrize(
    "found",
    [
        {"cpu_name": "Intel(R) Xeon(R)", "avx512_f": True},
        {"cpu_name": "AMD EPYC", "avx512_f": False},
        {"cpu_name": "AMD EPYC", "avx512_f": True, "amx_bf16": True},
    ],
)
def test_other_processors_keep_their_library(capable, found):
    capable(**found)
    before = torch.backends.mkldnn.matmul.fp32_precision
    assert not processor.use_fast_products() and torch.backends.mkldnn.matmul.fp32_precision == before


def test_products_that_would_be_rounded_are_taken_back(capable, monkeypatch):
    capable(cpu_name="AMD EPYC", avx512_f=True)
    monkeypatch.setattr(processor, "products_are_exact", lambda: False)
    before = torch.backends.mkldnn.matmul.fp32_precision
    assert not processor.use_fast_products() and torch.backends.mkldnn.matmul.fp32_precision == before


def test_rounded_products_are_told_from_exact_ones(monkeypatch):
    assert processor.products_are_exact()
    exact = torch.Tensor.__matmul__
    monkeypatch.setattr(
        torch.Tensor,
        "__matmul__",
        lambda x, y: exact(x, y) if x.dtype == torch.float64 else exact(x.bfloat16().float(), y.bfloat16().float()),
    )
    assert not processor.products_are_exact()


def test_products_stay_those_of_float32(capable):
    capable(cpu_name="AMD EPYC", avx512_f=True)
    if not processor.use_fast_products():
        pytest.skip("oneDNN rounds here, so it is not used")
    x, weight = torch.randn(2, 500, 300, generator=torch.Generator().manual_seed(1)).unbind()
    exact = x.double() @ weight.double().T
    assert float(((x @ weight.T).double() - exact).abs().max() / exact.abs().max()) < 1e-6
