"""Parts of the detector from a config."""

import logging
import math
from collections.abc import Sequence
from typing import Any

import torch
from detectron2.config import CfgNode
from detectron2.data import MetadataCatalog
from detectron2.data.detection_utils import get_fed_loss_cls_weights
from detectron2.modeling import build_backbone
from torch import Tensor

from d2road.data.class_names import class_numbers, known_class_names
from d2road.engine.distributed import mean_over_processes
from d2road.engine.meta_arch import SamplingChoices, SamplingSetting, register_camera_need, register_sampling_choices
from d2road.layers.graph_replay import GraphReplay
from d2road.utils.console import LONG
from d2road.utils.errors import ConfigError
from diffusion_det.box_prior import BoxPrior, FittedPrior, NormalPrior
from diffusion_det.denoising import SamplingOptions
from diffusion_det.head import DIFFUSION_HEAD_REGISTRY, DiffusionHead, StageOptions
from diffusion_det.losses import BOX_LOSS_REGISTRY, LossOptions, SetCriterion, of_one_process
from diffusion_det.pose.pose_estimator import GroundAugmentation, PoseDecoding, PoseEstimator
from diffusion_det.pose.pose_head import GroundHead, PoseHead
from diffusion_det.pose.pose_losses import PoseCriterion
from diffusion_det.pose.pose_state import StateEmbedding
from diffusion_det.proposals import PROPOSALS_REGISTRY
from diffusion_det.sampler import sampler_names
from diffusion_det.schedule import TRANSPORT_REGISTRY, NoisePath
from diffusion_det.text_classifier import Vocabulary, use_text_classifiers
from diffusion_det.text_config import class_words
from diffusion_det.velocity_loss import VelocityCriterion

logger = logging.getLogger(__name__)


def build_vocabulary(cfg: CfgNode) -> Vocabulary | None:
    """The words of the classes, embedded; None where MODEL.DiffusionDet.CLASSIFIER is linear.

    Raises:
        ConfigError: as many words as NUM_CLASSES are not known. FileNotFoundError, D2RoadError: see `Vocabulary`.
    """
    node = cfg.MODEL.DiffusionDet
    if node.CLASSIFIER == "linear":
        return None
    words = class_words(cfg)
    if len(words) != node.NUM_CLASSES:
        raise ConfigError(
            f"MODEL.DiffusionDet.NUM_CLASSES is {node.NUM_CLASSES}, but there are {len(words)} class words"
        )
    return Vocabulary(node.TEXT.ENCODER, words, node.TEXT.TEMPLATES, node.TEXT.DOWNLOAD)


def build_head(cfg: CfgNode, strides: Sequence[int], vocabulary: Vocabulary | None = None) -> DiffusionHead:
    """Decoder that MODEL.DiffusionDet.HEAD names; its first FREEZE_HEADS stages do not train."""
    node, pooler = cfg.MODEL.DiffusionDet, cfg.MODEL.ROI_BOX_HEAD
    head = DIFFUSION_HEAD_REGISTRY.get(node.HEAD)(
        strides=strides,
        num_outputs=node.NUM_CLASSES if node.USE_FOCAL else node.NUM_CLASSES + 1,
        num_classes=node.NUM_CLASSES,
        num_stages=node.NUM_HEADS,
        stage=StageOptions(
            dim=node.HIDDEN_DIM,
            dim_feedforward=node.DIM_FEEDFORWARD,
            num_attention_heads=node.NHEADS,
            dropout=node.DROPOUT,
            activation=node.ACTIVATION,
            num_cls=node.NUM_CLS,
            num_reg=node.NUM_REG,
            dim_dynamic=node.DIM_DYNAMIC,
            pooled_side=pooler.POOLER_RESOLUTION,
        ),
        sampling_ratio=pooler.POOLER_SAMPLING_RATIO,
        canonical_size=node.POOLER_CANONICAL_SIZE,
        prior_prob=node.PRIOR_PROB if node.USE_FOCAL else None,
        bias_by_shape=node.OFFICIAL_COMPAT,
    )
    if vocabulary is not None:
        use_text_classifiers(head, vocabulary.vectors, node.PRIOR_PROB)
    for stage in head.head_series[: node.FREEZE_HEADS]:
        stage.requires_grad_(False)
    if node.COMPILE:
        head.compile(fullgraph=True, backend=node.COMPILE)
    return head


def in_model_order(values: Tensor, data_classes: Sequence[str], model_classes: Sequence[str]) -> Tensor:
    """Values by the class index of a data set as values by that of the model, 0 for classes that the data lacks."""
    if not len(data_classes) or not len(model_classes):
        return values
    numbers = class_numbers(data_classes, model_classes, "the training data", "the model (MODEL.CLASS_NAMES)")
    ordered = values.new_zeros(len(model_classes))
    ordered[[numbers[i] for i in range(len(data_classes))]] = values
    return ordered


