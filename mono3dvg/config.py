"""Configuration of 3D visual grounding."""

from pathlib import Path

from detectron2.config import CfgNode as CN

from d2ext.config import add_common_config, register_check
from d2ext.config.defaults import set_default

META_ARCHITECTURE = "Mono3DVG"

# Pictures are flipped (INPUT.RANDOM_FLIP): "form" says the mirrored sentence by its logical form, and leaves pictures
# alone whose sentences have none; "off" flips none.
FLIPS = ("form", "off")
DATA = {"FLIP": "form"}

EVALUATION = {
    "SUBSETS": "",  # Mono3DRefer's test_instanceID_split.json; "" divides by rule
    # Boxes from this score on are the answer, unless OUTPUT_DIR has a score_threshold.json: that is written when the
    # data set VALIDATION is evaluated (name it first in DATASETS.TEST), with the threshold of its best mean F1@0.25.
    "SCORE_THRESHOLD": 0.3,
    "VALIDATION": "",
}


def add_mono3dvg_config(cfg: CN) -> None:
    """Add the keys of 3D visual grounding and the common ones to a Detectron2 config, in place; idempotent."""
    add_common_config(cfg)
    set_default(cfg.MODEL, "MONO3DVG", CN())
    node = cfg.MODEL.MONO3DVG
    for name, keys in {"DATA": DATA, "EVALUATION": EVALUATION}.items():
        set_default(node, name, CN())
        for key, value in keys.items():
            set_default(node[name], key, value)


def check(cfg: CN) -> list[str]:
    """Contradictions in the keys of data and evaluation, each with its cure."""
    node, problems = cfg.MODEL.MONO3DVG, []
    if node.DATA.FLIP not in FLIPS:
        problems.append(f"MODEL.MONO3DVG.DATA.FLIP is {node.DATA.FLIP!r}: choose one of {', '.join(FLIPS)}")
    subsets, validation = node.EVALUATION.SUBSETS, node.EVALUATION.VALIDATION
    if subsets and not Path(subsets).expanduser().is_file():
        problems.append(f"MODEL.MONO3DVG.EVALUATION.SUBSETS is {subsets!r}, which is no file: '' divides by rule")
    if validation and validation not in cfg.DATASETS.TEST:
        problems.append(
            f"MODEL.MONO3DVG.EVALUATION.VALIDATION is {validation!r}, which DATASETS.TEST does not name: name it first "
            "there, so that its score threshold is chosen before the others are evaluated"
        )
    elif validation and cfg.DATASETS.TEST[0] != validation:
        problems.append(
            f"MODEL.MONO3DVG.EVALUATION.VALIDATION {validation!r} must be the first of DATASETS.TEST: the others take "
            "the score threshold that is chosen on it"
        )
    return problems


register_check(META_ARCHITECTURE, check)
