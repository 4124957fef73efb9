"""The chunked scan against its recurrence, golden vectors of mamba_ssm's kernels, transformers, and identities."""

import inspect

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from d2road.layers import ssd, ssd_reference


def inputs(length=37, heads=4, dim=3, groups=2, size=5, batch=2, dtype=torch.float64, seed=0):
    """Arguments of `ssd` by name, with everything that is optional."""
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape):
        return torch.randn(*shape, generator=generator, dtype=dtype)

    return {
        "x": normal(batch, length, heads, dim),
        "dt": normal(batch, length, heads),
        "A": -normal(heads).exp(),
        "B": normal(batch, length, groups, size),
        "C": normal(batch, length, groups, size),
        "D": normal(heads),
        "dt_bias": normal(heads) - 1,
        "initial_states": normal(batch, heads, dim, size),
        "dt_softplus": True,
    }


def of_steps(values, first, last):
    """The arguments for a part of the sequence."""
    return values | {name: values[name][:, first:last] for name in ("x", "dt", "B", "C")}


def assert_same(found, expected, tolerance):
    for one, other in zip(found, expected, strict=True):
        assert one.shape == other.shape
        torch.testing.assert_close(one, other, atol=tolerance, rtol=tolerance)


# --- against others --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("chunk", [1, 7, 16, 64])
@pytest.mark.parametrize("function", [ssd, ssd_reference])
def test_golden_vectors_of_the_kernels(golden_dir, function, chunk):
    golden = torch.load(golden_dir / "ssd.pt", weights_only=True)
    core = {name: golden[name] for name in ("x", "A", "B", "C")} | {"chunk_size": chunk, "return_final_states": True}
    extra = {name: golden[name] for name in ("D", "dt_bias", "initial_states")}
    full = function(dt=golden["dt"], dt_softplus=True, **core, **extra)
    assert_same(full, (golden["full"]["y"], golden["full"]["final_states"]), 1e-4)
    plain = function(dt=F.softplus(golden["dt"]), **core)
    assert_same(plain, (golden["plain_softplus_dt"]["y"], golden["plain_softplus_dt"]["final_states"]), 1e-4)


def test_transformers_chunk_scan():
    modeling = pytest.importorskip("transformers.models.mamba2.modeling_mamba2")
    if not hasattr(modeling, "mamba2_chunk_scan"):
        pytest.skip("this version of transformers has no mamba2_chunk_scan")
    theirs = inspect.unwrap(modeling.mamba2_chunk_scan)  # the torch code, also where mamba_ssm is installed
    values = inputs(length=75, groups=2, dtype=torch.float32) | {"return_final_states": True}
    expected = theirs(values["x"], **{k: v for k, v in values.items() if k != "x"}, chunk_size=16)
    assert_same(ssd(**values, chunk_size=16), expected, 2e-5)


# --- against the recurrence ------------------------------------------------------------------------------------------


@settings(max_examples=40, deadline=None)
@given(
    length=st.integers(0, 70), chunk=st.integers(1, 80), groups=st.integers(1, 3), share=st.integers(1, 3),
    optional=st.sets(st.sampled_from(["D", "dt_bias", "initial_states"])), seed=st.integers(0, 2**20),
)  # fmt: skip
def test_equals_the_recurrence_at_any_shape(length, chunk, groups, share, optional, seed):
    values = inputs(length, heads=groups * share, groups=groups, seed=seed)
    values = {k: v for k, v in values.items() if k not in {"D", "dt_bias", "initial_states"} - optional}
    found = ssd(**values, chunk_size=chunk, return_final_states=True)
    assert_same(found, ssd_reference(**values, return_final_states=True), 1e-10)
    assert torch.equal(ssd(**values, chunk_size=chunk), found[0])


def test_recurrence_by_hand():
    """One channel, one number of state: S = 0.5 S + x, read by C."""
    one = torch.ones(1, 3, 1, 1)
    x = torch.tensor([4.0, 2.0, 1.0]).view(1, 3, 1, 1)
    rate = torch.tensor([0.5]).log()
    for function in (ssd, ssd_reference):
        y, state = function(x, one[..., 0], rate, one, 2 * one, initial_states=8 * one[:, :1], return_final_states=True)
        torch.testing.assert_close(y.flatten(), 2 * torch.tensor([8.0, 6.0, 4.0]))
        torch.testing.assert_close(state.flatten(), torch.tensor([4.0]))


