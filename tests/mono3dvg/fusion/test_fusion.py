"""Fusions: equal to scans over [words; pixels] step by step, neutral padding, independent sentences, long sentences."""

import pytest
import torch
import torch.nn.functional as F

from d2road.layers import ssd_reference
from d2road.layers.map_scan import read_state, scan_map, scan_orders, write_state
from mono3dvg.fusion.cross_modal_ssd import CrossModalSSD, normalize_state
from mono3dvg.fusion.fusion_registry import FUSION_REGISTRY, build_fusion
from mono3dvg.text.text_filter import TextFilter

SIZES = {"heads": 4, "head_dim": 3, "state_dim": 5}
FUSIONS = FUSION_REGISTRY.names()
FUSING = [name for name in FUSIONS if name != "none"]


def made(name: str, **options):
    """A fusion of 8 channels in float64."""
    torch.manual_seed(0)
    sizes = {"none": {}, "cross_attention": {"heads": 2}}.get(name, SIZES)
    return build_fusion(name, 8, **sizes | options).double()


def example(lengths=(6, 3, 4), words=6, size=(3, 5)):
    draw = torch.Generator().manual_seed(1)
    count = len(lengths)
    mask = torch.arange(words)[None] < torch.tensor(lengths)[:, None]
    features = torch.randn(count, words, 8, generator=draw, dtype=torch.float64)
    return features, mask, torch.randn(count, 8, *size, generator=draw, dtype=torch.float64)


def streams(length=4, groups=1, seed=0):
    """x, dt, B, C of 2 sequences, 4 heads, float64."""
    draw = torch.Generator().manual_seed(seed)
    shapes = ((2, length, 4, 3), (2, length, 4), (2, length, groups, 5), (2, length, groups, 5))
    x, dt, B, C = (torch.randn(shape, generator=draw, dtype=torch.float64) for shape in shapes)
    return x, dt.abs(), B, C


RATES = -torch.tensor([0.1, 0.5, 1.0, 3.0], dtype=torch.float64)


# --- the state that words have written, and pixels --------------------------------------------------------------------


@pytest.mark.parametrize("groups", [1, 2])
def test_reading_is_a_scan_with_steps_of_length_zero(groups):
    words, pixels = streams(4, groups), streams(7, groups, seed=1)
    joined = [torch.cat(pair, dim=1) for pair in zip(words, (pixels[0], 0 * pixels[1], *pixels[2:]))]
    expected = ssd_reference(joined[0], joined[1], RATES, joined[2], joined[3])[:, 4:]
    _, state = ssd_reference(words[0], words[1], RATES, words[2], words[3], return_final_states=True)
    torch.testing.assert_close(read_state(pixels[3], state), expected, atol=1e-12, rtol=1e-12)


@pytest.mark.parametrize("as_prefix", [False, True])
@pytest.mark.parametrize("directions", [1, 2, 4])
def test_scanning_a_map_is_a_scan_over_words_and_pixels(directions, as_prefix):
    """Of one direction [words; pixels]; of several the mean over the map, turned and mirrored, and turned back."""
    words, pixels = streams(4), streams(6, seed=1)
    _, state = ssd_reference(words[0], words[1], RATES, words[2], words[3], return_final_states=True)
    given = {"prefix": words} if as_prefix else {"initial_states": state}
    y, final = scan_map(pixels[0], pixels[1], (-RATES).log(), *pixels[2:], (2, 3), directions, chunk_size=4, **given)
    ys, finals = [], []
    for order in ([0, 1, 2, 3, 4, 5], [5, 4, 3, 2, 1, 0], [0, 3, 1, 4, 2, 5], [5, 2, 4, 1, 3, 0])[:directions]:
        joined = [torch.cat([a, b[:, order]], dim=1) for a, b in zip(words, pixels)]
        read, last = ssd_reference(joined[0], joined[1], RATES, joined[2], joined[3], return_final_states=True)
        back = torch.empty_like(pixels[0])
        back[:, order] = read[:, 4:]
        ys.append(back)
        finals.append(last)
    torch.testing.assert_close(y, torch.stack(ys).mean(0), atol=1e-12, rtol=1e-12)
    torch.testing.assert_close(final, torch.stack(finals).mean(0), atol=1e-12, rtol=1e-12)


@pytest.mark.parametrize("groups", [1, 2])
def test_without_order_pixels_write_as_if_nothing_faded(groups):
    x, dt, B, C = streams(6, groups)
    start = torch.randn(2, 4, 3, 5, dtype=torch.float64)
    _, expected = ssd_reference(x, dt, 0 * RATES, B, C, initial_states=start, return_final_states=True)
    torch.testing.assert_close(start + write_state(x, dt, B), expected)
    y, state = scan_map(x, dt, None, B, C, (2, 3), directions=0, initial_states=start)
    torch.testing.assert_close(state, expected)
    torch.testing.assert_close(y, read_state(C, expected))