def build_criterion(cfg: CfgNode) -> SetCriterion:
    """Losses with the weights of the config; class frequencies (federated loss) come from the data set's metadata."""
    node = cfg.MODEL.DiffusionDet
    fed_weights = None
    if node.USE_FED_LOSS:
        if not hasattr(MetadataCatalog.get(cfg.DATASETS.TRAIN[0]), "class_image_count"):
            raise ConfigError(
                f"USE_FED_LOSS needs the class frequencies of {cfg.DATASETS.TRAIN[0]}, which has none in its metadata "
                "(class_image_count); use an LVIS data set or set USE_FED_LOSS False"
            )
        name = cfg.DATASETS.TRAIN[0]
        fed_weights = get_fed_loss_cls_weights(name, cfg.MODEL.ROI_BOX_HEAD.FED_LOSS_FREQ_WEIGHT_POWER)
        fed_weights = in_model_order(fed_weights, known_class_names(name) or (), cfg.MODEL.CLASS_NAMES)
    criterion = BOX_LOSS_REGISTRY.get(node.BOX_LOSS)
    own: dict[str, Any] = {}
    if issubclass(criterion, VelocityCriterion):
        own = {"prior": build_prior(cfg), "velocity_weight": node.VELOCITY_WEIGHT}
    return criterion(
        num_classes=node.NUM_CLASSES,
        options=LossOptions(
            class_weight=node.CLASS_WEIGHT,
            l1_weight=node.L1_WEIGHT,
            giou_weight=node.GIOU_WEIGHT,
            use_focal=node.USE_FOCAL,
            alpha=node.ALPHA,
            gamma=node.GAMMA,
            no_object_weight=node.NO_OBJECT_WEIGHT,
        ),
        candidates=node.OTA_K,
        deep_supervision=node.DEEP_SUPERVISION,
        as_published=node.OFFICIAL_COMPAT,
        fed_loss_weights=fed_weights,
        fed_loss_classes=cfg.MODEL.ROI_BOX_HEAD.FED_LOSS_NUM_CLASSES,
        mean_over_processes=of_one_process if node.OFFICIAL_COMPAT else mean_over_processes,
        unseen=[i for i, name in enumerate(cfg.MODEL.CLASS_NAMES) if name in node.TEXT.UNSEEN],
        **own,
    )


def build_transport(cfg: CfgNode) -> NoisePath:
    """Path between boxes and noise that MODEL.DiffusionDet.TRANSPORT names."""
    node = cfg.MODEL.DiffusionDet
    path = TRANSPORT_REGISTRY.get(node.TRANSPORT)
    options = {"shift": node.FLOW.SHIFT, "same_snr": node.FLOW.SAME_SNR} if node.TRANSPORT == "flow" else {}
    return path(node.TIMESTEPS, node.LEVEL_DENSITY, **options)


def build_prior(cfg: CfgNode) -> BoxPrior:
    """Gaussian prior of boxes that MODEL.DiffusionDet.PRIOR names."""
    node = cfg.MODEL.DiffusionDet
    if node.PRIOR == "normal":
        return NormalPrior(node.SNR_SCALE)
    if not len(node.PRIOR_MOMENTS):
        raise ConfigError(
            "MODEL.DiffusionDet.PRIOR_MOMENTS is empty, which d2road.config.setup_cfg replaces by the moments of the "
            "training boxes; without it set eight numbers, or take a config.yaml of a training"
        )
    return FittedPrior(tuple(node.PRIOR_MOMENTS[:4]), tuple(node.PRIOR_MOMENTS[4:]))


def build_sampling_options(cfg: CfgNode) -> SamplingOptions:
    """How boxes are denoised and selected in testing."""
    node = cfg.MODEL.DiffusionDet
    return SamplingOptions(
        sampler=node.SAMPLER,
        eta=node.ETA,
        steps=node.SAMPLE_STEP,
        num_proposals=node.NUM_PROPOSALS if node.TEST_NUM_PROPOSALS == -1 else node.TEST_NUM_PROPOSALS,
        renewal_thresh=node.RENEWAL_THRESH if node.BOX_RENEWAL else None,
        nms_thresh=node.NMS_THRESH if node.USE_NMS else None,
        ensemble=node.ENSEMBLE,
        seed=node.TEST_SEED,
    )


@register_sampling_choices("DiffusionDet")
def sampling_choices(cfg: CfgNode) -> SamplingChoices | None:
    """Solvers, the most steps, and what the config says; None for learned boxes, which are not denoised."""
    if not PROPOSALS_REGISTRY.get(cfg.MODEL.DiffusionDet.PROPOSALS).denoised:
        return None
    options = build_sampling_options(cfg)
    setting = SamplingSetting(options.sampler.lower(), options.steps, options.num_proposals, options.seed)
    straight = TRANSPORT_REGISTRY.get(cfg.MODEL.DiffusionDet.TRANSPORT).straight
    return SamplingChoices(sampler_names(straight), cfg.MODEL.DiffusionDet.TIMESTEPS, setting)


