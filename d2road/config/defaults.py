"""Keys that every system of this collection understands, with the reason for each.

A key lives here when more than one system reads it. Adding is idempotent: a value that is already there is kept, so
several systems may extend the same config in any order.
"""

import logging
from typing import Any

import torch
from detectron2.config import CfgNode as CN

from d2road.utils.errors import ConfigError
from d2road.utils.lazy_package import register_components

logger = logging.getLogger(__name__)


def set_default(node: CN, key: str, value: Any) -> None:
    """Give ``node.key`` a value unless it has one."""
    if key not in node:
        node[key] = value


def add_common_config(cfg: CN) -> None:
    """Add the shared keys to a Detectron2 config, in place, and resolve ``MODEL.DEVICE``.

    Args:
        cfg: a config made by ``detectron2.config.get_cfg``; extended once, later calls change nothing.
    """
    for package in ("d2road.data", "d2road.evaluation"):
        register_components(package)
    # Which registered mapper turns a dataset dict into a model input. "" takes the meta-architecture's own
    # (its class attribute `default_mapper`), so that a plain Detectron2 YAML needs no new key.
    set_default(cfg.INPUT, "MAPPER", "")
    # What the class indices of the model mean: names in order. Filled from the weights, else from the training data,
    # if empty, and kept in checkpoints; data that counts its classes otherwise is matched by name.
    set_default(cfg.MODEL, "CLASS_NAMES", ())
    # --resume goes on with other training data than the run had, which it otherwise refuses.
    set_default(cfg.DATALOADER, "RESUME_ON_OTHER_DATA", False)
    # Batches for a model on CUDA come in memory that the device copies from while the host goes on.
    set_default(cfg.DATALOADER, "PIN_MEMORY", True)

    _add_solver(cfg)
    _add_inference(cfg)
    _add_ema(cfg)
    _add_test(cfg)
    _add_backbones(cfg)
    cfg.MODEL.DEVICE = resolve_device(cfg.MODEL.DEVICE)


def _add_solver(cfg: CN) -> None:
    if "OPTIMIZER" not in cfg.SOLVER:  # only the first time: later a 0 may be what the user wants
        # None follows WEIGHT_DECAY, as WEIGHT_DECAY_BIAS does and as published DiffusionDet trains; Detectron2's own
        # default is 0.
        cfg.SOLVER.WEIGHT_DECAY_NORM = None
    set_default(cfg.SOLVER, "OPTIMIZER", "ADAMW")  # ADAMW | SGD | ADAM
    # One kernel for all parameters and not one or more for each: "auto" where all of them are on CUDA | "on" | "off".
    set_default(cfg.SOLVER, "FUSED", "auto")
    # Learning rate of the backbone relative to BASE_LR.
    set_default(cfg.SOLVER, "BACKBONE_MULTIPLIER", 1.0)
    # IMS_PER_BATCH stays the number of images of one optimizer step; it is worked off in this many micro-batches.
    set_default(cfg.SOLVER, "GRAD_ACCUM_STEPS", 1)
    # Arithmetic of SOLVER.AMP: "auto" is fp16 on CUDA (with loss scaling) and bf16 on a CPU, on one that would have
    # to emulate it float32.
    set_default(cfg.SOLVER.AMP, "DTYPE", "auto")  # auto | fp16 | bf16
    # Old checkpoints are deleted; two at least stay, so that a broken newest one has a predecessor.
    set_default(cfg.SOLVER, "CHECKPOINTS_TO_KEEP", 3)


def _add_inference(cfg: CN) -> None:
    # Of predictions and of evaluations by themselves; trainings and their evaluations are as SOLVER.AMP says.
    set_default(cfg, "INFERENCE", CN())
    # fp32 | bf16 | int8 | auto: bf16 where the processor multiplies it itself, else fp32. An anomaly detector is
    # calibrated for one of the first three, by d2road export OUT.pth.
    set_default(cfg.INFERENCE, "PRECISION", "fp32")
    # torch | onnxruntime | openvino: the library that runs the model, on a CPU. auto: openvino for int8 where it is
    # installed and the processor multiplies bytes itself, torch for all else, which is what was measured to be faster.
    set_default(cfg.INFERENCE, "BACKEND", "torch")


def _add_ema(cfg: CN) -> None:
    set_default(cfg, "MODEL_EMA", CN())
    ema = cfg.MODEL_EMA
    set_default(ema, "ENABLED", False)
    set_default(ema, "DECAY", 0.999)
    set_default(ema, "DEVICE", "")  # "" keeps the averages on the model's device
    # Official key. True: averages are used to evaluate only and checkpoints hold both; False: same here, since a
    # checkpoint of this project always holds both. Kept so that published YAML files merge.
    set_default(ema, "USE_EMA_WEIGHTS_FOR_EVAL_ONLY", False)
    # Warm-up of the decay as in YOLOX: decay * (1 - exp(-updates / 2000)).
    set_default(ema, "YOLOX", False)


