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
CONFIG_KEYS: dict[str, str] = {}

# Config values: NEW full key -> {old value: new value}; a tuple or list is looked up as a whole (written as a tuple),
# else each of its elements.
CONFIG_VALUES: dict[str, dict[Any, Any]] = {
    "MODEL.DiffusionDet.SAMPLER": {"DPMSolverPP": "dpmsolver++"},
}

# Data set names by path: old prefix -> new prefix (before the first colon).
DATASET_PREFIXES: dict[str, str] = {}

# Texts inside checkpoints: old part -> new part, in order, see `d2road.utils.text_tensors`.
CHECKPOINT_TEXTS: list[tuple[str, str]] = []

# Names of weights: regular expression -> replacement, in order, applied to every name of a state dict.
STATE_DICT_NAMES: list[tuple[str, str]] = [
    (r"^pose\.head\.looks\.", "pose.head.pooled_proj."),  # DiffusionDet with poses
    (r"^pose\.state\.", "pose.state_embedding."),
]

# Files that were named by a path of the checkout: old path -> new address.
FILES: dict[str, str] = {
    "models/diffusion_det_toy.pth": "d2road://diffusion_det_toy.pth",
}

# Names in the records of benchmarks, which keep their contents: old run or key -> new, see `present_record_name`.
RECORD_NAMES: dict[str, str] = {
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
    if key in ("DATASETS.TRAIN", "DATASETS.TEST") or key.endswith((".CALIBRATION_DATA", ".VALIDATION_DATA")):
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
