"""Every wrong or contradictory key of a config at once, each with its cure."""

import math
from collections.abc import Callable

from detectron2.config import CfgNode
from detectron2.data import MetadataCatalog
from detectron2.modeling import BACKBONE_REGISTRY, META_ARCH_REGISTRY

import d2road.modeling  # noqa: F401  registers the backbones
from d2road.config.merge import raise_problems
from d2road.data.dataset_formats import register_by_name
from d2road.data.mapper_registry import MAPPER_REGISTRY
from d2road.evaluation import EVALUATOR_REGISTRY
from d2road.export.precision import PRECISIONS
from d2road.utils.errors import D2RoadError
from d2road.utils.registry import Registry, unknown_name

Check = Callable[[CfgNode], list[str]]
_CHECKS: dict[str, Check] = {}

OPTIMIZERS = ("ADAMW", "SGD", "ADAM")
FUSED = ("auto", "on", "off")
CLIP_TYPES = ("full_model", "norm", "value")
AMP_TYPES = ("auto", "fp16", "bf16")
BACKENDS = ("torch", "onnxruntime", "openvino", "auto")


def register_check(meta_arch: str, check: Check) -> None:
    """Let `check(cfg)` report problems of configs of this META_ARCHITECTURE; the last one given counts."""
    _CHECKS[meta_arch] = check


def validate(cfg: CfgNode) -> None:
    """Check a complete config; changes nothing in it.

    Raises:
        ConfigError: a numbered list of all problems.
    """
    raise_problems(dataset_problems(cfg) + find_problems(cfg), "the config")


def dataset_problems(cfg: CfgNode) -> list[str]:
    """Data set names that do not exist; registers those that say where the data is."""
    problems = []
    for key in ("TRAIN", "TEST"):
        for name in cfg.DATASETS[key]:
            try:
                register_by_name(name)
            except (D2RoadError, FileNotFoundError) as error:
                problems.append(f"DATASETS.{key}: {error}")
    return problems


def find_problems(cfg: CfgNode) -> list[str]:
    """All problems apart from those with data set names."""
    problems = (
        _not_finite(cfg)
        + _names(cfg)
        + _evaluators(cfg)
        + _solver(cfg)
        + _ema_and_best(cfg)
        + _sizes(cfg)
        + _test_aug(cfg)
        + _inference(cfg)
    )
    check = _CHECKS.get(cfg.MODEL.META_ARCHITECTURE)
    return problems + (check(cfg) if check else [])


def _inference(cfg: CfgNode) -> list[str]:
    node, problems = cfg.INFERENCE, []
    for key, allowed in (("PRECISION", PRECISIONS), ("BACKEND", BACKENDS)):
        if node[key] not in allowed:
            problems.append(f"INFERENCE.{key} is {node[key]!r}: choose one of {', '.join(allowed)}")
    if node.BACKEND in BACKENDS[1:3] and cfg.MODEL.DEVICE != "cpu":
        problems.append(
            f"INFERENCE.BACKEND is {node.BACKEND}, which runs on the CPU, and MODEL.DEVICE is {cfg.MODEL.DEVICE}: set "
            "it to cpu, or BACKEND torch"
        )
    return problems


def _not_finite(cfg: CfgNode, prefix: str = "") -> list[str]:
    problems = []
    for key, value in cfg.items():
        if isinstance(value, CfgNode):
            problems += _not_finite(value, f"{prefix}{key}.")
            continue
        numbers = value if isinstance(value, (tuple, list)) else (value,)
        if any(isinstance(number, float) and not math.isfinite(number) for number in numbers):
            problems.append(f"{prefix}{key} is {value}, expected finite numbers")
    return problems


def _names(cfg: CfgNode) -> list[str]:
    problems = []
    for key, name, registry in (
        ("MODEL.META_ARCHITECTURE", cfg.MODEL.META_ARCHITECTURE, META_ARCH_REGISTRY),
        ("MODEL.BACKBONE.NAME", cfg.MODEL.BACKBONE.NAME, BACKBONE_REGISTRY),
        ("INPUT.MAPPER", cfg.INPUT.MAPPER or "DatasetMapper", MAPPER_REGISTRY),
    ):
        if name not in registry:
            problems.append(unknown_name(key, name, _names_of(registry)))
    return problems


def _names_of(registry: Registry) -> list[str]:
    return [name for name, _ in registry]


def _evaluators(cfg: CfgNode) -> list[str]:
    problems = []
    for name in cfg.DATASETS.TEST:
        kind = MetadataCatalog.get(name).get("evaluator_type")
        if kind is not None and kind not in EVALUATOR_REGISTRY:
            problems.append(f"DATASETS.TEST {name!r}: {unknown_name('evaluator', kind, EVALUATOR_REGISTRY.names())}")
    return problems


