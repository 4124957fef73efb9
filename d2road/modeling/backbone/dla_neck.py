"""Necks of deep layer aggregation: coarse maps are brought into finer ones step by step, from shallow to deep.

`IterativeAggregation` merges maps of several strides into the finest. `AggregationPyramid` does so at each stride, with
what the row below has merged, and so has a map for every stride. With N(fine, coarse) for the node, which projects the
coarse map, resizes it, adds it to the fine one and convolves:

    s32                                                              p5 = s32
    s16   a = N(s16, s32)                                            p4 = a
    s8    b = N(s8, s16)    c = N(b, a)                              p3 = c
    s4    d = N(s4, s8)     e = N(d, b)     f = N(e, c)              p2 = f

Source: Yu et al., Deep Layer Aggregation, CVPR 2018, section 4.2; Zhou et al., Objects as Points, 2019, appendix A.
Differs: fixed bilinear resizing, to the size of the fine map, in place of transposed convolutions.
"""

from collections.abc import Sequence
from itertools import pairwise

import torch.nn.functional as F
from detectron2.config import CfgNode
from detectron2.layers import ShapeSpec, get_norm
from detectron2.modeling.backbone import BACKBONE_REGISTRY, Backbone
from torch import Tensor, nn

from d2road.layers.deform_conv import ModulatedDeformConv
from d2road.modeling.backbone.dla import build_dla34_backbone
from d2road.utils.errors import ConfigError

CONVOLUTIONS = ("plain", "deformable")


def conv_block(in_channels: int, out_channels: int, conv: str = "plain", norm: str = "BN") -> nn.Sequential:
    """3x3 convolution, norm, ReLU.

    Args:
        conv: "plain" | "deformable".
        norm: as Detectron2's `get_norm`: "BN" | "GN" | "FrozenBN" | "" ...
    Raises:
        ConfigError: unknown ``conv``.
    """
    if conv not in CONVOLUTIONS:
        raise ConfigError(f"MODEL.DLA.NECK_CONV: got {conv!r}, expected one of {list(CONVOLUTIONS)}")
    last = get_norm(norm, out_channels)
    if conv == "deformable":
        layer: nn.Module = ModulatedDeformConv(in_channels, out_channels, bias=last is None)
    else:
        layer = nn.Conv2d(in_channels, out_channels, 3, padding=1, bias=last is None)
        nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
    return nn.Sequential(layer, *([last] if last is not None else []), nn.ReLU(inplace=True))


class AggregationNode(nn.Module):
    """Bring a coarser map into a finer one: project, resize, add, convolve."""

    def __init__(self, coarse: int, fine: int, conv: str = "plain", norm: str = "BN"):
        super().__init__()
        self.project = conv_block(coarse, fine, conv, norm)
        self.node = conv_block(fine, fine, conv, norm)

    def forward(self, fine: Tensor, coarse: Tensor) -> Tensor:
        """(B, fine, H, W) and (B, coarse, h, w) to (B, fine, H, W)."""
        raised = F.interpolate(self.project(coarse), fine.shape[-2:], mode="bilinear", align_corners=False)
        return self.node(fine + raised)


class IterativeAggregation(nn.Module):
    """Merge maps into the finest one: first the next coarser, at last the coarsest.

    Args:
        in_channels: of the maps, fine to coarse.
        out_channels: of the result; 0 is that of the finest map. Another number costs one more block.
        conv, norm: see `conv_block`.
    """

    def __init__(self, in_channels: Sequence[int], out_channels: int = 0, conv: str = "plain", norm: str = "BN"):
        super().__init__()
        channels = out_channels or in_channels[0]
        self.enter = nn.Identity() if channels == in_channels[0] else conv_block(in_channels[0], channels, conv, norm)
        self.nodes = nn.ModuleList(AggregationNode(coarse, channels, conv, norm) for coarse in in_channels[1:])

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        """Maps (B, C_i, H_i, W_i), fine to coarse, to (B, out_channels, H_0, W_0)."""
        return self.steps(maps)[-1]

    def steps(self, maps: Sequence[Tensor]) -> list[Tensor]:
        """The finest map after each merge, one for each map; the first is the finest map itself."""
        merged = [self.enter(maps[0])]
        for node, coarse in zip(self.nodes, maps[1:], strict=True):
            merged.append(node(merged[-1], coarse))
        return merged


class AggregationPyramid(nn.Module):
    """For each stride one map that has taken in all coarser ones.

    Args:
        in_channels: of the maps, fine to coarse, each twice as fine as the next.
        out_channels: of all results; 0 leaves each map its own number.
        conv, norm: see `conv_block`.
    """

    def __init__(self, in_channels: Sequence[int], out_channels: int = 0, conv: str = "plain", norm: str = "BN"):
        super().__init__()
        self.out_channels = [out_channels or channels for channels in in_channels]
        count = len(in_channels)
        # Row i merges its own map with the maps of row i + 1, all of which have the channels of that row.
        self.rows = nn.ModuleList(
            IterativeAggregation([in_channels[i]] + [in_channels[i + 1]] * (count - 1 - i), 0, conv, norm)
            for i in range(count - 1)
        )
        self.outputs = nn.ModuleList(
            nn.Conv2d(c, out_channels, 1) if out_channels else nn.Identity() for c in in_channels
        )

    def forward(self, maps: Sequence[Tensor]) -> list[Tensor]:
        """Maps (B, C_i, H_i, W_i), fine to coarse, to as many of the same sizes."""
        current = [maps[-1]]
        results = [maps[-1]]
        for row, own in zip(reversed(self.rows), reversed(maps[:-1]), strict=True):
            assert isinstance(row, IterativeAggregation)
            current = row.steps([own, *current])
            results.insert(0, current[-1])
        return [output(result) for output, result in zip(self.outputs, results, strict=True)]


class AggregationBackbone(Backbone):
    """A backbone under an `AggregationPyramid`; levels are named as Detectron2 does, p3 for stride 8."""

    def __init__(self, bottom_up: Backbone, out_channels: int = 0, conv: str = "plain", norm: str = "BN"):
        super().__init__()
        self.bottom_up = bottom_up
        shapes = list(bottom_up.output_shape().values())
        strides = [shape.stride for shape in shapes]
        if any(coarse != 2 * fine for fine, coarse in pairwise(strides)):
            raise ConfigError(f"MODEL.DLA.OUT_FEATURES: strides {strides}, expected each twice the one before")
        self.pyramid = AggregationPyramid([shape.channels for shape in shapes], out_channels, conv, norm)
        self._out_features = [f"p{stride.bit_length() - 1}" for stride in strides]
        self._out_feature_strides = dict(zip(self._out_features, strides))
        self._out_feature_channels = dict(zip(self._out_features, self.pyramid.out_channels))

    @property
    def size_divisibility(self) -> int:
        """That of the backbone."""
        return self.bottom_up.size_divisibility

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        """Maps of ``image`` (B, C, H, W), normalised, by name."""
        return dict(zip(self._out_features, self.pyramid(list(self.bottom_up(image).values())), strict=True))


@BACKBONE_REGISTRY.register()
def build_dla34_aggregation_backbone(cfg: CfgNode, input_shape: ShapeSpec) -> AggregationBackbone:
    """``MODEL.BACKBONE.NAME build_dla34_aggregation_backbone``: DLA-34 under its own neck, as ``MODEL.DLA`` says."""
    dla = cfg.MODEL.DLA
    return AggregationBackbone(build_dla34_backbone(cfg, input_shape), dla.NECK_CHANNELS, dla.NECK_CONV, dla.NECK_NORM)
