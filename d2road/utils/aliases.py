"""The table of aliases: what earlier versions stored under other names, and the names of today.

A config key or value, the prefix of a data set, a text inside a checkpoint, the name of a weight or of a shipped file
that changed stands here with its new name, and nowhere else. What is stored keeps loading; a config that is written by
hand gets a warning that names the new key. Old names are read for one release; those inside checkpoints for good.
"""

import logging
import os
import re
from collections.abc import Mapping
from typing import Any, TypeVar

logger = logging.getLogger(__name__)
T = TypeVar("T")

# Config keys: old full key -> new full key. A whole node may be named, its keys go with it.
CONFIG_KEYS: dict[str, str] = {
    "MODEL.MONO3DVG.IGNORES": "MODEL.MONO3DVG.ABLATE_INPUT",
    "MODEL.MONO3DVG.DATA.LESSON": "MODEL.MONO3DVG.TRAINING_STAGE",
    "MODEL.MONO3DVG.DATA.FLIP": "INPUT.GROUNDING.FLIP",
    "MODEL.MONO3DVG.DATA.SENTENCES": "INPUT.GROUNDING.SENTENCES_PER_IMAGE",
    "MODEL.MONO3DVG.DATA.UNKNOWN_WORDS": "INPUT.GROUNDING.UNKNOWN_WORD_RATE",
    "MODEL.MONO3DVG.TEST.HEAT_EXPONENT": "TEST.GROUNDING.HEAT_EXPONENT",
    "MODEL.MONO3DVG.TEST.MIN_SCORE": "TEST.GROUNDING.MIN_SCORE",
    "MODEL.MONO3DVG.TEST.CHUNK": "TEST.GROUNDING.SENTENCES_PER_CHUNK",
    "MODEL.MONO3DVG.EVALUATION.SUBSETS": "TEST.GROUNDING.SUBSETS",
    "MODEL.MONO3DVG.EVALUATION.SCORE_THRESHOLD": "TEST.GROUNDING.SCORE_THRESHOLD",
    "MODEL.MONO3DVG.EVALUATION.VALIDATION": "TEST.GROUNDING.THRESHOLD_DATA",
    "MODEL.MONO3DVG.TEXT.HEADS": "MODEL.MONO3DVG.TEXT.ATTENTION_HEADS",
    "MODEL.MONO3DVG.DETECTION.LOOKS": "MODEL.MONO3DVG.DETECTION.ATTRIBUTES",
    "MODEL.MONO3DVG.RELATION.HEADS": "MODEL.MONO3DVG.RELATION.ATTENTION_HEADS",
    "MODEL.MONO3DVG.RELATION.LOOK_DIM": "MODEL.MONO3DVG.RELATION.IMAGE_DIM",
    "MODEL.MONO3DVG.LOSS.looks": "MODEL.MONO3DVG.LOSS.attributes",
    "MODEL.EFFICIENT_AD.INFERENCE.ARITHMETIC": "INFERENCE.PRECISION",
    "MODEL.EFFICIENT_AD.INFERENCE.PRECISION": "INFERENCE.PRECISION",
    "MODEL.EFFICIENT_AD.EVALUATION": "TEST.ANOMALY",
    "MODEL.EFFICIENT_AD.VALIDATION": "DATASETS.CALIBRATION",
    "MODEL.EFFICIENT_AD.PENALTY_IMAGES": "DATASETS.PENALTY_IMAGES",
    "MODEL.EFFICIENT_AD.JITTER": "INPUT.AUTOENCODER_JITTER",
    "MODEL.EFFICIENT_AD.JITTER_RANGE": "INPUT.AUTOENCODER_JITTER_RANGE",
}

# Config values: NEW full key -> {old value: new value}; a tuple or list is looked up as a whole (written as a tuple),
# else each of its elements.
CONFIG_VALUES: dict[str, dict[Any, Any]] = {
    "MODEL.DiffusionDet.SAMPLER": {"DPMSolverPP": "dpmsolver++"},
    "MODEL.MONO3DVG.FUSION.NAME": {
        "frozen": "unidirectional",
        "learned": "bidirectional",
        "joint": "text_conditioned",
    },
    "INFERENCE.PRECISION": {"float32": "fp32", "bfloat16": "bf16"},
}

