"""Submodules and options of the grounder from a config."""

from typing import Any

from detectron2.config import CfgNode
from detectron2.modeling import build_backbone
from torch import nn

from d2road.engine.meta_arch import register_camera_need
from d2road.utils.errors import ConfigError
from mono3dvg.config import scan_options
from mono3dvg.detection.dense_head import DenseHead, ReferHead
from mono3dvg.detection.query_head import QueryHead
from mono3dvg.fusion.fusion_neck import FusionNeck
from mono3dvg.fusion.fusion_registry import accepted_options
from mono3dvg.grounder_options import InferenceOptions, InputOptions, TrainingOptions
from mono3dvg.grounder_state import GrounderState
from mono3dvg.language import ATTRIBUTES
from mono3dvg.relation.relation_layer import RelationLayer


def build_parts(cfg: CfgNode) -> dict[str, Any]:
    """Arguments of `Mono3DVG`.

    Raises:
        ValueError: classes or their sizes are not known, the backbone lacks a feature, a part refuses its numbers.
        FileNotFoundError: weights of the text encoder.
    """
    # Needs an extra, which the other systems run without.
    from mono3dvg.text.text_encoder import build_text_encoder

    node = cfg.MODEL.MONO3DVG
    if not len(node.CLASSES) or not len(node.DIMENSION_PRIORS):
        raise ConfigError(
            "MODEL.MONO3DVG.CLASSES or DIMENSION_PRIORS are empty, which d2road.config.setup_cfg replaces by those of "
            "the training data; without it set them, or take the config.yaml that a training wrote"
        )
    backbone = build_backbone(cfg)
    shapes = backbone.output_shape()
    absent = [name for name in node.IN_FEATURES if name not in shapes]
    if absent:
        raise ConfigError(
            f"MODEL.MONO3DVG.IN_FEATURES names {absent}, but {cfg.MODEL.BACKBONE.NAME} returns {sorted(shapes)}"
        )
    channels = [shapes[name].channels for name in node.IN_FEATURES]
    stride = shapes[node.IN_FEATURES[0]].stride
    dense = node.HEAD == "dense"
    return {
        "backbone": backbone,
        "text_encoder": build_text_encoder(cfg),
        "neck": build_neck(node, channels),
        "dense_head": _dense_head(node, channels[0]),
        "refer_head": ReferHead(node.DIM) if dense else None,
        "relation": _relation(node) if dense and node.RELATION.ENABLED else None,
        "query_head": None if dense else QueryHead(dim=node.DIM, num_classes=len(node.CLASSES), stride=stride),
        "state": GrounderState(node.CLASSES, node.RY_FRAME, cfg.TEST.GROUNDING.SCORE_THRESHOLD),
        "inputs": InputOptions(
            in_features=node.IN_FEATURES,
            stride=stride,
            pixel_mean=cfg.MODEL.PIXEL_MEAN,
            pixel_std=cfg.MODEL.PIXEL_STD,
            priors_hwl=node.DIMENSION_PRIORS,
            ry_frame=node.RY_FRAME or "camera",
            use_given_ground=node.USE_GIVEN_GROUND,
            ablate_input=node.ABLATE_INPUT,
        ),
        "inference": InferenceOptions(
            top_k=node.DETECTION.TOP_K,
            min_heat=node.DETECTION.MIN_HEAT,
            nms_2d=node.DETECTION.NMS_2D,
            nms_bev=node.DETECTION.NMS_BEV,
            heat_exponent=cfg.TEST.GROUNDING.HEAT_EXPONENT,
            min_score=cfg.TEST.GROUNDING.MIN_SCORE,
            sentences_per_chunk=cfg.TEST.GROUNDING.SENTENCES_PER_CHUNK,
        ),
        "training": TrainingOptions(
            stage=node.TRAINING_STAGE,
            jitter=node.RELATION.JITTER,
            match_iou=node.RELATION.MATCH_IOU,
            loss_weights=dict(node.LOSS),
        ),
    }


def build_neck(node: CfgNode, channels: list[int]) -> FusionNeck:
    """The fusion that MODEL.MONO3DVG.FUSION names."""
    options = {**scan_options(node.SSD), "directions": node.FUSION.DIRECTIONS}
    return FusionNeck(
        channels, node.DIM, node.FUSION.NAME, node.FUSION.STAGES, **accepted_options(node.FUSION.NAME, options)
    )


def _dense_head(node: CfgNode, channels: int) -> nn.Module:
    detection = node.DETECTION
    return DenseHead(
        in_channels=channels,
        num_classes=len(node.CLASSES),
        dim=detection.DIM,
        depth=detection.DEPTH,
        num_attributes=_num_attributes(node),
    )


def _num_attributes(node: CfgNode) -> int:
    return len(ATTRIBUTES) if node.DETECTION.ATTRIBUTES else 0


def _relation(node: CfgNode) -> nn.Module:
    relation = node.RELATION
    return RelationLayer(
        in_dim=node.DIM,
        num_traits=len(node.CLASSES) + _num_attributes(node),
        dim=relation.DIM,
        layers=relation.LAYERS,
        heads=relation.ATTENTION_HEADS,
        pair_dim=relation.PAIR_DIM,
        image_dim=relation.IMAGE_DIM,
        numbers=relation.NUMBERS,
        presence=relation.PRESENCE,
        dropout=relation.DROPOUT,
    )


@register_camera_need("Mono3DVG")
def needs_camera(cfg: CfgNode) -> bool:
    """Whether images need a camera: for 3D boxes, which it always finds."""
    return True
