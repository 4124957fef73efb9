"""Configuration of 3D visual grounding."""

from detectron2.config import CfgNode as CN

from d2ext.config import add_common_config
from d2ext.config.defaults import set_default

META_ARCHITECTURE = "Mono3DVG"

# Pictures are flipped (INPUT.RANDOM_FLIP): "form" says the mirrored sentence by its logical form, and leaves pictures
# alone whose sentences have none; "off" flips none.
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
