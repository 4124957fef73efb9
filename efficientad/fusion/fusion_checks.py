"""What is checked before anything is fused: keys, and the files of the parts."""

from pathlib import Path

from detectron2.config import CfgNode as CN

from d2road.config import register_check, register_finalizer
from d2road.engine.meta_arch import register_training_files
from d2road.utils.errors import ConfigError
from efficientad import config as efficient_ad_config
from efficientad.fusion.map_fusion import COMBINATIONS
from efficientad.modeling.feature_extractors import require_weights_of
from efficientad.patchcore import patchcore_config

META_ARCHITECTURE = "AnomalyFusion"


def check(cfg: CN) -> list[str]:
    """Contradictions in the keys of the fusion and of its parts, each with its cure."""
    node, parts, name = cfg.MODEL.ANOMALY_FUSION, cfg.MODEL.EFFICIENT_AD, "MODEL.ANOMALY_FUSION."
    problems = [*patchcore_config.check(cfg), *efficient_ad_config.check(cfg)]
    if node.COMBINE not in COMBINATIONS:
        problems.append(f"{name}COMBINE is {node.COMBINE!r}: choose one of {', '.join(COMBINATIONS)}")
    if len(node.WEIGHTS) != 3 or min(node.WEIGHTS) < 0 or sum(node.WEIGHTS) <= 0:
        problems.append(
            f"{name}WEIGHTS is {tuple(node.WEIGHTS)}: three numbers from 0 up, not all 0, for the maps of student, "
            "autoencoder and memory bank"
        )
    for key in ("TILING", "PUAD"):
        if parts[key].ENABLED:
            problems.append(f"MODEL.EFFICIENT_AD.{key}.ENABLED: maps are fused without it; set it to False")
    if cfg.INFERENCE.PRECISION == "int8":
        problems.append("INFERENCE.PRECISION is int8: maps are fused in fp32 or bf16; set it so")
    if not all(cfg.INPUT.IMAGE_SIZE) or any(side % 16 for side in cfg.INPUT.IMAGE_SIZE):
        problems.append(
            f"INPUT.IMAGE_SIZE is {tuple(cfg.INPUT.IMAGE_SIZE)}: multiples of 16, such as (512, 512), so that all maps "
            "lie on one grid"
        )
    return list(dict.fromkeys(problems))


def require_parts(cfg: CN) -> None:
    """Raise where the parts that are to be fused are missing; weights to start from bring their own.

    Raises:
        ConfigError, FileNotFoundError: no checkpoint of an EfficientAD, or no weights of the extractor of the bank.
    """
    node = cfg.MODEL.ANOMALY_FUSION
    if cfg.MODEL.WEIGHTS:
        return
    if not node.STUDENT_WEIGHTS:
        raise ConfigError(
            "MODEL.ANOMALY_FUSION.STUDENT_WEIGHTS is empty: train an EfficientAD with the same keys first, and name "
            "its model_final.pth"
        )
    for key in ("STUDENT_WEIGHTS", "BANK_WEIGHTS"):
        if node[key] and not Path(node[key]).is_file():
            raise FileNotFoundError(f"MODEL.ANOMALY_FUSION.{key}: there is no file {node[key]}")
    if not node.BANK_WEIGHTS:
        require_weights_of(cfg.MODEL.PATCHCORE.FEATURES, cfg.MODEL.PATCHCORE.FEATURE_WEIGHTS)


register_training_files(META_ARCHITECTURE)(require_parts)
register_check(META_ARCHITECTURE, check)
register_finalizer(META_ARCHITECTURE, patchcore_config.finalize)
