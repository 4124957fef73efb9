"""Aggregation necks: what flows where, sizes, and deformable convolution against the plain one."""

import pytest
import torch
import torch.nn.functional as F
from detectron2.modeling import build_backbone
from torch import nn

from d2road.layers.deform_conv import ModulatedDeformConv
from d2road.modeling.backbone.dla_neck import AggregationPyramid, IterativeAggregation, conv_block
from tests.factories.dla_config import NARROW, dla_config


def maps(channels=(4, 8, 16), height=20, width=12):
    generator = torch.Generator().manual_seed(0)
    return [
        torch.randn(2, c, -(-height // 2**i), -(-width // 2**i), generator=generator) for i, c in enumerate(channels)
    ]


class Sum(nn.Module):
    """A node that only adds."""

    def forward(self, fine, coarse):
        return fine + F.interpolate(coarse, fine.shape[-2:])


def test_pyramid_aggregates_as_drawn():
    """With nodes that add and constant maps of 1, 10, 100, 1000 the results count how often each map went in."""
    pyramid = AggregationPyramid([1, 1, 1, 1])
    for row in pyramid.rows:
        row.nodes = nn.ModuleList(Sum() for _ in row.nodes)
    inputs = [torch.full((1, 1, 16 // 2**i, 16 // 2**i), 10.0**i) for i in range(4)]
    results = pyramid(inputs)
    assert [result.unique().tolist() for result in results] == [[1331], [1210], [1100], [1000]]
    assert [result.shape for result in results] == [x.shape for x in inputs]


def test_iteration_takes_the_next_coarser_map_first():
    order = []

    class Note(nn.Module):
        def forward(self, fine, coarse):
            order.append(coarse.shape[1])
            return fine

    merge = IterativeAggregation([4, 8, 16])
    merge.nodes = nn.ModuleList([Note(), Note()])
    merge(maps())
    assert order == [8, 16]


@pytest.mark.parametrize("conv", ["plain", "deformable"])
@pytest.mark.parametrize("size", [(20, 12), (13, 7)])
def test_sizes_and_gradients(conv, size):
    inputs = [m.requires_grad_() for m in maps(height=size[0], width=size[1])]
    merged = IterativeAggregation([4, 8, 16], 6, conv, norm="")(inputs)
    assert merged.shape == (2, 6, *size)
    pyramid = AggregationPyramid([4, 8, 16], conv=conv)
    results = pyramid(inputs)
    assert [r.shape for r in results] == [m.shape for m in inputs]
    (merged.sum() + results[0].sum()).backward()
    assert all(m.grad.abs().sum() > 0 for m in inputs)
    for name, parameter in pyramid.named_parameters():
        assert parameter.grad is not None, name


def test_a_coarse_map_raised_by_two_keeps_its_place():
    """A projected ramp of cell centres comes back as the ramp of the finer cells' centres."""
    merge = IterativeAggregation([1, 1], norm="")
    node = merge.nodes[0]
    node.project, node.node = nn.Identity(), nn.Identity()
    ramp = (torch.arange(8) + 0.5).expand(1, 1, 8, 8) * 2
    raised = merge([torch.zeros(1, 1, 16, 16), ramp])
    torch.testing.assert_close(raised[0, 0, 3, 1:-1], torch.arange(1, 15) + 0.5)


def test_backbone_from_a_dla_config():
    cfg = dla_config(
        "build_dla34_aggregation_backbone", NECK_CHANNELS=6, NECK_NORM="", OUT_FEATURES=["s4", "s8", "s16"]
    )
    backbone = build_backbone(cfg).eval()
    assert backbone.size_divisibility == 16
    outputs = backbone(torch.rand(1, 3, 64, 96))
    assert {name: tuple(m.shape) for name, m in outputs.items()} == {
        "p2": (1, 6, 16, 24), "p3": (1, 6, 8, 12), "p4": (1, 6, 4, 6)
    }  # fmt: skip
    assert {name: s.channels for name, s in backbone.output_shape().items()} == {"p2": 6, "p3": 6, "p4": 6}
    own = build_backbone(dla_config("build_dla34_aggregation_backbone"))
    assert [s.channels for s in own.output_shape().values()] == list(NARROW[2:])


def test_strides_with_a_gap():
    with pytest.raises(ValueError, match=r"strides \[4, 16\], expected each twice"):
        build_backbone(dla_config("build_dla34_aggregation_backbone", OUT_FEATURES=["s4", "s16"]))


def test_unknown_convolution():
    with pytest.raises(ValueError, match=r"NECK_CONV: got 'dcn', expected one of \['plain', 'deformable'\]"):
        conv_block(4, 4, "dcn")


# --- deformable convolution ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("stride", [1, 2])
def test_starts_as_half_a_plain_convolution(stride):
    torch.manual_seed(0)
    layer, x = ModulatedDeformConv(4, 6, stride=stride), maps()[0]
    nn.init.normal_(layer.bias)
    expected = F.conv2d(x, layer.weight / 2, layer.bias, stride, padding=1)
    torch.testing.assert_close(layer(x), expected, atol=1e-5, rtol=1e-5)


def test_offsets_and_weights_do_what_they_say():
    """All taps one cell to the right and at full weight: a plain convolution of the image moved to the left."""
    torch.manual_seed(0)
    layer, x = ModulatedDeformConv(4, 6, bias=False), maps()[0]
    bias = layer.conv_offset_mask.bias.data
    bias[1:18:2], bias[18:] = 1.0, 50.0  # offsets are (y, x) of each tap
    expected = F.conv2d(F.pad(x, (1, 2, 1, 1))[..., 1:], layer.weight)
    torch.testing.assert_close(layer(x)[..., :-1], expected[..., :-1], atol=1e-5, rtol=1e-5)


def test_deformable_under_autocast():
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert ModulatedDeformConv(4, 6)(maps()[0].bfloat16()).dtype == torch.float32
