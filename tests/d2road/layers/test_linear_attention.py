"""Linear attention against its definition by all pairs, its symmetries, and numbers at the edge of their type."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from d2road.layers.linear_attention import (
    KINDS,
    AttentionBlock,
    TokenAttention,
    elu_plus_one,
    linear_attention,
    linear_attention_by_pairs,
    relu_features,
)
from tests.oracles.linear_attention import looped_linear_attention


def random_qkv(tokens=37, dim=8, scale=1.0, dtype=torch.float32, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return [(torch.randn(2, 3, tokens, dim, generator=generator) * scale).to(dtype) for _ in range(3)]


def test_equals_the_explicit_table_and_the_loop():
    q, k, v = random_qkv()
    fast = linear_attention(q, k, v)
    assert torch.allclose(fast, linear_attention_by_pairs(q, k, v), atol=1e-5, rtol=1e-5)
    assert torch.allclose(fast.double(), looped_linear_attention(q, k, v, 1e-6), atol=1e-5, rtol=1e-5)


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 40), st.integers(1, 16), st.floats(0.1, 10), st.booleans(), st.integers(0, 2**20))
def test_equals_the_explicit_table_at_any_shape(tokens, dim, scale, weighted, seed):
    q, k, v = random_qkv(tokens, dim, scale, seed=seed)
    weight = torch.rand(2, 3, tokens, 1, generator=torch.Generator().manual_seed(seed)) if weighted else None
    expected = linear_attention_by_pairs(q, k, v, weight)
    assert torch.allclose(linear_attention(q, k, v, weight), expected, atol=1e-5 * scale, rtol=1e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_permuted_tokens_give_permuted_results(kind):
    torch.manual_seed(0)
    # A Mix-FFN mixes neighbours; without it there is no order.
    layer = TokenAttention(16, heads=4, kind=kind) if kind == "relu_linear" else AttentionBlock(16, heads=4, kind=kind)
    x, order = torch.randn(2, 29, 16), torch.randperm(29)
    assert torch.allclose(layer(x)[:, order], layer(x[:, order]), atol=1e-5)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
@pytest.mark.parametrize("sign_q", [-50.0, 50.0, None])
@pytest.mark.parametrize("sign_k", [-50.0, 50.0, None])
def test_finite_at_the_edge(dtype, sign_q, sign_k):
    generator = torch.Generator().manual_seed(1)

    def extreme(sign):
        if sign is not None:
            return torch.full((1, 2, 64, 16), sign)
        return 50 * (torch.randint(0, 2, (1, 2, 64, 16), generator=generator) * 2.0 - 1)

    q, k, v = (extreme(s).to(dtype).requires_grad_() for s in (sign_q, sign_k, None))
    out = linear_attention(q, k, v)
    assert out.dtype == dtype and torch.isfinite(out).all()
    assert out.abs().max() <= 50.5  # a mean of values, or less
    out.float().mean().backward()
    assert all(torch.isfinite(x.grad).all() for x in (q, k, v))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_layer_is_finite_under_autocast(dtype):
    layer = TokenAttention(16, heads=2, kind="linear")
    x = (torch.randn(1, 3136, 16) * 50).requires_grad_()
    with torch.autocast("cpu", dtype=dtype):
        out = layer(x)
    out.float().mean().backward()
    assert torch.isfinite(out).all() and torch.isfinite(x.grad).all()


def test_relu_attention_equals_the_explicit_table_and_is_zero_where_nothing_is_in_common():
    q, k, v = random_qkv()
    expected = linear_attention_by_pairs(q, k, v, features=relu_features)
    assert torch.allclose(linear_attention(q, k, v, features=relu_features), expected, atol=1e-5, rtol=1e-4)
    silent = linear_attention(-q.abs(), k, v, features=relu_features)
    assert (silent == 0).all()


def test_a_relu_linear_block_is_that_of_diffusers_sana():
    from diffusers.models.attention_processor import Attention, SanaLinearAttnProcessor2_0
    from diffusers.models.transformers.sana_transformer import GLUMBConv

    torch.manual_seed(0)
    dim, heads, grid = 16, 4, (5, 7)
    block = AttentionBlock(dim, heads, "relu_linear", mlp_ratio=2)
    block.attention.eps = 1e-15  # theirs; small sums show it
    theirs = Attention(dim, heads=heads, dim_head=dim // heads, bias=True, processor=SanaLinearAttnProcessor2_0())
    for number, name in enumerate(("to_q", "to_k", "to_v")):
        part = slice(number * dim, (number + 1) * dim)
        getattr(theirs, name).weight.data = block.attention.qkv.weight.data[part]
        getattr(theirs, name).bias.data = block.attention.qkv.bias.data[part]
    theirs.to_out[0].load_state_dict(block.attention.out.state_dict())
    feed_forward = GLUMBConv(dim, dim, expand_ratio=2, residual_connection=False)
    names = {"widen": "conv_inverted", "depthwise": "conv_depth", "narrow": "conv_point"}
    state = block.mix_ffn.state_dict()
    feed_forward.load_state_dict({names[k.split(".")[0]] + "." + k.split(".")[1]: v for k, v in state.items()})

    x = torch.randn(2, grid[0] * grid[1], dim)
    between = x + theirs(block.norm1(x))
    image = block.norm2(between).transpose(1, 2).reshape(2, dim, *grid)
    expected = between + feed_forward(image).flatten(2).transpose(1, 2)
    torch.testing.assert_close(block(x, grid), expected, rtol=1e-4, atol=1e-5)


def test_a_mix_ffn_asks_for_the_grid_of_its_tokens():
    block = AttentionBlock(16, heads=4, kind="relu_linear")
    with pytest.raises(ValueError, match="needs the grid"):
        block(torch.randn(1, 12, 16))
    with pytest.raises(ValueError, match="12 tokens are no grid of 3 x 5"):
        block(torch.randn(1, 12, 16), (3, 5))


def test_many_tokens_in_half_precision_do_not_overflow():
    q = torch.full((1, 1, 4096, 4), 50.0, dtype=torch.float16)
    out = linear_attention(q, q, q)
    assert torch.allclose(out, q, rtol=2e-3)


def test_constant_values_come_back_shrunk_by_eps():
    q, k, _ = random_qkv()
    v = torch.full_like(q, 3.0)
    features = elu_plus_one(k).mean(-2)
    denominator = (elu_plus_one(q) * features.unsqueeze(-2)).sum(-1, keepdim=True)
    assert torch.allclose(linear_attention(q, k, v, eps=0.1), v / (1 + 0.1 / denominator), atol=1e-5)
    assert torch.allclose(linear_attention(q, k, v), v, atol=1e-4)


def test_feature_map_is_elu_plus_one_and_never_rounds_to_zero_early():
    x = torch.linspace(-15, 15, 301, dtype=torch.float64)
    assert torch.allclose(elu_plus_one(x).double(), torch.nn.functional.elu(x) + 1, rtol=1e-5)
    low = torch.tensor([-17.5, -50.0, -80.0])
    assert (torch.nn.functional.elu(low) + 1 == 0).all() and (elu_plus_one(low) > 0).all()
    assert elu_plus_one(torch.tensor([-6.5], dtype=torch.bfloat16)) > 0
    far = torch.tensor([1e4, -1e4], requires_grad=True)
    elu_plus_one(far).sum().backward()
    assert torch.isfinite(far.grad).all()


def test_silenced_tokens_do_not_matter():
    q, k, v = random_qkv()
    weight = torch.ones(2, 3, 37, 1)
    weight[:, :, 30:] = 0
    short = linear_attention(q, k[:, :, :30], v[:, :, :30])
    assert torch.allclose(linear_attention(q, k, v, weight), short, atol=1e-4)


def test_gradient_is_that_of_the_explicit_form():
    grads = []
    for function in (linear_attention, linear_attention_by_pairs):
        inputs = [x.requires_grad_() for x in random_qkv()]
        function(*inputs).square().sum().backward()
        grads.append([x.grad for x in inputs])
    assert all(torch.allclose(a, b, atol=1e-4, rtol=1e-4) for a, b in zip(*grads))


def test_work_grows_with_tokens_not_with_their_square():
    """Counted multiplications: twice the tokens, twice the work; softmax by pairs would be four times."""
    from torch.utils.flop_counter import FlopCounterMode

    counts = []
    for tokens in (256, 512, 1024):
        q, k, v = random_qkv(tokens)
        with FlopCounterMode(display=False) as counter:
            linear_attention(q, k, v)
        counts.append(counter.get_total_flops())
    assert counts[1] == 2 * counts[0] and counts[2] == 4 * counts[0]


@pytest.mark.parametrize(("options", "word"), [({"kind": "lnear"}, "linear"), ({"heads": 3}, "divide")])
def test_wrong_options_are_named(options, word):
    with pytest.raises(ValueError, match=word):
        TokenAttention(16, **options)
