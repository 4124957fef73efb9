"""The neck: shapes, work an image and a sentence, independence, what it costs, and whether it can ground at all."""

import pytest
import torch
import torch.nn.functional as F

from mono3dvg.fusion.fusion_neck import FusionNeck

CHANNELS = (6, 8, 10)
SIZES = {"heads": 2, "head_dim": 4, "state_dim": 4}


FUSING = ("text_conditioned", "unidirectional", "bidirectional", "cross_attention", "mamba_fusion")


def made(fusion="text_conditioned", stages=3, **options):
    torch.manual_seed(0)
    sizes = {} if fusion in ("none", "cross_attention") else SIZES
    return FusionNeck(CHANNELS, 8, fusion, stages, **sizes | options)


def example(images=2, size=(9, 13)):
    draw = torch.Generator().manual_seed(1)
    maps = [
        torch.randn(images, channels, -(-size[0] // 2**level), -(-size[1] // 2**level), generator=draw)
        for level, channels in enumerate(CHANNELS)
    ]
    mask = torch.arange(5)[None] < torch.tensor([[2], [5], [1]])
    return maps, torch.tensor([0, 0, 1]), torch.randn(3, 5, 8, generator=draw), mask


@pytest.mark.parametrize(
    "fusion", ["text_conditioned", "unidirectional", "bidirectional", "cross_attention", "mamba_fusion", "none"]
)
@pytest.mark.parametrize("stages", [0, 1, 3])
def test_shapes_and_gradients(fusion, stages):
    neck = made(fusion, stages)
    maps, image_of, words, mask = example()
    fused = neck(maps, image_of, words.requires_grad_(), mask, torch.rand(3, 5))
    assert fused.map.shape == (3, 8, 9, 13) and fused.words.shape == (3, 5, 8) and fused.sentence.shape == (3, 8)
    (gradient,) = torch.autograd.grad(fused.map.square().sum(), words, allow_unused=True)
    reached = stages > 0 and fusion != "none"
    assert (gradient is not None and bool((gradient.abs().sum(-1)[mask] > 0).all())) == reached


@pytest.mark.parametrize(
    "fusion", ["text_conditioned", "unidirectional", "bidirectional", "cross_attention", "mamba_fusion"]
)
def test_each_sentence_is_by_itself(fusion):
    """A sentence of another image, or none of this one, changes nothing."""
    neck = made(fusion, 2)
    maps, image_of, words, mask = example()
    fused = neck(maps, image_of, words, mask)
    for row, length in enumerate(mask.sum(1)):
        one = slice(row, row + 1)
        image = slice(image_of[row], image_of[row] + 1)
        alone = neck(
            [m[image] for m in maps], torch.zeros(1, dtype=torch.long), words[one, :length], mask[one, :length]
        )
        torch.testing.assert_close(fused.map[one], alone.map, atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(fused.words[one, :length], alone.words, atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(fused.sentence[one], alone.sentence, atol=1e-5, rtol=1e-5)


def test_what_fills_up_the_batch_is_not_seen():
    """Beside a larger image, an image with its mask gives what it gives alone, but at the new border."""
    neck = made("text_conditioned", 3)
    maps, image_of, words, mask = example(size=(16, 16))
    larger = [F.pad(m, (0, m.shape[-1], 0, 0), value=9.0) for m in maps]
    inside = torch.zeros(2, 64, 128, dtype=torch.bool)
    inside[..., :64] = True
    alone, padded = neck(maps, image_of, words, mask), neck(larger, image_of, words, mask, inside=inside)
    torch.testing.assert_close(alone.words, padded.words, atol=0.2, rtol=0.1)  # the border reaches the next stage
    unmasked = neck(larger, image_of, words, mask)
    error = [(f.words - alone.words).norm() for f in (padded, unmasked)]
    assert error[0] < 0.5 * error[1]


def test_the_image_is_worked_once():
    """Convolutions of the image's own maps see images, not sentences; without stages all do."""
    maps, image_of, words, mask = example()
    for stages, most in ((3, 3), (0, 2)):
        neck, seen = made("text_conditioned", stages), {}
        for name, module in neck.named_modules():
            if isinstance(module, torch.nn.Conv2d):
                module.register_forward_hook(lambda m, inputs, _, name=name, s=seen: s.update({name: len(inputs[0])}))
        neck(maps, image_of, words, mask)
        assert {count for name, count in seen.items() if "fused" not in name} == {2}
        assert {count for name, count in seen.items() if "fused" in name} == {most}


def test_relevance_weights_the_sentence():
    maps, image_of, words, mask = example()
    relevance = torch.zeros(3, 5)
    relevance[:, 0] = 0.3
    fused = made("none")(maps, image_of, words, mask, relevance)
    torch.testing.assert_close(fused.sentence, F.layer_norm(words[:, 0], (8,)))


def test_errors():
    with pytest.raises(ValueError, match="4 stages for 3 maps"):
        made(stages=4)
    with pytest.raises(ValueError, match="got 2 maps, expected 3"):
        maps, *rest = example()
        made()(maps[:2], *rest)
    with pytest.raises(ValueError, match="in_channels is empty"):
        FusionNeck([], 8)


@pytest.mark.parametrize(("fusion", "options"), [("text_conditioned", {"directions": 0}), ("unidirectional", {})])
def test_learns_to_find_what_the_sentence_names(fusion, options):
    """Cells of four kinds; the sentence names one kind, somewhere among filling words; which cells are meant?"""
    draw = torch.Generator().manual_seed(2)
    torch.manual_seed(0)
    table = torch.randn(8, 16, generator=draw)  # four kinds, four filling words
    neck = FusionNeck([4], 16, fusion, 1, heads=2, head_dim=8, state_dim=8, **options)
    head = torch.nn.Conv2d(16, 1, 1)
    optimizer = torch.optim.AdamW([*neck.parameters(), *head.parameters()], 5e-3)

    def batch():
        kinds = torch.randint(4, (4, 6, 6), generator=draw)
        image_of = torch.arange(4).repeat_interleave(4)
        asked = torch.randint(4, (16,), generator=draw)
        ids = torch.randint(4, 8, (16, 5), generator=draw)
        ids[torch.arange(16), torch.randint(5, (16,), generator=draw)] = asked
        maps = [F.one_hot(kinds, 4).permute(0, 3, 1, 2).float()]
        return (maps, image_of, table[ids], torch.ones(16, 5, dtype=torch.bool)), kinds[image_of] == asked[
            :, None, None
        ]

    for _ in range(170):
        inputs, target = batch()
        loss = F.binary_cross_entropy_with_logits(head(neck(*inputs).map)[:, 0], target.float())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    inputs, target = batch()
    found = head(neck(*inputs).map)[:, 0] > 0
    assert (found == target).float().mean() > 0.97  # 0.75 without hearing the sentence