def _add_test(cfg: CN) -> None:
    # "task/metric" of the evaluation results, e.g. "bbox/AP"; its best checkpoint is kept as model_best.pth.
    set_default(cfg.TEST, "BEST_METRIC", "")
    set_default(cfg.TEST, "BEST_MODE", "max")  # max | min
    # Figures of the training and of each evaluation, see docs/reports.md; they cost seconds and fail nothing.
    set_default(cfg.TEST, "PLOTS", True)
    aug = cfg.TEST.AUG
    # Test-time augmentation of the published DiffusionDet: scales, and for each the object sizes it may report.
    set_default(aug, "CVPODS_TTA", True)
    set_default(aug, "SCALE_FILTER", True)
    set_default(
        aug,
        "SCALE_RANGES",
        (
            [96, 10000], [96, 10000], [64, 10000], [64, 10000], [64, 10000], [0, 10000], [0, 10000],
            [0, 256], [0, 256], [0, 192], [0, 192], [0, 96], [0, 10000],
        ),
    )  # fmt: skip


def _add_backbones(cfg: CN) -> None:
    # MODEL.BACKBONE.NAME: build_timm_backbone | build_timm_fpn_backbone
    set_default(cfg.MODEL, "TIMM", CN())
    timm = cfg.MODEL.TIMM
    # Any timm model that offers features_only. The packaged EfficientNet-Lite0 weights are TensorFlow's: "tf_".
    set_default(timm, "NAME", "tf_efficientnet_lite0")
    # "" random | "package" weights that come with an installed Python package (see d2road/modeling) |
    # "timm" download by timm | a path to a state dict.
    set_default(timm, "WEIGHTS", "")
    # Feature strides to return, as names s4, s8, ...; [] returns all that the model has from stride 4 on.
    set_default(timm, "OUT_FEATURES", ["s8", "s16", "s32"])
    # k: what comes up to and including the stage of stride 2 ** k does not train (as Detectron2's ResNets count:
    # 1 is the stem, 2 adds the stage of stride 4, ...).
    set_default(timm, "FREEZE_AT", 0)
    # Batch norm: "frozen" keeps running statistics and affine parameters fixed, "eval" keeps only the statistics
    # fixed, "train" updates both (needs large batches).
    set_default(timm, "NORM", "eval")
    # Pyramid level beyond the coarsest feature: "" none | "maxpool" subsamples it.
    set_default(timm, "TOP_BLOCK", "")

    # MODEL.BACKBONE.NAME: build_dla34_backbone | build_dla34_fpn_backbone | build_dla34_aggregation_backbone
    set_default(cfg.MODEL, "DLA", CN())
    dla = cfg.MODEL.DLA
    # "" random | "timm" download by timm | a path or address of a state dict, e.g. the authors'
    # http://dl.yf.io/dla/models/imagenet/dla34-ba72cf86.pth.
    set_default(dla, "WEIGHTS", "")
    set_default(dla, "OUT_FEATURES", ["s4", "s8", "s16", "s32"])  # of s2 ... s32
    set_default(dla, "FREEZE_AT", 0)  # as MODEL.TIMM.FREEZE_AT
    set_default(dla, "NORM", "eval")  # as MODEL.TIMM.NORM
    # Channels at strides 1 to 32. Narrower ones have no published weights.
    set_default(dla, "CHANNELS", [16, 32, 64, 128, 256, 512])
    # The aggregation neck: 3x3 convolutions "plain" | "deformable"; their norm as MODEL.FPN.NORM; channels of all
    # levels, 0 leaves each level those of its feature.
    set_default(dla, "NECK_CONV", "plain")
    set_default(dla, "NECK_NORM", "BN")
    set_default(dla, "NECK_CHANNELS", 0)

    # MODEL.BACKBONE.NAME: build_swintransformer_fpn_backbone (published DiffusionDet configs)
    set_default(cfg.MODEL, "SWIN", CN())
    set_default(cfg.MODEL.SWIN, "SIZE", "B")  # T | S | B | B-22k | L-22k
    set_default(cfg.MODEL.SWIN, "USE_CHECKPOINT", False)  # trade compute for memory in training
    set_default(cfg.MODEL.SWIN, "OUT_FEATURES", (0, 1, 2, 3))

    # MODEL.BACKBONE.NAME: build_vit_fpn_backbone (Detectron2's ViT with a simple feature pyramid)
    set_default(cfg.MODEL, "VIT", CN())
    set_default(cfg.MODEL.VIT, "SIZE", "B")  # B | L | H
    set_default(cfg.MODEL.VIT, "IMG_SIZE", 1024)
    set_default(cfg.MODEL.VIT, "DROP_PATH_RATE", 0.1)
    set_default(cfg.MODEL.VIT, "USE_CHECKPOINT", False)


def resolve_device(wanted: str) -> str:
    """The device to use: ``wanted`` where this machine has it, else the CPU with a word in the log.

    Raises:
        ConfigError: no such kind of device.
    """
    try:
        torch.device(wanted)
    except (RuntimeError, TypeError) as error:
        raise ConfigError(f"MODEL.DEVICE is {wanted!r}, expected cuda, cuda:1, mps or cpu") from error
    kind = wanted.split(":")[0]
    if kind == "cuda" and not torch.cuda.is_available():
        logger.info("MODEL.DEVICE: %s is not available here; using cpu", wanted)
        return "cpu"
    if kind == "mps" and not torch.backends.mps.is_available():
        logger.info("MODEL.DEVICE: %s is not available here; using cpu", wanted)
        return "cpu"
    return wanted