def _solver(cfg: CfgNode) -> list[str]:
    solver, problems = cfg.SOLVER, []
    for key, value, allowed in (
        ("OPTIMIZER", solver.OPTIMIZER.upper(), OPTIMIZERS),
        ("CLIP_GRADIENTS.CLIP_TYPE", solver.CLIP_GRADIENTS.CLIP_TYPE, CLIP_TYPES),
        ("AMP.DTYPE", solver.AMP.DTYPE, AMP_TYPES),
        ("FUSED", solver.FUSED, FUSED),
    ):
        if value not in allowed:
            problems.append(f"SOLVER.{key} is {value!r}; choose one of {', '.join(allowed)}")
    for key in ("IMS_PER_BATCH", "GRAD_ACCUM_STEPS", "MAX_ITER", "CHECKPOINT_PERIOD"):
        if solver[key] < 1:
            problems.append(f"SOLVER.{key} is {solver[key]}, must be at least 1")
    if solver.GRAD_ACCUM_STEPS >= 1 and solver.IMS_PER_BATCH % solver.GRAD_ACCUM_STEPS:
        problems.append(
            f"SOLVER.IMS_PER_BATCH {solver.IMS_PER_BATCH} is no multiple of SOLVER.GRAD_ACCUM_STEPS "
            f"{solver.GRAD_ACCUM_STEPS}: it is the number of images of one optimizer step, worked off in equal "
            "micro-batches"
        )
    for key in ("BASE_LR", "BACKBONE_MULTIPLIER", "WEIGHT_DECAY"):
        if not solver[key] >= 0:  # NaN too
            problems.append(f"SOLVER.{key} is {solver[key]}, must not be negative")
    if list(solver.STEPS) != sorted(solver.STEPS):
        problems.append(f"SOLVER.STEPS {tuple(solver.STEPS)} must rise")
    if solver.CHECKPOINTS_TO_KEEP < 2:
        problems.append(
            f"SOLVER.CHECKPOINTS_TO_KEEP is {solver.CHECKPOINTS_TO_KEEP}, must be at least 2: the one before the "
            "newest is the way back when the newest is broken"
        )
    return problems


def _ema_and_best(cfg: CfgNode) -> list[str]:
    problems = []
    if not 0 <= cfg.MODEL_EMA.DECAY < 1:
        problems.append(f"MODEL_EMA.DECAY is {cfg.MODEL_EMA.DECAY}; choose from 0 up to but not including 1")
    metric = cfg.TEST.BEST_METRIC
    if metric and (metric.count("/") < 1 or not all(metric.split("/"))):
        problems.append(f"TEST.BEST_METRIC is {metric!r}, expected task/metric such as bbox/AP, or ''")
    if cfg.TEST.BEST_MODE not in ("max", "min"):
        problems.append(f"TEST.BEST_MODE is {cfg.TEST.BEST_MODE!r}; choose max or min")
    return problems


def _sizes(cfg: CfgNode) -> list[str]:
    problems = []
    for key in ("MIN_SIZE_TRAIN", "MAX_SIZE_TRAIN", "MIN_SIZE_TEST", "MAX_SIZE_TEST"):
        value = cfg.INPUT[key]
        values = list(value) if isinstance(value, (tuple, list)) else [value]
        lowest = 0 if key == "MIN_SIZE_TEST" else 1  # Detectron2: MIN_SIZE_TEST 0 does not resize
        if not values or min(values) < lowest:
            problems.append(f"INPUT.{key} is {value}; sizes are pixels, at least {lowest}")
    if cfg.INPUT.MIN_SIZE_TRAIN_SAMPLING == "range" and len(cfg.INPUT.MIN_SIZE_TRAIN) != 2:
        problems.append("INPUT.MIN_SIZE_TRAIN needs two numbers for MIN_SIZE_TRAIN_SAMPLING 'range'")
    if len(cfg.MODEL.PIXEL_MEAN) != len(cfg.MODEL.PIXEL_STD):
        problems.append("MODEL.PIXEL_MEAN and MODEL.PIXEL_STD differ in length; both have one number per channel")
    if any(s <= 0 for s in cfg.MODEL.PIXEL_STD):
        problems.append(f"MODEL.PIXEL_STD is {cfg.MODEL.PIXEL_STD}; every number must be positive")
    if cfg.DATALOADER.NUM_WORKERS < 0:
        problems.append(f"DATALOADER.NUM_WORKERS is {cfg.DATALOADER.NUM_WORKERS}; 0 reads in the main process")
    return problems


def _test_aug(cfg: CfgNode) -> list[str]:
    aug = cfg.TEST.AUG
    if not aug.ENABLED:
        return []
    problems = []
    if not aug.MIN_SIZES or min(aug.MIN_SIZES) < 1:
        problems.append(f"TEST.AUG.MIN_SIZES is {tuple(aug.MIN_SIZES)}; name the short sides to test at, in pixels")
    if aug.CVPODS_TTA and aug.SCALE_FILTER and len(aug.MIN_SIZES) != len(aug.SCALE_RANGES):
        problems.append(
            f"TEST.AUG has {len(aug.MIN_SIZES)} MIN_SIZES and {len(aug.SCALE_RANGES)} SCALE_RANGES: with SCALE_FILTER "
            "each size needs its range; give as many, or set SCALE_FILTER False"
        )
    return problems
