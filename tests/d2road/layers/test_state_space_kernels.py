"""mamba_ssm as a back end: its kernels under Triton's interpreter, and what happens without it."""

import importlib.util
import os
import subprocess
import sys
import types

import pytest
import torch

from d2road.layers import ssd, state_space_kernels

INSTALLED = importlib.util.find_spec("mamba_ssm") is not None

# In a process of its own: Triton reads TRITON_INTERPRET when it is imported, and the rest stands in for a GPU.
ON_A_CPU = """
import contextlib, importlib.util, sys, types

import torch

# The package without what its __init__ imports: a CUDA extension, and language models.
package = types.ModuleType("mamba_ssm")
package.__path__ = importlib.util.find_spec("mamba_ssm").submodule_search_locations
sys.modules["mamba_ssm"] = package
torch.cuda.device = lambda *args: contextlib.nullcontext()
torch.cuda.get_device_properties = lambda *args: types.SimpleNamespace(multi_processor_count=1, warp_size=32)

from triton.runtime.autotuner import Autotuner
import mamba_ssm.ops.triton.ssd_combined

for name, module in list(sys.modules.items()):
    if name.startswith("mamba_ssm.ops.triton"):
        for tuner in vars(module).values():
            if isinstance(tuner, Autotuner):
                tuner.configs = tuner.configs[:1]  # nothing to measure here

from d2road.layers import ssd, ssd_reference

generator = torch.Generator().manual_seed(0)
normal = lambda *shape: torch.randn(*shape, generator=generator)
values = {
    "x": normal(1, 40, 4, 16), "dt": normal(1, 40, 4), "A": -normal(4).exp(), "B": normal(1, 40, 2, 16),
    "C": normal(1, 40, 2, 16), "D": normal(4), "dt_bias": normal(4), "initial_states": normal(1, 4, 16, 16),
}
results = []
for options in ({"backend": "mamba_ssm"}, {"backend": "torch"}):
    own = {name: value.clone().requires_grad_() for name, value in values.items()}
    y, state = ssd(**own, chunk_size=16, dt_softplus=True, return_final_states=True, **options)
    (y.square().sum() + state.sin().sum()).backward()
    results.append([y, state, *(value.grad for value in own.values())])
for name, kernel, own in zip(["y", "final states", *values], *results):
    error = (kernel - own).abs().max() / own.abs().max()
    print(f"{name}: {error:.1e}")
    assert error < 2e-5, name
"""


@pytest.mark.kernels
@pytest.mark.skipif(not INSTALLED, reason="mamba_ssm is not installed")
def test_kernels_under_the_interpreter(repo_dir):
    pytest.importorskip("triton")
    run = subprocess.run(
        [sys.executable, "-c", ON_A_CPU],
        env=os.environ | {"TRITON_INTERPRET": "1", "PYTHONPATH": os.pathsep.join([str(repo_dir), *sys.path])},
        capture_output=True,
        text=True,
        timeout=1200,
    )
    assert run.returncode == 0, run.stdout + run.stderr
    assert "final states" in run.stdout


def small(**changes):
    ones = torch.ones(1, 2, 1, 1)
    return {"x": ones, "dt": ones[..., 0], "A": -torch.ones(1), "B": ones, "C": ones} | changes


def test_missing_package_says_what_to_do(monkeypatch):
    monkeypatch.setitem(sys.modules, "mamba_ssm", None)
    with pytest.raises(ImportError, match=r"mamba_ssm cannot be imported .*pip install mamba-ssm.*'torch' or 'auto'"):
        ssd(**small(), backend="mamba_ssm")
    assert ssd(**small()).shape == (1, 2, 1, 1)


def stand_in(monkeypatch, function):
    """Put a function in the place of mamba_ssm's."""
    names = ["mamba_ssm", "mamba_ssm.ops", "mamba_ssm.ops.triton", "mamba_ssm.ops.triton.ssd_combined"]
    for name in names:
        monkeypatch.setitem(sys.modules, name, types.ModuleType(name))
    sys.modules[names[-1]].mamba_chunk_scan_combined = function


@pytest.mark.parametrize("changes", [{}, {"x": torch.ones(1, 2, 1, 1, dtype=torch.float64)}])
def test_tensors_that_the_kernels_cannot_take(monkeypatch, changes):
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    stand_in(monkeypatch, None)
    with pytest.raises(ValueError, match=r"on CUDA, got torch.float\d\d on cpu; take back end 'torch'"):
        ssd(**small(**changes), backend="mamba_ssm")


def test_kernels_get_what_they_expect(monkeypatch):
    """x, B and C of one type, the rest in float32, everything else by mamba_ssm's own names."""
    seen = {}

    def kernel(x, dt, A, B, C, chunk_size, **options):
        seen.update(options, x=x, dt=dt, A=A, B=B, C=C, chunk_size=chunk_size)
        return x, "state"

    stand_in(monkeypatch, kernel)
    monkeypatch.setenv("TRITON_INTERPRET", "1")
    half = {name: value.half() for name, value in small(D=torch.ones(1)).items()}
    half["B"] = half["B"].float()
    assert ssd(**half, dt_softplus=True, return_final_states=True, backend="mamba_ssm")[1] == "state"
    kinds = {name: value.dtype for name, value in seen.items() if isinstance(value, torch.Tensor)}
    assert kinds == dict.fromkeys("xBC", torch.float16) | dict.fromkeys(["dt", "A", "D"], torch.float32)
    assert seen["dt_softplus"] is True and seen["chunk_size"] == 64 and seen["initial_states"] is None


def test_a_broken_installation_is_told_once(monkeypatch, caplog):
    monkeypatch.setattr(state_space_kernels, "find_spec", lambda name: True)
    monkeypatch.setitem(sys.modules, "mamba_ssm", None)
    state_space_kernels._kernels_work.cache_clear()
    try:
        assert not state_space_kernels._kernels_work() and not state_space_kernels._kernels_work()
    finally:
        state_space_kernels._kernels_work.cache_clear()
    assert [record.message for record in caplog.records if "using back end torch" in record.message] == caplog.messages
    assert len(caplog.messages) == 1