def test_weight_of_x_by_channel():
    values = inputs() | {"D": torch.randn(4, 3, dtype=torch.float64)}
    without = ssd(**values | {"D": None})
    torch.testing.assert_close(ssd(**values), without + values["x"] * values["D"])
    assert_same([ssd(**values)], [ssd_reference(**values)], 1e-10)


def test_any_layout_in_memory():
    values = inputs()
    strided = {
        k: v.transpose(0, -1).contiguous().transpose(0, -1) if isinstance(v, torch.Tensor) else v
        for k, v in values.items()
    }
    assert not strided["x"].is_contiguous() and not strided["initial_states"].is_contiguous()
    assert_same(
        ssd(**strided, return_final_states=True, chunk_size=16),
        ssd(**values, return_final_states=True, chunk_size=16),
        1e-12,
    )


def test_long_sequence_in_float32():
    values = inputs(length=3000, heads=2, groups=1, batch=1)
    expected = ssd_reference(**values)
    found = ssd(**{k: v.float() if isinstance(v, torch.Tensor) else v for k, v in values.items()})
    assert found.dtype == torch.float32
    assert (found - expected).abs().max() < 1e-5 * expected.abs().max()


# --- identities that fusion rests on ---------------------------------------------------------------------------------


def test_a_sequence_may_be_cut_and_continued():
    values = inputs()
    y, state = ssd(**values, return_final_states=True)
    begin, between = ssd(**of_steps(values, 0, 23), return_final_states=True)
    end, last = ssd(**of_steps(values, 23, 37) | {"initial_states": between}, return_final_states=True)
    assert_same([torch.cat([begin, end], 1), last], [y, state], 1e-10)


def test_steps_of_length_zero_read_the_state_and_leave_it():
    """Text that writes, images that read: one scan over both, the text's state as a start, or a plain product."""
    values = inputs(groups=1) | {"dt": torch.rand(2, 37, 4, dtype=torch.float64), "D": None}
    values |= {"dt_softplus": False, "dt_bias": None, "initial_states": None}
    values["dt"][:, 20:] = 0
    y, state = ssd(**values, return_final_states=True)
    _, text = ssd(**of_steps(values, 0, 20), return_final_states=True)
    assert_same([text], [state], 1e-12)
    seen = ssd(**of_steps(values, 20, 37) | {"initial_states": text})
    product = torch.einsum("blgn,bhpn->blhp", values["C"][:, 20:], text)
    assert_same([y[:, 20:], seen], [product, product], 1e-10)


def test_later_steps_do_not_change_earlier_results():
    values = inputs()
    changed = {k: v.clone() if isinstance(v, torch.Tensor) else v for k, v in values.items()}
    for name in ("x", "dt", "B", "C"):
        changed[name][:, 20:] = 3.0
    assert torch.equal(ssd(**values)[:, :20], ssd(**changed)[:, :20])


# --- gradients -------------------------------------------------------------------------------------------------------


def test_gradients():
    values = inputs(length=4, heads=2, dim=1, groups=1, size=2, batch=1)
    names = [name for name in values if name != "dt_softplus"]

    def run(*tensors):
        return ssd(**dict(zip(names, tensors)), chunk_size=3, dt_softplus=True, return_final_states=True)

    tensors = [values[name].requires_grad_() for name in names]
    assert torch.autograd.gradcheck(run, tensors)
    assert torch.autograd.gradgradcheck(run, tensors, fast_mode=True)


def test_gradients_are_those_of_the_recurrence():
    gradients = []
    for function in (ssd, ssd_reference):
        values = inputs()
        tensors = [value.requires_grad_() for value in values.values() if isinstance(value, torch.Tensor)]
        y, state = function(**values, chunk_size=8, return_final_states=True)
        gradients.append(torch.autograd.grad(y.square().sum() + state.sin().sum(), tensors))
    assert_same(*gradients, 1e-9)


