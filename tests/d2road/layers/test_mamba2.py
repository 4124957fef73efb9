"""Mamba-2 layers against transformers' with copied weights; padding, gates, directions."""

import pytest
import torch

from d2road.layers.mamba2 import BidirectionalMamba2, GatedRMSNorm, Mamba2

SIZES = {"heads": 4, "head_dim": 3, "state_dim": 5, "groups": 2}


def layer(kind=Mamba2, dtype=torch.float64, **options):
    torch.manual_seed(0)
    made = kind(8, **SIZES | options).to(dtype)
    for name, parameter in made.named_parameters():  # at its start D, norm and conv bias would hide mistakes
        if name.split(".")[-1] in ("D", "bias") or "norm" in name:
            torch.nn.init.normal_(parameter)
    return made


def tokens(batch=2, length=13, dtype=torch.float64):
    return torch.randn(batch, length, 8, dtype=dtype, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("groups", [1, 2])
def test_equals_transformers_mixer(groups):
    modeling = pytest.importorskip("transformers.models.mamba2.modeling_mamba2")
    from transformers import Mamba2Config

    config = Mamba2Config(
        hidden_size=8, num_heads=4, head_dim=4, expand=2, state_size=5, n_groups=groups, conv_kernel=4, chunk_size=4,
        num_hidden_layers=1,
    )  # fmt: skip
    own = layer(dtype=torch.float32, groups=groups, head_dim=4)
    theirs = modeling.Mamba2Mixer(config, layer_idx=0).eval()
    assert theirs.load_state_dict(own.state_dict(), strict=True)
    x = tokens(dtype=torch.float32)
    with torch.no_grad():
        torch.testing.assert_close(own(x), theirs(x), atol=2e-5, rtol=2e-5)


# --- padding ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [Mamba2, BidirectionalMamba2])
@pytest.mark.parametrize("before", [0, 3])
def test_padding_is_neutral(kind, before):
    """Sequences of 13 and 6 tokens in one batch give what each gives alone, whatever the padding holds."""
    model, x = layer(kind, chunk_size=4), tokens()
    start = torch.randn(2, 4, 3, 5, dtype=torch.float64)
    valid = torch.zeros(2, 20, dtype=torch.bool)
    padded = torch.full((2, 20, 8), torch.nan, dtype=torch.float64)
    for row, length in enumerate((13, 6)):
        valid[row, before : before + length] = True
        padded[row, before : before + length] = x[row, :length]
    y, state = model(padded, valid, initial_states=start, return_final_states=True)
    assert (y[~valid] == 0).all()
    for row, length in enumerate((13, 6)):
        alone = model(x[row : row + 1, :length], initial_states=start[row : row + 1], return_final_states=True)
        torch.testing.assert_close(y[row, before : before + length], alone[0][0], atol=1e-12, rtol=1e-12)
        torch.testing.assert_close(state[row], alone[1][0], atol=1e-12, rtol=1e-12)
    y.sum().backward()
    assert all(torch.isfinite(p.grad).all() for p in model.parameters())


@pytest.mark.parametrize("kind", [Mamba2, BidirectionalMamba2])
def test_a_sequence_without_tokens(kind):
    model, start = layer(kind), torch.randn(2, 4, 3, 5, dtype=torch.float64)
    y, state = model(tokens(), torch.zeros(2, 13, dtype=torch.bool), None, start, True)
    assert (y == 0).all()
    assert torch.equal(state, start * (1 if kind is Mamba2 else 2))
    assert model(tokens(length=0)).shape == (2, 0, 8)


# --- gates -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [Mamba2, BidirectionalMamba2])
def test_tokens_with_a_closed_gate_write_and_fade_nothing(kind):
    model, x = layer(kind, kernel=1), tokens()  # without a convolution, through which they would still be seen
    gate = torch.ones(2, 13, dtype=torch.float64)
    gate[:, 4:9] = 0
    kept = gate[0] == 1
    y, state = model(x, step_gate=gate, return_final_states=True)
    expected, expected_state = model(x[:, kept], return_final_states=True)
    torch.testing.assert_close(y[:, kept], expected, atol=1e-12, rtol=1e-12)
    torch.testing.assert_close(state, expected_state, atol=1e-12, rtol=1e-12)


def test_gates_of_all_heads_or_of_each():
    model, x = layer(), tokens()
    gate = torch.rand(2, 13, dtype=torch.float64)
    each = gate.unsqueeze(-1).expand(-1, -1, 4)
    assert torch.equal(model(x, step_gate=gate), model(x, step_gate=each))
    changed = each.clone()
    changed[..., 2] = 0
    differs = (model(x, step_gate=each, return_final_states=True)[1] != model(x, None, changed, None, True)[1]).any(-1)
    assert differs[:, 2].any() and not differs[:, [0, 1, 3]].any()


# --- directions ------------------------------------------------------------------------------------------------------


def test_one_direction_is_causal_and_both_are_not():
    x = tokens()
    later = x.clone()
    later[:, 8:] += 1
    one, both = layer(), layer(BidirectionalMamba2)
    assert torch.equal(one(x)[:, :8], one(later)[:, :8])
    assert (both(x)[:, :8] != both(later)[:, :8]).all(-1).all()


def test_exchanged_directions_reverse_the_result():
    model, x = layer(BidirectionalMamba2), tokens()
    y, state = model(x, return_final_states=True)
    model.ahead, model.back = model.back, model.ahead
    reverse, same_state = model(x.flip(1), return_final_states=True)
    torch.testing.assert_close(reverse.flip(1), y, atol=1e-12, rtol=1e-12)
    torch.testing.assert_close(same_state, state, atol=1e-12, rtol=1e-12)


def test_small_rates_keep_early_tokens():
    """A long filler after them hardly changes the state if A starts near zero; with the published A it does."""
    change = {}
    for a_range in ((1e-4, 1e-3), (1.0, 16.0)):
        model = layer(a_range=a_range, kernel=1)
        torch.nn.init.zeros_(model.conv1d.bias)  # now the filler writes nothing
        x, filler = tokens(1, 6), torch.zeros(1, 200, 8, dtype=torch.float64)
        _, alone = model(x, return_final_states=True)
        _, after = model(torch.cat([x, filler], 1), return_final_states=True)
        change[a_range[1]] = ((after - alone).norm() / alone.norm()).item()
    assert change[1e-3] < 0.02 and change[16.0] > 0.5


# --- the rest --------------------------------------------------------------------------------------------------------


def test_start_values_lie_where_asked():
    model = Mamba2(8, heads=200, head_dim=1, a_range=(0.5, 2.0), dt_range=(0.01, 0.02))
    rates, steps = model.A_log.exp(), torch.nn.functional.softplus(model.dt_bias)
    assert 0.5 <= rates.min() < 0.6 and 1.9 < rates.max() <= 2.0
    assert 0.0099 < steps.min() < 0.0105 and 0.0195 < steps.max() < 0.0201
    assert (model.D == 1).all()


def test_norm_by_hand():
    y, gate = torch.tensor([3.0, 4.0]), torch.tensor([50.0, 50.0])  # SiLU(50) = 50
    norm = GatedRMSNorm(2, eps=0.0)
    torch.testing.assert_close(norm(y, gate), y / (12.5**0.5))
    torch.testing.assert_close(GatedRMSNorm(2, groups=2, eps=0.0)(y, gate), torch.ones(2))


def test_bfloat16_autocast():
    model = layer(BidirectionalMamba2, torch.float32)
    x = tokens(dtype=torch.float32).requires_grad_()
    expected = model(x)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        y = model(x)
    assert (y.float() - expected).norm() < 0.05 * expected.norm()
    y.float().sum().backward()
    assert torch.isfinite(x.grad).all()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"heads": 3}, "2 groups do not divide 3 heads"),
        ({"kernel": 0}, "kernel is 0"),
        ({"a_range": (0.0, 1.0)}, r"a_range is \(0.0, 1.0\)"),
        ({"dt_range": (0.1, 0.01)}, r"dt_range is \(0.1, 0.01\)"),
    ],
)
def test_wrong_options_are_named(options, words):
    with pytest.raises(ValueError, match=words):
        layer(**options)