def test_orders():
    assert [order.tolist() for order in scan_orders(2, 2, 4)] == [
        [0, 1, 2, 3],
        [3, 2, 1, 0],
        [0, 2, 1, 3],
        [3, 1, 2, 0],
    ]
    with pytest.raises(ValueError, match="directions is 3, expected one of"):
        build_fusion("text_conditioned", 8, directions=3)


@pytest.mark.parametrize("variant", ["unidirectional", "text_conditioned", "bidirectional"])
def test_fusion_variants_step_by_step(variant):
    """The pixels' side, written out with the recurrence, from the module's own projections."""
    module = made(variant, **({} if variant == "unidirectional" else {"directions": 1}))
    words, mask, visual = example(lengths=(6, 6, 6))
    tokens = visual.flatten(2).transpose(1, 2)
    _, state = module.words(module.norm_words(words), return_final_states=True)
    state = state / (state.pow(2).mean((1, 2, 3), keepdim=True).sqrt() * 5**0.5)
    normal = module.norm_pixels(tokens)
    z, C = module.pixels(normal).split([12, 5], dim=-1)
    C = F.silu(C)
    reads = torch.einsum("nls,nhps->nlhp", C, state)
    if variant != "unidirectional":
        source = F.layer_norm(reads.flatten(2), (12,)) if variant == "text_conditioned" else normal
        B, dt = module.selection_proj(source).split([5, 4], dim=-1)
        x, dt = F.silu(module.x_proj(normal)).unflatten(-1, (4, 3)), F.softplus(dt + module.dt_bias) / 15
        A = -module.A_log.exp()
        reads = ssd_reference(x, dt, A, F.silu(B)[:, :, None], C[:, :, None], initial_states=state)
    expected = tokens + module.out(reads.flatten(2) * F.silu(z))
    torch.testing.assert_close(
        module(words, mask, visual)[1].flatten(2).transpose(1, 2), expected, atol=1e-9, rtol=1e-9
    )


# --- what holds for all of them ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", FUSIONS)
def test_padding_and_other_sentences_change_nothing(name):
    module = made(name)
    words, mask, visual = example()
    relevance = torch.rand(3, 6, dtype=torch.float64)
    dirty = words.masked_fill(~mask.unsqueeze(-1), torch.nan)
    got_words, got_visual = module(dirty, mask, visual, relevance)
    assert got_visual.shape == visual.shape and (got_words[~mask] == 0).all()
    for row, length in enumerate(mask.sum(1)):
        one = slice(row, row + 1)
        alone = module(words[one, :length], mask[one, :length], visual[one], relevance[one, :length])
        torch.testing.assert_close(got_words[one, :length], alone[0], atol=1e-10, rtol=1e-10)
        torch.testing.assert_close(got_visual[one], alone[1], atol=1e-10, rtol=1e-10)


@pytest.mark.parametrize("name", FUSING)
def test_the_map_hears_every_word(name):
    """Gradients of the map reach the words, all of those that are there and none of the padding."""
    module = made(name)
    words, mask, visual = example()
    words.requires_grad_()
    module(words, mask, visual)[1].square().sum().backward()
    assert (words.grad.abs().sum(-1)[mask] > 0).all() and (words.grad[~mask] == 0).all()
    assert all(parameter.grad is None or parameter.grad.isfinite().all() for parameter in module.parameters())


@pytest.mark.parametrize("name", ["text_conditioned", "bidirectional", "cross_attention", "mamba_fusion"])
def test_words_take_from_the_map(name):
    words, mask, visual = example()
    visual.requires_grad_()
    made(name)(words, mask, visual)[0].square().sum().backward()
    assert (visual.grad.abs().sum((1, 2, 3)) > 0).all()


@pytest.mark.parametrize("name", ["text_conditioned", "bidirectional", "cross_attention", "mamba_fusion"])
def test_pixels_outside_of_the_image_are_not_seen(name):
    module = made(name, **({} if name == "cross_attention" else {"directions": 2}))
    words, mask, visual = example()
    inside = torch.zeros(3, 3, 5, dtype=torch.bool)
    inside[:, :2, :4] = True
    other = torch.where(inside.unsqueeze(1), visual, visual + 3)
    results = [module(words, mask, image, inside=inside) for image in (visual, other)]
    torch.testing.assert_close(results[0][0], results[1][0])
    seen = inside.unsqueeze(1).expand_as(visual)
    torch.testing.assert_close(results[0][1][seen], results[1][1][seen])


@pytest.mark.parametrize("name", FUSING)
def test_a_word_without_relevance_has_no_effect(name):
    """Where the convolution does not mix neighbours, another word of relevance 0 changes nothing."""
    module = made(name)
    for key, parameter in module.named_parameters():
        if key.endswith("conv1d.weight"):
            parameter.data[..., :-1] = 0
    words, mask, visual = example(lengths=(6, 6, 6))
    other = words.clone()
    other[:, -1] = words.flip(0)[:, 0]
    change = []
    for last in (1.0, 0.0):
        relevance = torch.ones(3, 6, dtype=torch.float64)
        relevance[:, -1] = last
        change.append((module(other, mask, visual, relevance)[1] - module(words, mask, visual, relevance)[1]).norm())
    assert change[1] < 1e-4 * change[0]


