"""The table of pixels against torchvision's kernel."""

import pytest
import torch

from d2road.layers import PyramidPooler, multilevel_roi_align

STRIDES = (8, 16, 32)


def scene(seed: int, dtype: torch.dtype, channels_last: bool):
    generator = torch.Generator().manual_seed(seed)
    maps = [torch.randn(2, 5, 512 // s, 768 // s, generator=generator, dtype=dtype) for s in STRIDES]
    if channels_last:
        maps = [m.contiguous(memory_format=torch.channels_last) for m in maps]
    corner = torch.rand(2, 60, 2, generator=generator, dtype=dtype) * torch.tensor([800.0, 560.0]).to(dtype) - 20
    size = 10 ** (torch.rand(2, 60, 2, generator=generator, dtype=dtype) * 2.8)
    boxes = torch.cat([corner, corner + size], dim=2)
    # far outside, over each border by less and by more than a cell, empty, with one and two negative sides
    special = [[-99, -99, -50, -50], [-6, -6, 30, 30], [760, 500, 900, 700], [-20, -20, 900, 900], [50, 50, 50, 50],
               [90, 40, 60, 80], [90, 90, 20, 30], [764, 508, 772, 516]]  # fmt: skip
    boxes[0, : len(special)] = torch.tensor(special, dtype=dtype)
    return [m.requires_grad_() for m in maps], boxes


@pytest.mark.parametrize(("samples", "side", "channels_last"), [(2, 7, True), (1, 7, False), (3, 4, True)])
def test_equals_torchvision(samples, side, channels_last):
    for seed in range(3):
        maps, boxes = scene(seed, torch.float64, channels_last)
        expected = multilevel_roi_align(maps, boxes, STRIDES, side, samples, 100.0)
        ours = PyramidPooler(maps, STRIDES, side, samples, 100.0)(boxes)
        torch.testing.assert_close(ours, expected, atol=1e-9, rtol=1e-9)
        weight = torch.randn_like(ours)
        gradients = torch.autograd.grad((ours * weight).sum(), maps)
        for ours_, theirs in zip(gradients, torch.autograd.grad((expected * weight).sum(), maps)):
            torch.testing.assert_close(ours_, theirs, atol=1e-9, rtol=1e-9)


def test_single_precision_and_several_sets_of_boxes():
    maps, boxes = scene(5, torch.float32, True)
    pool = PyramidPooler(maps, STRIDES)
    for part in (boxes, boxes[:, :7] + 3.3, boxes[:, :1]):
        expected = multilevel_roi_align(maps, part, STRIDES)
        torch.testing.assert_close(pool(part), expected, atol=1e-4, rtol=1e-4)
    half = PyramidPooler([m.bfloat16() for m in maps], STRIDES)(boxes)
    assert half.dtype == torch.float32  # coordinates were not rounded to whole pixels
    assert (half - pool(boxes)).abs().max() < 0.05


def test_fallback_is_the_reference():
    maps, boxes = scene(6, torch.float32, False)
    adaptive = PyramidPooler(maps, STRIDES, sampling_ratio=0)(boxes)
    assert torch.equal(adaptive, multilevel_roi_align(maps, boxes, STRIDES, sampling_ratio=0))
    assert PyramidPooler(maps, STRIDES)(boxes[:, :0]).shape == (0, 49, 5)


def test_numbers_that_are_none_do_not_crash():
    maps, boxes = scene(7, torch.float32, True)
    expected = PyramidPooler(maps, STRIDES)(boxes)
    bad = boxes.clone()
    bad[0, 3], bad[1, 4] = torch.nan, torch.inf
    pooled = PyramidPooler(maps, STRIDES)(bad)
    others = torch.ones(120, dtype=torch.bool)
    others[[3, 64]] = False
    assert torch.equal(pooled[others], expected[others])


def test_wrong_counts():
    maps, boxes = scene(8, torch.float32, True)
    with pytest.raises(ValueError, match="3 maps of 2 images for 2 strides"):
        PyramidPooler(maps, STRIDES[:2])(boxes)
    with pytest.raises(ValueError, match="boxes of 1 images"):
        PyramidPooler(maps, STRIDES)(boxes[:1])
