"""Pooling over levels against Detectron2's pooler."""

import pytest
import torch
from detectron2.modeling.poolers import ROIPooler
from detectron2.structures import Boxes

from d2road.layers import assign_levels, multilevel_roi_align


def make_input(seed: int, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    maps = [torch.randn(2, 5, 64 // s, 96 // s, generator=generator, dtype=dtype) for s in (1, 2, 4)]
    corner = torch.rand(2, 40, 2, generator=generator, dtype=dtype) * torch.tensor([800.0, 560.0]) - 20
    size = 10 ** (torch.rand(2, 40, 2, generator=generator, dtype=dtype) * 2.5)
    boxes = torch.cat([corner, corner + size], dim=2)
    # far outside, over the border by less and by more than a cell, empty
    boxes[0, :4] = torch.tensor([[-99, -99, -50, -50], [-6, -6, 30, 30], [760, 500, 900, 700], [50, 50, 50, 50.0]])
    return maps, boxes


def test_equals_detectron2():
    maps, boxes = make_input(0)
    maps = [m.requires_grad_() for m in maps]
    ours = multilevel_roi_align(maps, boxes, [8, 16, 32], canonical_size=100)
    pooler = ROIPooler(7, [1 / 8, 1 / 16, 1 / 32], 2, "ROIAlignV2", canonical_box_size=100, canonical_level=4)
    theirs = pooler(maps, [Boxes(b) for b in boxes]).flatten(2).transpose(1, 2)
    # Detectron2 keeps boxes in single precision
    torch.testing.assert_close(ours, theirs.to(ours), atol=1e-4, rtol=1e-4)
    weight = torch.randn_like(ours)
    grads = torch.autograd.grad((ours * weight).sum(), maps)
    expected = torch.autograd.grad((theirs * weight).sum(), maps)
    for grad, other in zip(grads, expected):
        torch.testing.assert_close(grad, other, atol=1e-3, rtol=1e-3)


def test_levels_by_size():
    boxes = torch.tensor([[0, 0, 55, 55], [0, 0, 56, 56], [0, 0, 224, 224], [0, 0, 2000, 2000], [10, 10, 0, 20.0]])
    assert assign_levels(boxes, 2, 5).tolist() == [0, 0, 2, 3, 0]
    assert assign_levels(boxes, 3, 5, canonical_size=56).tolist() == [0, 1, 2, 2, 0]


def test_wrong_counts():
    maps, boxes = make_input(1)
    with pytest.raises(ValueError, match="3 maps of 2 images for 2 strides"):
        multilevel_roi_align(maps, boxes, [8, 16])


def test_shapes_that_hang_on_nothing_pool_the_same():
    """All boxes from all levels, most of them from outside: values and gradients of those that are picked out."""
    maps, boxes = make_input(2)
    boxes[1, 3] = torch.tensor([30, 40, 10, 90.0])  # a negative side: it pools from the finest level
    maps = [m.requires_grad_() for m in maps]
    weight = torch.randn(80, 49, 5, dtype=torch.float64)
    for samples in (2, 0):
        results = []
        for fixed in (False, True):
            pooled = multilevel_roi_align(
                maps, boxes, [8, 16, 32], sampling_ratio=samples, canonical_size=100, fixed_shapes=fixed
            )
            results.append((pooled, *torch.autograd.grad((pooled * weight).sum(), maps)))
        assert torch.equal(results[0][0], results[1][0])
        for ours, theirs in zip(*results):
            torch.testing.assert_close(ours, theirs)
