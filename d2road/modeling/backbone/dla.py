"""DLA-34, deep layer aggregation, as a Detectron2 backbone; parameters are named as in the published weights.

    base_layer, level0   stride 1     level1  s2     level2  s4     level3  s8     level4  s16     level5  s32

Levels 2 to 5 are trees: two blocks (or two trees), the results of which a root, a 1x1 convolution, aggregates; at
levels 3 to 5 the root takes the level's own input, too. Features are named by their stride.

Weights: the authors' `dla34-ba72cf86.pth` and timm's `dla34.in1k`. Their names agree but for parameters of the former
that no forward pass uses.
"""

import torch
import torch.nn.functional as F
from detectron2.config import CfgNode
from detectron2.layers import ShapeSpec
from detectron2.modeling.backbone import BACKBONE_REGISTRY, FPN
from torch import Tensor, nn

from d2road.modeling.backbone.fixed_norms import FixedNormBackbone
from d2road.modeling.backbone.timm_backbone import build_fpn
from d2road.modeling.backbone.timm_weights import load_timm_weights
from d2road.utils.errors import ConfigError

CHANNELS = (16, 32, 64, 128, 256, 512)  # of level 0, at stride 1, to level 5, at stride 32


class DLA34(FixedNormBackbone):
    """Returns ``{"s<stride>": (B, C, H / stride, W / stride)}``, sizes rounded up; see above.

    Args:
        weights: "" random | "timm" downloaded by timm | path or address of a state dict; see ``timm_weights``.
        out_features: names among s2 ... s32; levels beyond the coarsest are not built.
        freeze_at: levels up to this one do not train, from 1 on also what comes before level 1; 0 is none.
        norm: batch norm: "frozen" | "eval" (statistics fixed, affine parameters train) | "train".
        in_channels: of the input image.
        channels: of levels 0 to 5; other than the published ones have no published weights.
    Raises:
        ConfigError: unknown feature or ``norm``, ``freeze_at`` out of range, ``channels`` not six positive numbers,
            weights that do not fit.
    Source: Yu et al., Deep Layer Aggregation, CVPR 2018, figure 3 and table 1. Differs: pooling rounds up, so that any
        size works; equal where sizes are even.
    """

    def __init__(
        self,
        *,
        weights: str = "",
        out_features: list[str] | tuple[str, ...] = ("s4", "s8", "s16", "s32"),
        freeze_at: int = 0,
        norm: str = "eval",
        in_channels: int = 3,
        channels: tuple[int, ...] = CHANNELS,
    ):
        super().__init__()
        if len(channels) != len(CHANNELS) or min(channels) < 1:
            raise ConfigError(f"MODEL.DLA.CHANNELS: got {list(channels)}, expected {len(CHANNELS)} positive numbers")
        known = {f"s{2**level}": level for level in range(1, len(channels))}
        unknown = [name for name in out_features if name not in known]
        if unknown or not out_features:
            raise ConfigError(f"MODEL.DLA.OUT_FEATURES: got {list(out_features)}, expected some of {list(known)}")
        chosen = sorted({known[name] for name in out_features})
        if not 0 <= freeze_at < len(channels):
            raise ConfigError(f"MODEL.DLA.FREEZE_AT: got {freeze_at}, expected 0 to {len(channels) - 1}")

        self.base_layer = _conv_norm_relu(in_channels, channels[0], kernel=7)
        self.level0 = _conv_norm_relu(channels[0], channels[0])
        self.level1 = _conv_norm_relu(channels[0], channels[1], stride=2)
        for level in range(2, chosen[-1] + 1):
            tree: type[Tree | TreeOfTrees] = Tree if level in (2, 5) else TreeOfTrees
            self.add_module(f"level{level}", tree(channels[level - 1], channels[level], takes_input=level > 2))
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        load_timm_weights(self, "dla34", weights, in_channels, key="MODEL.DLA.WEIGHTS")

        self._out_features = [f"s{2**level}" for level in chosen]
        self._out_feature_channels = {f"s{2**level}": channels[level] for level in chosen}
        self._out_feature_strides = {f"s{2**level}": 2**level for level in chosen}
        frozen = ("base_layer.", *(f"level{level}." for level in range(freeze_at + 1))) if freeze_at else ()
        self.fix(norm, {name for name, _ in self.named_parameters() if name.startswith(frozen)}, "MODEL.DLA")

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        """Features of ``image`` (B, C, H, W), normalised, by name."""
        x = self.level1(self.level0(self.base_layer(image)))
        features = {"s2": x}
        for level in range(2, max(self._out_feature_strides.values()).bit_length()):
            x = features[f"s{2**level}"] = getattr(self, f"level{level}")(x)
        return {name: features[name] for name in self._out_features}


