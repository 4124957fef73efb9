"""Teacher, student and autoencoder of a config: a PDN from a file, or the features of a frozen extractor."""

from detectron2.config import CfgNode
from torch import nn

from efficientad.config import bottleneck_of, features_of, has_autoencoder
from efficientad.modeling.autoencoder import build_autoencoder
from efficientad.modeling.extractor_teacher import ExtractorTeacher
from efficientad.modeling.feature_extractors import FeatureExtractor, build_extractor
from efficientad.modeling.networks import Networks
from efficientad.modeling.pdn import PDN
from efficientad.modeling.unet_student import UNetStudent


def build_networks(cfg: CfgNode) -> Networks:
    """The networks that a config describes, as initialised; `teacher_loading.fill_teacher` fills the teacher."""
    node = cfg.MODEL.EFFICIENT_AD
    if features_of(node):
        teacher = build_teacher(cfg)
        autoencoder = _autoencoder(node, teacher.out_channels) if has_autoencoder(node) else None
        halves = 1 if autoencoder is None else 2
        student = UNetStudent(halves * teacher.out_channels)
        return Networks(teacher, student, autoencoder, node.HARD_QUANTILE, node.EXTRACTOR.DISTANCE == "mahalanobis")
    # The autoencoder first, as ever: a seed goes on to give the same networks.
    autoencoder, teacher = _autoencoder(node, node.OUT_CHANNELS), build_teacher(cfg)
    return Networks(
        teacher, PDN(node.SIZE, 2 * node.OUT_CHANNELS, node.PADDING, node.WINOGRAD), autoencoder, node.HARD_QUANTILE
    )


def _autoencoder(node: CfgNode, channels: int) -> nn.Module:
    return build_autoencoder(
        node.AUTOENCODER,
        channels,
        bottleneck_of(node),
        node.DROPOUT,
        dim=node.ATTENTION_DIM,
        heads=node.ATTENTION_HEADS,
    )


def build_teacher(cfg: CfgNode) -> PDN | ExtractorTeacher:
    """The teacher that a config describes, without its weights."""
    node = cfg.MODEL.EFFICIENT_AD
    if not features_of(node):
        return PDN(node.SIZE, node.OUT_CHANNELS, node.PADDING, node.WINOGRAD)
    extractor = extractor_of(node, None)
    own = node.EXTRACTOR
    return ExtractorTeacher(
        extractor, own.NEIGHBOURHOOD, cfg.MODEL.PIXEL_MEAN, cfg.MODEL.PIXEL_STD, own.CACHE_MB * 2**20
    )


def extractor_of(node: CfgNode, weights: str | None) -> FeatureExtractor:
    """The extractor that TEACHER names, see `build_extractor`."""
    return build_extractor(features_of(node), weights, tuple(node.EXTRACTOR.LAYERS))
