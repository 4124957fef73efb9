"""Detectron2's Swin Transformer under the names of the published DiffusionDet configs and checkpoints.

ImageNet checkpoints of the authors load through ``MODEL.WEIGHTS file.pth?matching_heuristics=True``, or from a
Detectron2 pickle, which asks for that itself. Normalisation of the outputs (``norm0`` ... ``norm3``) is not in them.
"""

import importlib
import warnings
from dataclasses import dataclass

import torch
from detectron2.config import CfgNode
from detectron2.layers import ShapeSpec
from detectron2.modeling.backbone import BACKBONE_REGISTRY, FPN
from detectron2.modeling.backbone.swin import SwinTransformer

from d2road.modeling.backbone.timm_backbone import build_fpn
from d2road.utils.errors import ConfigError


@dataclass(frozen=True)
class SwinSize:
    """Dimensions of one published Swin Transformer (Liu et al., ICCV 2021, section 3.3)."""

    embed_dim: int
    depths: tuple[int, ...]
    num_heads: tuple[int, ...]
    drop_path_rate: float
    window_size: int = 7


_B = SwinSize(128, (2, 2, 18, 2), (4, 8, 16, 32), 0.3)
_L = SwinSize(192, (2, 2, 18, 2), (6, 12, 24, 48), 0.3)
# "-22k" names what it was pretrained on; "-384" is the variant for larger images, with windows of 12.
SIZES: dict[str, SwinSize] = {
    "T": SwinSize(96, (2, 2, 6, 2), (3, 6, 12, 24), 0.2),
    "S": SwinSize(96, (2, 2, 18, 2), (3, 6, 12, 24), 0.2),
    "B": _B,
    "B-22k": _B,
    "B-22k-384": SwinSize(_B.embed_dim, _B.depths, _B.num_heads, _B.drop_path_rate, window_size=12),
    "L-22k": _L,
    "L-22k-384": SwinSize(_L.embed_dim, _L.depths, _L.num_heads, _L.drop_path_rate, window_size=12),
}


class Swin(SwinTransformer):
    """Detectron2's SwinTransformer with outputs ``swin0`` ... ``swin3`` at strides 4 ... 32."""

    def __init__(self, size: SwinSize, *, out_indices: tuple[int, ...], in_channels: int, use_checkpoint: bool):
        require_timm_layers()
        super().__init__(
            in_chans=in_channels,
            embed_dim=size.embed_dim,
            depths=size.depths,
            num_heads=size.num_heads,
            window_size=size.window_size,
            drop_path_rate=size.drop_path_rate,
            out_indices=tuple(out_indices),
            use_checkpoint=use_checkpoint,
        )
        self._out_features = [f"swin{i}" for i in self.out_indices]
        self._out_feature_channels = {f"swin{i}": self.num_features[i] for i in self.out_indices}
        self._out_feature_strides = {f"swin{i}": 2 ** (i + 2) for i in self.out_indices}

    @property
    def size_divisibility(self) -> int:
        """Coarsest stride; other sizes are padded inside."""
        return max(self._out_feature_strides.values())

    def forward(self, image: torch.Tensor) -> dict[str, torch.Tensor]:
        """Features of ``image`` (B, C, H, W) by name, each (B, C_i, H / stride, W / stride)."""
        return {f"swin{name[1:]}": feature for name, feature in super().forward(image).items()}  # was "p0", ...


def require_timm_layers() -> None:
    """Make ``timm.models.layers`` importable, the old place where Detectron2 looks for what is now ``timm.layers``."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        importlib.import_module("timm.models.layers")


@BACKBONE_REGISTRY.register()
def build_swintransformer_backbone(cfg: CfgNode, input_shape: ShapeSpec) -> Swin:
    """``MODEL.BACKBONE.NAME build_swintransformer_backbone``: Swin of ``MODEL.SWIN.SIZE``."""
    swin = cfg.MODEL.SWIN
    if swin.SIZE not in SIZES:
        raise ConfigError(f"MODEL.SWIN.SIZE: got {swin.SIZE!r}, expected one of {list(SIZES)}")
    size = SIZES[swin.SIZE]
    if any(index not in range(len(size.depths)) for index in swin.OUT_FEATURES) or not len(swin.OUT_FEATURES):
        raise ConfigError(f"MODEL.SWIN.OUT_FEATURES: got {list(swin.OUT_FEATURES)}, expected some of [0, 1, 2, 3]")
    return Swin(
        size,
        out_indices=tuple(sorted(swin.OUT_FEATURES)),
        in_channels=input_shape.channels,
        use_checkpoint=swin.USE_CHECKPOINT,
    )


@BACKBONE_REGISTRY.register()
def build_swintransformer_fpn_backbone(cfg: CfgNode, input_shape: ShapeSpec) -> FPN:
    """``MODEL.BACKBONE.NAME build_swintransformer_fpn_backbone``: p2 ... p5 and p6, which is p5 subsampled."""
    return build_fpn(cfg, build_swintransformer_backbone(cfg, input_shape), "maxpool")