def test_mamba_fusion_detaches_only_when_asked():
    words, mask, visual = example()
    for detach in (False, True):
        module = made("mamba_fusion", detach=detach)
        features = words.clone().requires_grad_()
        module(features, mask, visual)[1].sum().backward()
        assert (features.grad is None or not features.grad.any()) == detach


def test_errors():
    with pytest.raises(ValueError, match="fusion 'jiont' does not exist; known are: bidirectional, cross_attention"):
        build_fusion("jiont", 8)
    with pytest.raises(ValueError, match=r"'none' does not take these options \['heads'\]"):
        build_fusion("none", 8, heads=3)
    with pytest.raises(ValueError, match="variant is 'x'"):
        CrossModalSSD(8, "x")
    with pytest.raises(ValueError, match="3 heads do not divide 8"):
        build_fusion("cross_attention", 8, heads=3)


# --- long sentences ---------------------------------------------------------------------------------------------------


def kept(module: CrossModalSSD, filler: int) -> float:
    """How much of what 12 words write is still in the state of both directions after `filler` words before them."""
    words, _, _ = example(lengths=(12,), words=12)
    before = torch.randn(1, filler, 8, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    gate = torch.cat([torch.zeros(1, filler), torch.ones(1, 12)], dim=1).double()

    def state(features, gate):
        return normalize_state(module.words(module.norm_words(features), step_gate=gate, return_final_states=True)[1])

    alone, long = state(words, gate[:, filler:]), state(torch.cat([before, words], dim=1), gate)
    return F.cosine_similarity(alone.flatten(), long.flatten(), dim=0).item()


def test_a_long_irrelevant_filler_changes_little():
    """300 words before the expression, which the relevance leaves out: only the convolution at the seam feels them."""
    assert kept(made("unidirectional"), 300) > 0.9


@pytest.mark.parametrize(("a_range", "least", "most"), [((1e-3, 5e-3), 0.9, 1.0), ((1.0, 16.0), 0.0, 0.6)])
def test_rates_near_zero_keep_early_words(a_range, least, most):
    """What the first word has written, after 200 more words; with published rates most of it fades on the way."""
    module = made("unidirectional", a_range=a_range).words.ahead
    words = torch.randn(1, 201, 8, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    mask = torch.ones(1, 201, dtype=torch.bool)
    first, rest = torch.zeros(1, 201, dtype=torch.float64), torch.ones(1, 201, dtype=torch.float64)
    first[:, 0], rest[:, 0] = 1, 0
    written = module(words, mask, first, return_final_states=True)[1]
    everything = module(words, mask, first + rest, return_final_states=True)[1]
    left = everything - module(words, mask, rest, return_final_states=True)[1]
    assert least <= (left.norm() / written.norm()).item() <= most


# --- text filter ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("gate", [True, False])
def test_text_filter_ignores_padding(gate):
    torch.manual_seed(0)
    module = TextFilter(8, gate, **SIZES)
    features, mask, _ = example()
    features = features.float()
    dirty = features.masked_fill(~mask.unsqueeze(-1), torch.inf)
    mixed, relevance = module(dirty, mask)
    assert (mixed[~mask] == 0).all() and (relevance[~mask] == 0).all()
    assert ((relevance >= 0) & (relevance <= 1)).all() and (gate or (relevance[mask] == 1).all())
    for row, length in enumerate(mask.sum(1)):
        alone = module(features[row : row + 1, :length], mask[row : row + 1, :length])
        torch.testing.assert_close(mixed[row, :length], alone[0][0], atol=1e-6, rtol=1e-6)
        torch.testing.assert_close(relevance[row, :length], alone[1][0], atol=1e-6, rtol=1e-6)


def test_relevance_scales_the_step():
    """A filter whose gate is shut for all words passes them on unmixed; an open one mixes in both directions."""
    torch.manual_seed(0)
    module = TextFilter(8, **SIZES, kernel=1).double()
    features, mask, _ = example(lengths=(6, 6, 6))
    torch.nn.init.zeros_(module.gate[-1].weight)
    jacobians = []
    for bias in (-100.0, 100.0):
        torch.nn.init.constant_(module.gate[-1].bias, bias)
        jacobian = torch.autograd.functional.jacobian(lambda x: module(x, mask)[0].sum((0, 2)), features)
        jacobians.append(jacobian.abs().sum((1, 3)))  # (T, T)
    others = ~torch.eye(6, dtype=torch.bool)
    assert jacobians[0][others].max() < 1e-20 and jacobians[1][others].min() > 1e-6
