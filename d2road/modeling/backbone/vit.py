"""Detectron2's plain Vision Transformer with its simple feature pyramid, built from a YAML config.

Sizes and window attention as Li et al., "Exploring Plain Vision Transformer Backbones for Object Detection", ECCV
2022: four blocks, evenly spread, attend globally, the others within windows of 14.
"""

import importlib
from dataclasses import dataclass
from functools import partial

from detectron2.config import CfgNode
from detectron2.layers import ShapeSpec
from detectron2.modeling.backbone import BACKBONE_REGISTRY
from detectron2.modeling.backbone.fpn import LastLevelMaxPool
from detectron2.modeling.backbone.vit import SimpleFeaturePyramid, ViT
from torch import nn

from d2road.modeling.backbone.swin import require_timm_layers
from d2road.utils.errors import ConfigError

PATCH = 16
WINDOW = 14
GLOBAL_BLOCKS = 4


@dataclass(frozen=True)
class ViTSize:
    """Dimensions of one Vision Transformer."""

    embed_dim: int
    depth: int
    num_heads: int


SIZES: dict[str, ViTSize] = {
    "B": ViTSize(768, 12, 12),
    "L": ViTSize(1024, 24, 16),
    "H": ViTSize(1280, 32, 16),
}


class ViTPyramid(SimpleFeaturePyramid):
    """Detectron2's simple feature pyramid, which says how inputs are to be padded."""

    @property
    def size_divisibility(self) -> int:
        """Stride of the coarsest level that convolutions make."""
        return self._size_divisibility


@BACKBONE_REGISTRY.register()
def build_vit_fpn_backbone(cfg: CfgNode, input_shape: ShapeSpec) -> ViTPyramid:
    """``MODEL.BACKBONE.NAME build_vit_fpn_backbone``: p2 ... p5 of ``MODEL.VIT``, and p6, which is p5 subsampled.

    ``MODEL.VIT.IMG_SIZE`` is the side that relative positions are made for; other sizes interpolate them. Channels are
    ``MODEL.FPN.OUT_CHANNELS``, the pyramid is normalised by layer norm as published.
    """
    vit = cfg.MODEL.VIT
    if vit.SIZE not in SIZES:
        raise ConfigError(f"MODEL.VIT.SIZE: got {vit.SIZE!r}, expected one of {list(SIZES)}")
    if vit.IMG_SIZE <= 0 or vit.IMG_SIZE % PATCH:
        raise ConfigError(f"MODEL.VIT.IMG_SIZE: got {vit.IMG_SIZE}, expected a positive multiple of {PATCH}")
    if vit.USE_CHECKPOINT:
        _require_fairscale()
    require_timm_layers()
    size = SIZES[vit.SIZE]
    every = size.depth // GLOBAL_BLOCKS
    net = ViT(
        img_size=vit.IMG_SIZE,
        patch_size=PATCH,
        in_chans=input_shape.channels,
        embed_dim=size.embed_dim,
        depth=size.depth,
        num_heads=size.num_heads,
        drop_path_rate=vit.DROP_PATH_RATE,
        window_size=WINDOW,
        norm_layer=partial(nn.LayerNorm, eps=1e-6),
        window_block_indexes=[i for i in range(size.depth) if i % every != every - 1],
        use_rel_pos=True,
        use_act_checkpoint=vit.USE_CHECKPOINT,
    )
    return ViTPyramid(
        net=net,
        in_feature="last_feat",
        out_channels=cfg.MODEL.FPN.OUT_CHANNELS,
        scale_factors=(4.0, 2.0, 1.0, 0.5),
        top_block=LastLevelMaxPool(),
        norm="LN",
    )


def _require_fairscale() -> None:
    try:
        importlib.import_module("fairscale")
    except ImportError as error:
        raise ConfigError(
            "MODEL.VIT.USE_CHECKPOINT True: Detectron2's ViT checkpoints through fairscale; pip install fairscale, or "
            "set it to False"
        ) from error