class Block(nn.Module):
    """Two 3x3 convolutions, added to the shortcut."""

    def __init__(self, in_channels: int, out_channels: int, stride: int = 1):
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(out_channels)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(out_channels)

    def forward(self, x: Tensor, shortcut: Tensor) -> Tensor:
        x = F.relu_(self.bn1(self.conv1(x)))
        return F.relu_(self.bn2(self.conv2(x)).add_(shortcut))


class Root(nn.Module):
    """What aggregates the parts of a tree."""

    def __init__(self, in_channels: int, out_channels: int):
        super().__init__()
        self.conv = nn.Conv2d(in_channels, out_channels, 1, bias=False)
        self.bn = nn.BatchNorm2d(out_channels)

    def forward(self, *parts: Tensor) -> Tensor:
        return F.relu_(self.bn(self.conv(torch.cat(parts, dim=1))))


class Tree(nn.Module):
    """Two blocks under a root.

    Args:
        in_channels, out_channels: of the whole.
        stride: of the first block.
        takes_input: whether the root takes the input, pooled, too.
        passed: channels that the root takes from outside.
    """

    def __init__(
        self, in_channels: int, out_channels: int, stride: int = 2, takes_input: bool = False, passed: int = 0
    ):
        super().__init__()
        self.stride, self.takes_input = stride, takes_input
        self.tree1 = Block(in_channels, out_channels, stride)
        self.tree2 = Block(out_channels, out_channels)
        self.root = Root(2 * out_channels + takes_input * in_channels + passed, out_channels)
        self.project: nn.Module = nn.Identity()
        if in_channels != out_channels:
            self.project = nn.Sequential(
                nn.Conv2d(in_channels, out_channels, 1, bias=False), nn.BatchNorm2d(out_channels)
            )

    def forward(self, x: Tensor, *passed: Tensor) -> Tensor:
        bottom = _pool(x, self.stride)
        first = self.tree1(x, self.project(bottom))
        second = self.tree2(first, first)
        return self.root(second, first, *([bottom] if self.takes_input else []), *passed)


class TreeOfTrees(nn.Module):
    """Two trees, of which the second one's root aggregates everything; arguments as `Tree`."""

    def __init__(self, in_channels: int, out_channels: int, takes_input: bool = False):
        super().__init__()
        self.takes_input = takes_input
        self.tree1 = Tree(in_channels, out_channels)
        self.tree2 = Tree(out_channels, out_channels, stride=1, passed=out_channels + takes_input * in_channels)

    def forward(self, x: Tensor) -> Tensor:
        first = self.tree1(x)
        return self.tree2(first, *([_pool(x, 2)] if self.takes_input else []), first)


def _pool(x: Tensor, stride: int) -> Tensor:
    return F.max_pool2d(x, stride, ceil_mode=True) if stride > 1 else x


def _conv_norm_relu(in_channels: int, out_channels: int, kernel: int = 3, stride: int = 1) -> nn.Sequential:
    conv = nn.Conv2d(in_channels, out_channels, kernel, stride, padding=kernel // 2, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(out_channels), nn.ReLU(inplace=True))


@BACKBONE_REGISTRY.register()
def build_dla34_backbone(cfg: CfgNode, input_shape: ShapeSpec) -> DLA34:
    """``MODEL.BACKBONE.NAME build_dla34_backbone``: features of ``MODEL.DLA``, named by stride."""
    return DLA34(
        weights=cfg.MODEL.DLA.WEIGHTS,
        out_features=cfg.MODEL.DLA.OUT_FEATURES,
        freeze_at=cfg.MODEL.DLA.FREEZE_AT,
        norm=cfg.MODEL.DLA.NORM,
        in_channels=input_shape.channels,
        channels=tuple(cfg.MODEL.DLA.CHANNELS),
    )


@BACKBONE_REGISTRY.register()
def build_dla34_fpn_backbone(cfg: CfgNode, input_shape: ShapeSpec) -> FPN:
    """``MODEL.BACKBONE.NAME build_dla34_fpn_backbone``: the same under Detectron2's FPN of ``MODEL.FPN``."""
    return build_fpn(cfg, build_dla34_backbone(cfg, input_shape))