def test_wrong_masks_are_named():
    model, x = layer(), tokens()
    with pytest.raises(ValueError, match=r"valid is \(2, 12\), expected \(2, 13\)"):
        model(x, valid=torch.ones(2, 12, dtype=torch.bool))
    with pytest.raises(ValueError, match=r"step_gate is \(2, 13, 3\), expected \(2, 13, 4\)"):
        model(x, step_gate=torch.ones(2, 13, 3))
    with pytest.raises(ValueError, match=r"initial_states \(b, h, p, n\) is \(2, 4, 5, 3\)"):
        model(x, initial_states=torch.ones(2, 4, 5, 3))


def test_both_directions_are_the_sum_of_a_layer_each():
    model, x = layer(BidirectionalMamba2, chunk_size=4), tokens()
    valid = torch.arange(13) < torch.tensor([[13], [6]])
    gate = torch.rand(2, 13, 4, dtype=torch.float64) * valid[..., None]
    start = torch.randn(2, 4, 3, 5, dtype=torch.float64)
    y, state = model(x, valid, gate, start, True)
    ahead = model.ahead(x, valid, gate, start, True)
    back = model.back(x.flip(1), valid.flip(1), gate.flip(1), start, True)
    torch.testing.assert_close(y, ahead[0] + back[0].flip(1), atol=1e-12, rtol=1e-12)
    torch.testing.assert_close(state, ahead[1] + back[1], atol=1e-12, rtol=1e-12)
