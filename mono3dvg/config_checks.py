"""Checks of the config of 3D visual grounding: contradictions in the keys, each with its cure."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from detectron2.config import CfgNode as CN
from detectron2.data import MetadataCatalog

# Images are flipped (INPUT.RANDOM_FLIP): "form" realizes the mirrored sentence from its logical form, and leaves images
# alone whose sentences have none; "off" flips none.
FLIPS = ("form", "off")
HEADS = ("dense", "query")
# Ablations: what is withheld from the model. "sentence": every sentence reads the same (image only). "image": every
# image is grey (text only).
ABLATIONS = ("", "sentence", "image")


def check(cfg: CN) -> list[str]:
    """Contradictions in the keys, each with its cure."""
    return [*model_problems(cfg), *data_problems(cfg), *evaluation_problems(cfg)]


class Problems(list[str]):
    """What is wrong with the keys of a config."""

    def __init__(self, cfg: CN):
        super().__init__()
        self.cfg = cfg

    def value(self, key: str) -> Any:
        """The value of a full key."""
        node = self.cfg
        for part in key.split("."):
            node = node[part]
        return node

    def add(self, key: str, cure: str) -> None:
        """Tell the value of a full key, and what to do about it."""
        self.append(f"{key} is {self.value(key)!r}: {cure}")

    def require(self, key: str, fits: Callable[[Any], bool], cure: str) -> None:
        """Add the key unless its value fits."""
        if not fits(self.value(key)):
            self.add(key, cure)


def model_problems(cfg: CN) -> list[str]:
    """What is wrong with the keys of the network."""
    from d2road.layers.map_scan import DIRECTIONS
    from mono3dvg.fusion.fusion_registry import FUSION_REGISTRY
    from mono3dvg.training_stages import JOINT, TRAINING_STAGES

    node, root, problems = cfg.MODEL.MONO3DVG, "MODEL.MONO3DVG.", Problems(cfg)
    stages = ("", *(name for name in TRAINING_STAGES.names() if name != JOINT))
    choices: dict[str, Sequence[str]] = {
        "HEAD": HEADS, "ABLATE_INPUT": ABLATIONS, "FUSION.NAME": FUSION_REGISTRY.names(), "TRAINING_STAGE": stages,
    }  # fmt: skip
    for key, allowed in choices.items():
        if problems.value(root + key) not in allowed:
            problems.add(root + key, f"choose one of {', '.join(map(repr, allowed))}")
    for key in ("TEXT.MAX_TOKENS", "TEXT.VOCAB_SIZE", "DETECTION.TOP_K", "RELATION.LAYERS"):
        problems.require(root + key, lambda v: v >= 1, "must be at least 1")
    maps = len(node.IN_FEATURES)
    problems.require(root + "FUSION.STAGES", lambda v: 0 <= v <= maps, f"choose 0 to {maps}, the number of IN_FEATURES")
    problems.require(
        root + "FUSION.DIRECTIONS", lambda v: v in DIRECTIONS, f"choose one of {', '.join(map(str, DIRECTIONS))}"
    )
    for key in ("RELATION.MATCH_IOU", "DETECTION.MIN_HEAT"):
        problems.require(root + key, lambda v: 0 <= v <= 1, "choose a number from 0 to 1")
    for group, width in (("TEXT", node.TEXT.WIDTH), ("RELATION", node.RELATION.DIM)):
        heads = node[group].ATTENTION_HEADS
        if heads < 1 or width % heads:
            problems.add(f"{root}{group}.ATTENTION_HEADS", f"must divide the width {width}")
    if node.HEAD == "query" and not node.RELATION.ENABLED:
        problems.add(root + "HEAD", "the query head has no referral map; set RELATION.ENABLED True")
    if node.RELATION.PRESENCE and (node.HEAD != "dense" or not node.RELATION.ENABLED):
        problems.add(
            root + "RELATION.PRESENCE", "the relation layer says it: set HEAD 'dense' and RELATION.ENABLED True"
        )
    if node.TRAINING_STAGE and (node.HEAD != "dense" or node.ABLATE_INPUT):
        problems.add(
            root + "TRAINING_STAGE",
            "pretraining is for HEAD 'dense' and ABLATE_INPUT ''; what it leaves can be loaded into others",
        )
    if node.TRAINING_STAGE in ("labels", "text_labels") and not node.RELATION.ENABLED:
        problems.add(root + "TRAINING_STAGE", "this stage learns by the relation layer: set RELATION.ENABLED True")
    if any(weight < 0 for weight in node.LOSS.values()):
        problems.append(f"MODEL.MONO3DVG.LOSS is {dict(node.LOSS)}: weights must not be negative")
    priors = node.DIMENSION_PRIORS
    if len(priors) and (len(priors) != len(node.CLASSES) or any(len(p) != 3 or min(p) <= 0 for p in priors)):
        problems.add(
            root + "DIMENSION_PRIORS",
            f"{len(node.CLASSES)} triples of h, w, l in m, or () for those of the training data",
        )
    return problems


def data_problems(cfg: CN) -> list[str]:
    """What is wrong with data and augmentation."""
    from detectron2.data import DatasetCatalog

    node, problems = cfg.MODEL.MONO3DVG, Problems(cfg)
    problems.require("INPUT.GROUNDING.FLIP", lambda v: v in FLIPS, f"choose one of {', '.join(FLIPS)}")
    problems.require("INPUT.GROUNDING.SENTENCES_PER_IMAGE", lambda v: v >= 0, "choose a number, or 0 for all")
    problems.require("INPUT.GROUNDING.UNKNOWN_WORD_RATE", lambda v: 0 <= v < 1, "choose a share from 0 to below 1")
    problems.require("INPUT.GROUNDING.VARIED_WORDING_RATE", lambda v: 0 <= v <= 1, "choose a share from 0 to 1")
    if cfg.INPUT.GROUNDING.VARIED_WORDING_RATE > 0 and not cfg.INPUT.GROUNDING.GENERATE_SENTENCES:
        problems.append(
            "INPUT.GROUNDING.VARIED_WORDING_RATE is above 0, but only new sentences are worded anew: set "
            "INPUT.GROUNDING.GENERATE_SENTENCES True"
        )
    if cfg.INPUT.RANDOM_FLIP == "vertical":
        problems.append("INPUT.RANDOM_FLIP is 'vertical', which 3D boxes do not survive: choose horizontal or none")
    if cfg.INPUT.CROP.ENABLED:
        problems.append(
            "INPUT.CROP.ENABLED is True, but a sentence is about the whole image (left, the only one): set it False"
        )
    for name in (*cfg.DATASETS.TRAIN, *cfg.DATASETS.TEST):
        metadata = MetadataCatalog.get(name) if name in DatasetCatalog else None
        frame = metadata.get("ry_frame") if metadata else None
        if frame and node.RY_FRAME and frame != node.RY_FRAME:
            problems.append(
                f"data set '{name}' has headings about the {frame}'s axis, MODEL.MONO3DVG.RY_FRAME is "
                f"{node.RY_FRAME!r}: train and test on data of one convention"
            )
    return problems


def evaluation_problems(cfg: CN) -> list[str]:
    """What is wrong with the keys of inference and evaluation."""
    problems, root = Problems(cfg), "TEST.GROUNDING."
    problems.require(root + "SENTENCES_PER_CHUNK", lambda v: v >= 1, "must be at least 1")
    problems.require(root + "HEAT_EXPONENT", lambda v: 0 <= v <= 1, "choose a number from 0 to 1")
    problems.require(root + "THRESHOLD_T_ACC", lambda v: 0 <= v <= 100, "choose percents, or 0 for the best mean F1")
    subsets, name = cfg.TEST.GROUNDING.SUBSETS, cfg.TEST.GROUNDING.THRESHOLD_DATA
    if cfg.TEST.GROUNDING.THRESHOLD_T_ACC and not name:
        problems.append(
            f"TEST.GROUNDING.THRESHOLD_T_ACC is {cfg.TEST.GROUNDING.THRESHOLD_T_ACC:g} without THRESHOLD_DATA: name "
            "the data set on which the threshold is to be chosen, first of DATASETS.TEST"
        )
    if subsets and not Path(subsets).expanduser().is_file():
        problems.append(f"TEST.GROUNDING.SUBSETS is {subsets!r}, which is no file: '' divides by rule")
    if name and name not in cfg.DATASETS.TEST:
        problems.append(
            f"TEST.GROUNDING.THRESHOLD_DATA is {name!r}, which DATASETS.TEST does not name: name it first there, so "
            "that its score threshold is chosen before the others are evaluated"
        )
    elif name and cfg.DATASETS.TEST[0] != name:
        problems.append(
            f"TEST.GROUNDING.THRESHOLD_DATA {name!r} must be the first of DATASETS.TEST: the others take the score "
            "threshold that is chosen on it"
        )
    return problems
