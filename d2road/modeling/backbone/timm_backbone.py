"""Any timm model that offers features, as a Detectron2 backbone, alone or under a feature pyramid.

Features are named by their stride, ``s4``, ``s8``, ...; the pyramid names its levels as Detectron2 does, ``p3`` for
stride 8. Parameters keep timm's names under ``net.``: ``backbone.bottom_up.net.conv_stem.weight``.
"""

import difflib
import functools
from typing import Any

import timm
import torch
from detectron2.config import CfgNode
from detectron2.layers import ShapeSpec
from detectron2.modeling.backbone import BACKBONE_REGISTRY, FPN, Backbone
from detectron2.modeling.backbone.fpn import LastLevelMaxPool
from timm.models import FeatureInfo, get_arch_pretrained_cfgs
from torch import nn

from d2road.modeling.backbone.fixed_norms import FixedNormBackbone
from d2road.modeling.backbone.timm_weights import load_timm_weights
from d2road.modeling.backbone.weights_origin import check_pixels
from d2road.utils.errors import ConfigError

# What lets a model of fixed size take any size, by family; none is the rule.
ANY_SIZE: tuple[dict[str, Any], ...] = (
    {"strict_img_size": False},
    {"dynamic_img_size": True, "dynamic_img_pad": True},
    {},
)


class TimmBackbone(FixedNormBackbone):
    """A timm feature extractor that returns ``{"s<stride>": (B, C, H / stride, W / stride)}``.

    Args:
        name: timm model name, with the tag of published weights behind a dot or without.
        weights: "" random | "package" | "timm" | path of a state dict; see ``timm_weights``.
        out_features: names by stride, fine to coarse; empty takes all from stride 4 on.
        freeze_at: parameters up to and including the stage of stride ``2 ** freeze_at`` do not train and their batch
            norm stays fixed, as with Detectron2's ResNets: 1 is the stem, 2 adds the stage of stride 4, 0 is none.
        norm: batch norm: "frozen" | "eval" (statistics fixed, affine parameters train) | "train".
        in_channels: of the input image.
    Raises:
        ConfigError: unknown name (the nearest ones are named), no features, unknown feature, unknown ``norm``.
    """

    def __init__(
        self,
        *,
        name: str,
        weights: str = "",
        out_features: list[str] | tuple[str, ...] = (),
        freeze_at: int = 0,
        norm: str = "eval",
        in_channels: int = 3,
    ):
        super().__init__()
        options, levels = _probe(name, in_channels)
        chosen = _choose(name, levels, out_features)
        self.net = timm.create_model(
            name,
            pretrained=False,
            features_only=True,
            out_indices=tuple(levels[feature]["index"] for feature in chosen),
            in_chans=in_channels,
            **options,
        )
        load_timm_weights(self.net, name, weights, in_channels)

        self._out_features = list(chosen)
        self._out_feature_channels = {feature: levels[feature]["num_chs"] for feature in chosen}
        self._out_feature_strides = {feature: levels[feature]["reduction"] for feature in chosen}
        # timm's own wrappers say how their features lie; those that do not say return channels first.
        self._channels_last = str(getattr(self.net, "output_fmt", "NCHW")).endswith("NHWC")
        self.fix(norm, {f"net.{key}" for key in _frozen_names(self.net, freeze_at, levels)}, "MODEL.TIMM")

    def forward(self, image: torch.Tensor) -> dict[str, torch.Tensor]:
        """Features of ``image`` (B, C, H, W), normalised, by name."""
        features = self.net(image)
        if self._channels_last:
            features = [feature.permute(0, 3, 1, 2).contiguous() for feature in features]  # (B, C, H, W)
        return dict(zip(self._out_features, features, strict=True))


def timm_levels(name: str, key: str = "MODEL.TIMM.NAME") -> dict[str, int]:
    """Names of the features of timm's model ``name``, fine to coarse, with their channels.

    Args:
        key: of the config, for messages.
    Raises:
        ConfigError: unknown name (the nearest ones are named), or no features.
    """
    return {layer: info["num_chs"] for layer, info in _probe(name, 3, key)[1].items()}


@functools.cache  # it builds the model
def _probe(name: str, in_channels: int, key: str = "MODEL.TIMM.NAME") -> tuple[dict, dict[str, dict]]:
    """Constructor options of model ``name`` and its features by stride, without allocating weights."""
    architecture, _, tag = name.partition(".")
    if architecture not in timm.list_models():
        near = difflib.get_close_matches(architecture, timm.list_models(), n=5, cutoff=0.4)
        raise ConfigError(f"{key}: timm {timm.__version__} has no model {architecture!r}; nearest: {near}")
    tags = [published.partition(".")[2] for published in get_arch_pretrained_cfgs(architecture)]
    if tag and tag not in tags:
        known = f"its tags are {', '.join(filter(None, tags))}" if any(tags) else "none have a tag"
        raise ConfigError(f"{key}: timm {timm.__version__} knows no weights {tag!r} of {architecture}; {known}")
    for options in ANY_SIZE:
        try:
            with torch.device("meta"):
                net = timm.create_model(name, pretrained=False, features_only=True, in_chans=in_channels, **options)
            assert isinstance(net.feature_info, FeatureInfo)
            infos = net.feature_info.get_dicts()
        except TypeError:  # an option that this family does not know
            continue
        except (RuntimeError, AttributeError, AssertionError, NotImplementedError) as error:
            raise ConfigError(f"{key}: {name} offers no features (features_only): {error}") from error
        # Plain transformers repeat one stride: the deepest of equal stride counts.
        return options, {f"s{info['reduction']}": info for info in infos}
    raise ConfigError(f"{key}: {name} offers no features (features_only)")