# Data set names by path: old prefix -> new prefix (before the first colon).
DATASET_PREFIXES: dict[str, str] = {
    "pictures": "images",
}

# Texts inside checkpoints: old part -> new part, in order, see `d2road.utils.text_tensors`.
CHECKPOINT_TEXTS: list[tuple[str, str]] = [
    (", whole pictures", ", whole images"),  # what an EfficientAD is calibrated for
    (", bfloat16", ", bf16"),
]


def _children(parent: str, names: Mapping[str, str]) -> list[tuple[str, str]]:
    """Patterns for children of a module, whose full name the regular expression `parent` fits, by their new names."""
    return [(rf"^({parent})\.{old}(?=\.|$)", rf"\g<1>.{new}") for old, new in names.items()]


# Names of weights: regular expression -> replacement, in order, applied to every name of a state dict. All systems'
# names pass, so that a pattern says from the start which it means.
STATE_DICT_NAMES: list[tuple[str, str]] = [
    # DiffusionDet with poses
    (r"^pose\.head\.looks\.", "pose.head.pooled_proj."),
    (r"^pose\.state\.", "pose.state_embedding."),
    # Mono3DVG
    (r"^text_filter\.", "text_encoder.filter."),
    (r"^neck\.enter\.", "neck.lateral."),
    *_children(
        r"neck\.stages\.\d+",
        {
            "write": "x_proj", "place": "selection_proj", "read": "text_read_proj", "read_out": "text_out",
            "guide": "text_guide", "seen": "visual_guide", "write_guides": "guide_proj", "write_pixels": "pixel_proj",
        },
    ),
    (r"^dense_head\.looks\.", "dense_head.attributes."),
    *_children("query_head", {"start": "input_proj", "where": "pos_proj"}),
    *_children(
        r"query_head\.stages\.\d+", {"among": "self_attn", "read": "text_attn", "aim": "offset_head", "feed": "ffn"}
    ),
    *_children(
        "relation",
        {
            "words": "text_proj", "feature": "fused_proj", "look": "image_proj", "own": "unary_mlp",
            "pair": "pairwise_mlp", "enter": "input_norm", "reader": "attribute_modules", "said": "part_proj",
            "leave": "output_norm", "trust": "gate",
        },
    ),
    *_children(
        r"relation\.attribute_modules",
        {
            "mention": "mention_head", "own": "unary_head", "deep": "state_head", "pair": "pairwise_head",
            "between": "between_head", "choice": "selection",
        },
    ),
    *_children(r"relation\.attribute_modules\.selection", {"order": "order_head", "places": "rank_head"}),
    *_children(
        r"relation\.blocks\.\d+",
        {
            "read": "text_attn", "match": "text_match", "compare": "comparison", "before_words": "text_norm",
            "norm": "ffn_norm", "enter": "ffn_in", "leave": "ffn_out",
        },
    ),
    *_children(r"relation\.blocks\.\d+\.text_match", {"matter": "importance"}),
    *_children(r"relation\.blocks\.\d+\.comparison", {"fact_query": "pair_query"}),
    # EfficientAD with PUAD
    (r"^puad\.picture_stats$", "puad.image_stats"),
]  # fmt: skip

# Shipped files, by a path of the checkout or the address of version 0.1 -> new address.
FILES: dict[str, str] = {
    "models/diffusion_det_toy.pth": "zoo:diffusion_det_toy",
    "d2road://diffusion_det_toy.pth": "zoo:diffusion_det_toy",
    "d2road://efficientad_teacher_narrow_own.pth": "zoo:efficientad_teacher_narrow_own",
    "d2road://efficientad_teacher_narrow_photographs.pth": "zoo:efficientad_teacher_narrow_photographs",
}

# Names in the records of benchmarks, which keep their contents: old run or key -> new, see `present_record_name`.
RECORD_NAMES: dict[str, str] = {
    "neighbours": "memory_bank",
    "train_pictures": "train_images",
    "validation_pictures": "validation_images",
    "test_pictures": "test_images",
    "lessons": "stages",
    "blind": "image_only",
    "sightless": "text_only",
    "frozen": "unidirectional",
    "learned": "bidirectional",
    "joint": "text_conditioned",
    "joint_long": "text_conditioned_long",
    "plain": "ablation_base",
    "plain_boxes": "ablation_base_boxes",
    "plain_labels": "ablation_base_labels",
    "nofilter": "no_text_filter",
    "labels_nofilter": "labels_no_text_filter",
    "norelation": "no_relation",
    "stages1": "fusion_stages1",
    "stages2": "fusion_stages2",
}