def build_pose(cfg: CfgNode, coarsest_stride: int) -> PoseEstimator:
    """Pose estimator that MODEL.DiffusionDet.POSE describes."""
    node = cfg.MODEL.DiffusionDet
    pose = node.POSE
    if not len(pose.DIMENSION_PRIORS):
        raise ConfigError(
            "MODEL.DiffusionDet.POSE.DIMENSION_PRIORS is empty, which d2road.config.setup_cfg replaces by the class "
            "means of the training data; without it set h, w, l in m of each class, or take a config.yaml of a training"
        )
    roll, pitch, height = pose.GROUND_STD
    return PoseEstimator(
        head=PoseHead(
            num_stages=node.NUM_HEADS,
            num_classes=node.NUM_CLASSES,
            dim=node.HIDDEN_DIM,
            num_pose=pose.NUM_POSE,
            pooled_size=node.HIDDEN_DIM * cfg.MODEL.ROI_BOX_HEAD.POOLER_RESOLUTION**2 if pose.POOLED else 0,
        ),
        ground_head=GroundHead(node.HIDDEN_DIM, coarsest_stride) if pose.GROUND_PREDICTION else None,
        criterion=PoseCriterion(dict(pose.WEIGHTS), torch.tensor(pose.DIMENSION_PRIORS), node.NUM_CLASSES),
        decoding=PoseDecoding(
            depth=pose.DEPTH,
            use_given_ground=pose.USE_GIVEN_GROUND,
            shared_ground_error=pose.SHARED_GROUND_ERROR,
            common_direct=pose.COMMON_DIRECT,
            ground_std=(math.radians(pitch), math.radians(roll), height),
            score_exponents=tuple(pose.SCORE_EXPONENTS),
        ),
        augmentation=GroundAugmentation(
            jitter_std=tuple(math.radians(level) for level in pose.GROUND_JITTER), dropout=pose.GROUND_DROPOUT
        ),
        gradient_to_2d=pose.GRADIENT_TO_2D,
        state_embedding=StateEmbedding(node.HIDDEN_DIM) if pose.IN_STATE else None,
        state_scale=pose.STATE_SCALE,
    )


@register_camera_need("DiffusionDet")
def needs_camera(cfg: CfgNode) -> bool:
    """Whether images need a camera: for poses."""
    return bool(cfg.MODEL.DiffusionDet.POSE.ENABLED)


def build_parts(cfg: CfgNode) -> dict[str, Any]:
    """Arguments of DiffusionDet from a config."""
    node = cfg.MODEL.DiffusionDet
    if not node.OFFICIAL_COMPAT:
        logger.info(
            "MODEL.DiffusionDet.OFFICIAL_COMPAT is off: class bias set by name, all steps used, renewal and noise "
            "by image. Set it to True for the numbers of the published code.",
            extra=LONG,
        )
    if node.NUM_CLASSES < 1:
        raise ConfigError(
            "MODEL.DiffusionDet.NUM_CLASSES is 0, which d2road.config.setup_cfg replaces by the number of classes "
            "of the training data; without it set the number, or take the config.yaml that a training wrote"
        )
    backbone = build_backbone(cfg)
    in_features = cfg.MODEL.ROI_HEADS.IN_FEATURES
    shapes = backbone.output_shape()
    absent = [name for name in in_features if name not in shapes]
    if absent:
        raise ConfigError(
            f"MODEL.ROI_HEADS.IN_FEATURES names {absent}, but {cfg.MODEL.BACKBONE.NAME} returns {sorted(shapes)}"
        )
    vocabulary = build_vocabulary(cfg)
    return {
        "backbone": backbone,
        "head": build_head(cfg, [shapes[name].stride for name in in_features], vocabulary),
        "vocabulary": vocabulary,
        "criterion": build_criterion(cfg),
        "in_features": in_features,
        "pixel_mean": cfg.MODEL.PIXEL_MEAN,
        "pixel_std": cfg.MODEL.PIXEL_STD,
        "schedule": build_transport(cfg),
        "coupling": node.COUPLING,
        "num_proposals": node.NUM_PROPOSALS,
        "prior": build_prior(cfg),
        "sampling": build_sampling_options(cfg),
        "proposals": PROPOSALS_REGISTRY.get(node.PROPOSALS)(node.NUM_PROPOSALS, node.HIDDEN_DIM),
        "compat": node.OFFICIAL_COMPAT,
        "pose": build_pose(cfg, shapes[in_features[-1]].stride) if node.POSE.ENABLED else None,
        "graphs": GraphReplay() if node.CUDA_GRAPH else None,
    }