def _choose(name: str, levels: dict[str, dict], wanted: list[str] | tuple[str, ...]) -> list[str]:
    """Feature names to return, fine to coarse."""
    if not wanted:
        return [feature for feature, info in levels.items() if info["reduction"] >= 4]
    unknown = [feature for feature in wanted if feature not in levels]
    if unknown:
        raise ConfigError(f"MODEL.TIMM.OUT_FEATURES: {name} has no {unknown}; it has {list(levels)}")
    return sorted(set(wanted), key=lambda feature: levels[feature]["reduction"])


def _frozen_names(net: nn.Module, freeze_at: int, levels: dict[str, dict]) -> set[str]:
    """Names of the parameters up to and including the stage of stride ``2 ** freeze_at``.

    timm registers modules in the order of their use. A model whose first feature is coarser than that (Swin: stride 4)
    freezes what comes before this feature.
    """
    if freeze_at <= 0:
        return set()
    infos = sorted(levels.values(), key=lambda info: info["reduction"])
    within = [info["module"] for info in infos if info["reduction"] <= 2**freeze_at]
    stage = within[-1] if within else infos[0]["module"]
    # timm's wrappers rename `layers.0` to `layers_0` or `model.layers.0`.
    forms = (stage, stage.replace(".", "_", 1), f"model.{stage}")
    names = [name for name, _ in net.named_modules()]
    places = [i for i, name in enumerate(names) if any(f"{name}.".startswith(f"{form}.") for form in forms)]
    if not places or (not within and infos[0]["reduction"] > 2 ** (freeze_at + 1)):
        raise ConfigError(f"MODEL.TIMM.FREEZE_AT: cannot tell where stage {stage!r} of this model ends; set it to 0")
    frozen = set(names[: places[-1] + 1] if within else names[: places[0]])
    return {name for name, _ in net.named_parameters() if name.rpartition(".")[0] in frozen}


def build_fpn(cfg: CfgNode, bottom_up: Backbone, top_block: str = "") -> FPN:
    """Detectron2's feature pyramid over ``bottom_up`` as ``MODEL.FPN`` says.

    Args:
        top_block: "" ends with the coarsest feature; "maxpool" adds one level by subsampling it.
    Raises:
        ConfigError: an input feature that ``bottom_up`` does not return, or an unknown ``top_block``.
    """
    known = list(bottom_up.output_shape())
    in_features = list(cfg.MODEL.FPN.IN_FEATURES) or known
    unknown = [feature for feature in in_features if feature not in known]
    if unknown:
        raise ConfigError(f"MODEL.FPN.IN_FEATURES: the backbone does not return {unknown}; it returns {known}")
    blocks = {"": None, "maxpool": LastLevelMaxPool}
    if top_block not in blocks:
        raise ConfigError(f"MODEL.TIMM.TOP_BLOCK: got {top_block!r}, expected one of {list(blocks)}")
    block = blocks[top_block]
    fpn = FPN(
        bottom_up=bottom_up,
        in_features=in_features,
        out_channels=cfg.MODEL.FPN.OUT_CHANNELS,
        norm=cfg.MODEL.FPN.NORM,
        fuse_type=cfg.MODEL.FPN.FUSE_TYPE,
        top_block=block() if block else None,
    )
    if block:
        coarsest = max(bottom_up.output_shape()[feature].stride for feature in in_features)
        fpn.top_block.in_feature = f"p{coarsest.bit_length() - 1}"
    return fpn


@BACKBONE_REGISTRY.register()
def build_timm_backbone(cfg: CfgNode, input_shape: ShapeSpec) -> TimmBackbone:
    """``MODEL.BACKBONE.NAME build_timm_backbone``: features of ``MODEL.TIMM``, named by stride."""
    timm_cfg, pixels = cfg.MODEL.TIMM, (cfg.MODEL.PIXEL_MEAN, cfg.MODEL.PIXEL_STD, cfg.INPUT.FORMAT)
    check_pixels(timm_cfg.NAME, timm_cfg.WEIGHTS, *pixels, "MODEL.TIMM.WEIGHTS")
    return TimmBackbone(
        name=timm_cfg.NAME,
        weights=timm_cfg.WEIGHTS,
        out_features=timm_cfg.OUT_FEATURES,
        freeze_at=timm_cfg.FREEZE_AT,
        norm=timm_cfg.NORM,
        in_channels=input_shape.channels,
    )


@BACKBONE_REGISTRY.register()
def build_timm_fpn_backbone(cfg: CfgNode, input_shape: ShapeSpec) -> FPN:
    """``MODEL.BACKBONE.NAME build_timm_fpn_backbone``: the same under Detectron2's FPN of ``MODEL.FPN``."""
    return build_fpn(cfg, build_timm_backbone(cfg, input_shape), cfg.MODEL.TIMM.TOP_BLOCK)