# Config keys beside DATASETS that hold the name of a data set, by their ends.
DATA_KEYS = (".CALIBRATION_DATA", ".VALIDATION_DATA", ".THRESHOLD_DATA")

_warned: set[str] = set()


def present_key(key: str) -> str:
    """The name of today of a full config key: of the longest part that the table has; warns once for each entry."""
    parts = key.split(".")
    for end in range(len(parts), 0, -1):
        old = ".".join(parts[:end])
        if old in CONFIG_KEYS:
            _warn(f"config key {old} is now {CONFIG_KEYS[old]}; the old name is read for one more release")
            return ".".join([CONFIG_KEYS[old], *parts[end:]])
    return key


def present_value(key: str, value: T) -> T:
    """The value of today of a config key (its new name): as a whole where the table has it, else by element."""
    renamed = CONFIG_VALUES.get(key)
    if key in ("DATASETS.TRAIN", "DATASETS.TEST", "DATASETS.CALIBRATION") or key.endswith(DATA_KEYS):
        return _each(value, present_dataset)
    if key == "MODEL.WEIGHTS":
        return _each(value, present_file)
    if renamed is None:
        return value

    def translate(item: Any) -> Any:
        for old, new in renamed.items():
            if type(item) is type(old) and item == old:  # True is no 1
                _warn(f"{key} {old!r} is now {new!r}; the old value is read for one more release")
                return new
        return item

    given = tuple(value) if isinstance(value, list) else value
    whole = translate(given)
    return whole if whole is not given else _each(value, translate)


def present_dataset(name: T) -> T:
    """The name of today of a data set by path, such as images:FOLDER."""
    if isinstance(name, str):
        prefix, colon, rest = name.partition(":")
        if colon and prefix in DATASET_PREFIXES:
            new = DATASET_PREFIXES[prefix]
            _warn(f"data set names {prefix}:... are now {new}:...; the old prefix is read for one more release")
            return f"{new}:{rest}"  # type: ignore[return-value]  # T is str here
    return name


def present_file(path: T) -> T:
    """The address of today of a shipped file, unless a file lies at the old path."""
    if not isinstance(path, str) or path not in FILES or os.path.isfile(path):
        return path
    _warn(f"{path} is now {FILES[path]}; the old path is read for one more release")
    return FILES[path]  # type: ignore[return-value]  # T is str here


def present_text(text: str) -> str:
    """A text from a checkpoint in the words of today."""
    for old, new in CHECKPOINT_TEXTS:
        text = text.replace(old, new)
    return text


def present_state_dict(state: Mapping[str, T]) -> dict[str, T]:
    """A state dict under the names of today; its order is kept."""
    return {present_weight(name): value for name, value in state.items()}


def rename_stored_weights(_module: object, state_dict: dict[str, Any], prefix: str, *_: object) -> None:
    """Pre-hook of a model's `load_state_dict`: whoever loads a stored state dict, its names become those of today."""
    for name in [name for name in state_dict if name.startswith(prefix)]:
        state_dict[prefix + present_weight(name[len(prefix) :])] = state_dict.pop(name)


def present_record_name(name: str) -> str:
    """The name of today of a key in a record, or of a run: VARIANT or VARIANT_seedN."""
    variant, seed, number = name.partition("_seed")
    return RECORD_NAMES.get(variant, variant) + seed + number


def present_weight(name: str) -> str:
    """The name of today of a weight."""
    for pattern, replacement in STATE_DICT_NAMES:
        name = re.sub(pattern, replacement, name)
    return name


def _each(value: Any, function: Any) -> Any:
    return type(value)(function(item) for item in value) if isinstance(value, (tuple, list)) else function(value)


def _warn(message: str) -> None:
    if message not in _warned:
        _warned.add(message)
        logger.warning(message)
