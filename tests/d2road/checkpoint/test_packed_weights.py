"""Weights in 8 bits: what they are worth, what they take, and what is refused."""

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from d2road.checkpoint import load_weights_file
from d2road.checkpoint.packed_weights import (
    SCALE,
    STORAGE,
    dequantize_per_channel,
    pack_state,
    quantize_per_channel,
    write_packed,
)
from d2road.utils.errors import CheckpointError


@pytest.fixture
def state() -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    conv = torch.randn(6, 8, 3, 3) * torch.logspace(-5, 3, 6).view(-1, 1, 1, 1)  # channels of very different size
    conv[2] = 0
    return {
        "conv.weight": conv, "depthwise.weight": torch.randn(40, 1, 3, 3), "conv.bias": torch.randn(6),
        "norm.running_var": torch.tensor([1e6]), "state.threshold": torch.tensor(1 / 3), "num": torch.tensor(7),
        "attn.in_proj_weight": torch.randn(12, 64), "state.codes": torch.arange(-5, 5, dtype=torch.int8),
    }  # fmt: skip


def test_the_numbers_are_those_of_pytorchs_own_quantization(state):
    weight = state["conv.weight"][3:]
    values, scale = quantize_per_channel(weight)
    theirs = torch.fake_quantize_per_channel_affine(
        weight, scale.float(), torch.zeros(3, dtype=torch.int32), 0, -127, 127
    )
    torch.testing.assert_close(dequantize_per_channel(values, scale), theirs, rtol=1e-6, atol=0)


def test_a_weight_comes_back_to_half_a_level_of_its_channel(state, tmp_path):
    write_packed(tmp_path / "x.safetensors", state, int8=True)
    loaded = load_weights_file(tmp_path / "x.safetensors")
    assert set(loaded) == set(state)
    for name in ("conv.weight", "attn.in_proj_weight"):
        largest = state[name].abs().flatten(1).amax(1)
        error = (loaded[name] - state[name]).abs().flatten(1).amax(1)
        # A scale is rounded up to 11 bits, or to 2^-24 where it is smaller than float16 has them normal.
        assert (error <= 0.5 * (largest / 127 * (1 + 2**-10) + 2**-24)).all()
    assert not loaded["conv.weight"][2].any()
    torch.testing.assert_close(loaded["depthwise.weight"].float(), state["depthwise.weight"], rtol=2**-11, atol=0)
    for name in ("norm.running_var", "state.threshold", "num", "state.codes"):  # what 16 bits would spoil, and states
        assert torch.equal(loaded[name], state[name]) and loaded[name].dtype == state[name].dtype


def test_it_takes_a_quarter(tmp_path):
    state = {"layer.weight": torch.randn(256, 1024)}
    write_packed(tmp_path / "int8.safetensors", state, int8=True)
    write_packed(tmp_path / "half.safetensors", state, int8=False)
    assert (tmp_path / "int8.safetensors").stat().st_size < 0.26 * 4 * 256 * 1024
    assert (tmp_path / "half.safetensors").stat().st_size < 0.51 * 4 * 256 * 1024


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda t: t.pop("conv.weight"), "but not the weight that it scales"),
        (lambda t: t.update({"conv.weight" + SCALE: t["conv.weight" + SCALE].float()}), "expected int8"),
        (lambda t: t.update({"conv.weight" + SCALE: t["conv.weight" + SCALE][:5].clone()}), "expected int8"),
        (lambda t: t["conv.weight" + SCALE].fill_(float("nan")), "not positive numbers"),
        (lambda t: t["conv.weight" + SCALE].fill_(0), "not positive numbers"),
        (lambda t: t.update({"conv.weight": t["conv.weight"].half()}), "expected int8"),
    ],
)
def test_what_does_not_belong_together_is_refused(change, words, state, tmp_path):
    tensors = pack_state(state, int8=True)
    change(tensors)
    save_file(tensors, tmp_path / "x.safetensors", {STORAGE: "int8_per_channel"})
    with pytest.raises(CheckpointError, match=words):
        load_weights_file(tmp_path / "x.safetensors")


def test_a_form_of_a_later_version_is_refused_and_files_of_others_are_as_they_are(state, tmp_path):
    tensors = pack_state(state, int8=True)
    save_file(tensors, tmp_path / "new.safetensors", {STORAGE: "int4"})
    with pytest.raises(CheckpointError, match=r"stored as 'int4'.*update d2road"):
        load_weights_file(tmp_path / "new.safetensors")
    save_file(tensors, tmp_path / "other.safetensors", {"format": "pt"})
    assert set(load_weights_file(tmp_path / "other.safetensors")) == set(tensors)


def test_the_same_weights_give_the_same_bytes(state, tmp_path):
    """safetensors writes metadata in another order each time."""
    metadata = {f"key_{number}": "ä" for number in range(8)}
    contents = set()
    for number in range(4):
        write_packed(tmp_path / f"{number}.safetensors", state, int8=True, metadata=metadata)
        contents.add((tmp_path / f"{number}.safetensors").read_bytes())
    assert len(contents) == 1
    with safe_open(tmp_path / "0.safetensors", "pt") as file:
        assert file.metadata() == {STORAGE: "int8_per_channel", **metadata}
