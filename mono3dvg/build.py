"""Parts of the grounder from a config."""

import logging
from typing import Any

from detectron2.config import CfgNode
from detectron2.data import DatasetCatalog
from detectron2.modeling import build_backbone
from torch import nn

from d2road.utils.errors import ConfigError
from mono3dvg.detection.dense_head import DenseHead, ReferHead
from mono3dvg.detection.query_head import QueryHead
from mono3dvg.fusion.fusion_neck import FusionNeck
from mono3dvg.grounder_state import ModelState
from mono3dvg.language import LOOKS
from mono3dvg.relation.relation_layer import RelationLayer
from mono3dvg.text.text_filter import TextFilter

logger = logging.getLogger(__name__)

# What each fusion takes of MODEL.MONO3DVG.SSD and FUSION, by the names of its arguments.
SCANS = ("joint", "frozen", "learned", "mamba_fusion")


def build_parts(cfg: CfgNode) -> dict[str, Any]:
    """Arguments of `Mono3DVG`.

    Raises:
        ValueError: classes or their sizes are not known, the backbone lacks a feature, a part refuses its numbers.
        FileNotFoundError: weights of the text encoder.
    """
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
        "in_features": node.IN_FEATURES,
        "stride": stride,
        "text_encoder": build_text_encoder(cfg),
        "text_filter": TextFilter(node.DIM, node.FILTER.GATE, **scan_options(node)) if node.FILTER.ENABLED else None,
        "neck": build_neck(node, channels),
        "head": _dense_head(node, channels[0]),
        "refer_head": ReferHead(node.DIM) if dense else None,
        "relation": _relation(node) if dense and node.RELATION.ENABLED else None,
        "query_head": None if dense else QueryHead(dim=node.DIM, num_classes=len(node.CLASSES), stride=stride),
        "state": ModelState(node.CLASSES, node.RY_FRAME, node.EVALUATION.SCORE_THRESHOLD),
        "priors_hwl": node.DIMENSION_PRIORS,
        "ry_frame": node.RY_FRAME or "camera",
        "use_given_ground": node.USE_GIVEN_GROUND,
        "jitter": node.RELATION.JITTER,
        "match_iou": node.RELATION.MATCH_IOU,
        "loss_weights": dict(node.LOSS),
        "decoding": {
            "top_k": node.DETECTION.TOP_K,
            "threshold": node.DETECTION.MIN_HEAT,
            "nms_2d": node.DETECTION.NMS_2D,
            "nms_bev": node.DETECTION.NMS_BEV,
        },
        "heat_exponent": node.TEST.HEAT_EXPONENT,
        "min_score": node.TEST.MIN_SCORE,
        "chunk": node.TEST.CHUNK,
        "ignores": node.IGNORES,
        "lesson": node.DATA.LESSON,
        "pixel_mean": cfg.MODEL.PIXEL_MEAN,
        "pixel_std": cfg.MODEL.PIXEL_STD,
    }


def build_text_encoder(cfg: CfgNode) -> nn.Module:
    """What MODEL.MONO3DVG.TEXT describes.

    A tokenizer from scratch is learned from the sentences of DATASETS.TRAIN, where they are at hand. Elsewhere a
    checkpoint brings its own.
    """
    from mono3dvg.text.text_encoder import SCRATCH, TextEncoder  # needs an extra, which the other systems run without

    text = cfg.MODEL.MONO3DVG.TEXT
    encoder = TextEncoder(
        cfg.MODEL.MONO3DVG.DIM,
        text.ENCODER,
        frozen=text.FREEZE and text.ENCODER != SCRATCH,
        max_tokens=text.MAX_TOKENS,
        random_init=text.RANDOM_INIT,
        download=text.DOWNLOAD,
        width=text.WIDTH,
        layers=text.LAYERS,
        heads=text.HEADS,
        dropout=text.DROPOUT,
        vocab_size=text.VOCAB_SIZE,
        tokenizer=text.TOKENIZER,
    )
    if text.ENCODER == SCRATCH and not text.TOKENIZER:
        sentences = training_sentences(cfg)
        if sentences:
            encoder.learn_tokenizer(sentences)
    return encoder


def training_sentences(cfg: CfgNode) -> list[str]:
    """All sentences of DATASETS.TRAIN; none where the data is not on this machine."""
    try:
        records = [record for name in cfg.DATASETS.TRAIN for record in DatasetCatalog.get(name)]
    except (FileNotFoundError, KeyError) as error:
        logger.info("No training sentences to learn a tokenizer from (%s): the checkpoint's is taken", error)
        return []
    return [e["text"] for record in records for e in record.get("expressions", ())]


def scan_options(node: CfgNode) -> dict[str, Any]:
    """MODEL.MONO3DVG.SSD as arguments of the state space models."""
    ssd = node.SSD
    return {
        "heads": ssd.HEADS, "head_dim": ssd.HEAD_DIM, "state_dim": ssd.STATE, "chunk_size": ssd.CHUNK,
        "backend": ssd.BACKEND,
    }  # fmt: skip


def build_neck(node: CfgNode, channels: list[int]) -> FusionNeck:
    """The fusion that MODEL.MONO3DVG.FUSION names."""
    name, options = node.FUSION.NAME, {}
    if name in SCANS:
        options = scan_options(node) | {"directions": node.FUSION.DIRECTIONS}
    elif name == "cross_attention":
        options = {"heads": node.SSD.HEADS}
    return FusionNeck(channels, node.DIM, name, node.FUSION.STAGES, **options)


def _dense_head(node: CfgNode, channels: int) -> nn.Module:
    detection = node.DETECTION
    return DenseHead(
        in_channels=channels,
        num_classes=len(node.CLASSES),
        dim=detection.DIM,
        depth=detection.DEPTH,
        num_looks=_num_looks(node),
    )


def _num_looks(node: CfgNode) -> int:
    return len(LOOKS) if node.DETECTION.LOOKS else 0


def _relation(node: CfgNode) -> nn.Module:
    relation = node.RELATION
    return RelationLayer(
        in_dim=node.DIM,
        num_traits=len(node.CLASSES) + _num_looks(node),
        dim=relation.DIM,
        layers=relation.LAYERS,
        heads=relation.HEADS,
        pair_dim=relation.PAIR_DIM,
        look_dim=relation.LOOK_DIM,
        numbers=relation.NUMBERS,
        dropout=relation.DROPOUT,
    )