# --- numbers at the edge ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
@pytest.mark.parametrize("step", [0.0, 1e-4, 30.0, 1e4])
def test_extreme_steps_are_finite(dtype, step):
    values = inputs(length=130, dtype=torch.float32) | {"dt_softplus": False, "dt_bias": None}
    values["dt"] = torch.full((2, 130, 4), step)
    values = {k: v.to(dtype) if isinstance(v, torch.Tensor) else v for k, v in values.items()}
    values["x"] = values["x"] / max(step, 1)
    tensors = [v.requires_grad_() for v in values.values() if isinstance(v, torch.Tensor)]
    y, state = ssd(**values, return_final_states=True)
    assert y.dtype == dtype and state.dtype == torch.float32
    assert torch.isfinite(y).all() and torch.isfinite(state).all()
    (y.float().mean() + state.mean()).backward()
    assert all(torch.isfinite(t.grad).all() for t in tensors)


def test_a_very_long_step_costs_the_short_ones_after_it_no_digits():
    values = inputs(length=48) | {"dt_softplus": False, "dt_bias": None}
    values["dt"] = torch.rand(2, 48, 4, dtype=torch.float64) * 0.1
    values["dt"][:, 5] = 1e6
    expected = ssd_reference(**values)
    found = ssd(**{k: v.float() if isinstance(v, torch.Tensor) else v for k, v in values.items()})
    scale = expected[:, 6:].abs().max()
    assert (found[:, 6:] - expected[:, 6:]).abs().max() < 1e-6 * scale
    assert_same([ssd(**values)], [expected], 1e-9)


def test_result_is_computed_in_float32_under_autocast():
    values = {k: v.float() if isinstance(v, torch.Tensor) else v for k, v in inputs().items()}
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(ssd(**values), ssd(**values | {"backend": "torch"}))
        inside = ssd(**values)
    assert torch.equal(inside, ssd(**values))


# --- cost ------------------------------------------------------------------------------------------------------------


def test_work_grows_with_the_length_not_with_its_square():
    from torch.utils.flop_counter import FlopCounterMode

    counts = []
    for length in (256, 512, 1024):
        with FlopCounterMode(display=False) as counter:
            ssd(**inputs(length))
        counts.append(counter.get_total_flops())
    assert 0 < counts[1] == 2 * counts[0] and counts[2] == 4 * counts[0]


# --- mistakes --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "shape", "words"),
    [
        ("x", (2, 37, 4), r"x is \(2, 37, 4\), expected \(b, l, h, p\)"),
        ("dt", (2, 37, 1), r"dt \(b, l, h\) is \(2, 37, 1\), expected \(2, 37, 4\)"),
        ("A", (3,), r"A \(h,\) is \(3,\), expected \(4,\)"),
        ("B", (2, 37, 5), r"B is \(2, 37, 5\), expected \(b, l, g, n\)"),
        ("B", (2, 37, 3, 5), "3 groups, which do not divide the 4 heads"),
        ("C", (2, 37, 2, 6), r"C \(b, l, g, n\) is .* expected \(2, 37, 2, 5\)"),
        ("D", (4, 2), r"D \(h,\) or \(h, p\) is \(4, 2\), expected \(4, 3\)"),
        ("dt_bias", (5,), r"dt_bias \(h,\) is \(5,\)"),
        ("initial_states", (2, 4, 5, 3), r"initial_states \(b, h, p, n\) is .* expected \(2, 4, 3, 5\)"),
    ],
)
@pytest.mark.parametrize("function", [ssd, ssd_reference])
def test_wrong_shapes_are_named(function, name, shape, words):
    with pytest.raises(ValueError, match=words):
        function(**inputs() | {name: torch.ones(shape)})


def test_wrong_chunk_and_back_end():
    with pytest.raises(ValueError, match="chunk_size is 0"):
        ssd(**inputs(), chunk_size=0)
    with pytest.raises(ValueError, match="'triton', expected one of auto, torch, mamba_ssm"):
        ssd(**inputs(), backend="triton")
