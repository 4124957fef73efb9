"""Teachers from files: nelson1425's and anomalib's published ones, those distilled here, and parts of whole models."""

import logging
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from d2road.checkpoint.fit import without_wrappers
from d2road.checkpoint.weights import WholeModelError, load_weights_file, weights_of
from d2road.model_zoo import require_shipped
from d2road.utils.addresses import is_address
from d2road.utils.errors import CheckpointError
from d2road.utils.text_tensors import decode
from efficientad.checkpoint.weight_names import pdn_forms, pdn_names, size_of, subset, without_prefix
from efficientad.modeling.pdn import PDN

logger = logging.getLogger(__name__)

RANDOM = "random"
# Where a teacher may be inside a larger model: ours, Lightning's of anomalib, anomalib's own, the distillation's.
PREFIXES = ("networks.teacher.", "model.teacher.", "teacher.")
CURE = (
    "take zoo:efficientad_teacher_narrow_own with MODEL.EFFICIENT_AD.SIZE narrow, teacher_small.pth or "
    "teacher_medium.pth of nelson1425/EfficientAD, pretrained_teacher_*.pth of anomalib, or distil one with "
    "`make teacher`"
)


def load_teacher(teacher: PDN, path: str) -> str:
    """Fill a teacher from a file, in place.

    Args:
        teacher: as the config describes it.
        path: of the file, or "random" to keep the initial weights.
    Returns:
        What to call it in results: its origin where the file says so, else the file's name, and a checksum.
    Raises:
        FileNotFoundError: no such file.
        ValueError: no path, not the weights of a PDN, another size or number of channels, or damaged.
    """
    check_teacher_path(path)
    if path == RANDOM:
        return RANDOM
    loaded = _read(path)
    state = without_prefix(weights_of(loaded, path))
    label = _label_inside(state)
    for prefix in PREFIXES:
        if any(name.startswith(prefix) for name in state):
            state = subset(state, prefix)
            break
    try:
        state, _ = without_wrappers(state, [*(forms := pdn_forms(teacher.size)), *forms.values()])
        state = pdn_names({name: torch.as_tensor(value) for name, value in state.items()}, path)
    except (TypeError, ValueError, RuntimeError) as error:
        raise CheckpointError(f"{error}. {CURE[0].upper()}{CURE[1:]}") from error
    check_fit(teacher, state, path)
    teacher.load_state_dict({name: value.float() for name, value in state.items()})
    label = f"{label or Path(path).name} ({checksum(state)})"
    logger.info("Teacher: %s", label)
    return label


def check_teacher_path(path: str) -> None:
    """Raise CheckpointError where no teacher is named, and FileNotFoundError where it is not there."""
    if not path:
        raise CheckpointError(
            f"MODEL.EFFICIENT_AD.TEACHER is empty, and training needs a teacher: {CURE}; 'random' trains against "
            "random features (for comparison)"
        )
    require_shipped(path)
    if path != RANDOM and not is_address(path) and not Path(path).is_file():
        raise FileNotFoundError(f"MODEL.EFFICIENT_AD.TEACHER: there is no file {path}; {CURE}")


def check_fit(teacher: PDN, state: Mapping[str, Tensor], path: str) -> None:
    """Refuse weights of another network.

    Args:
        state: under our names.
    Raises:
        ValueError: another size, other channels, other shapes, or values that are not finite.
    """
    size, channels = size_of(state)
    if size != teacher.size:
        raise CheckpointError(
            f"{path}: this is a {size} teacher, the config says {teacher.size}: set MODEL.EFFICIENT_AD.SIZE {size}, or "
            f"take the file of the {teacher.size} one"
        )
    if channels != teacher.out_channels:
        raise CheckpointError(
            f"{path}: this teacher has {channels} channels, the config says {teacher.out_channels}: set "
            f"MODEL.EFFICIENT_AD.OUT_CHANNELS {channels}"
        )
    for name, own in teacher.state_dict().items():
        if state[name].shape != own.shape:
            raise CheckpointError(f"{path}: {name} is {tuple(state[name].shape)}, expected {tuple(own.shape)}; {CURE}")
        if not torch.isfinite(state[name]).all():
            raise CheckpointError(f"{path}: {name} has values that are NaN or infinite: the file is damaged; {CURE}")


def checksum(state: Mapping[str, Tensor]) -> str:
    """Eight hexadecimal digits that tell weights apart; equal weights under other names have the same ones."""
    digest = sha256()
    for name in sorted(state):
        digest.update(state[name].detach().cpu().float().contiguous().numpy().tobytes())
    return digest.hexdigest()[:8]


def _read(path: str) -> dict[str, Any]:
    try:
        return load_weights_file(path)
    except FileNotFoundError as error:
        raise FileNotFoundError(f"MODEL.EFFICIENT_AD.TEACHER: there is no file {path}; {CURE}") from error
    except ValueError as error:
        hint = ""
        if isinstance(error, WholeModelError):
            hint = (
                ". If it is a *_final.pth of nelson1425's training, a whole pickled model, import it with "
                "d2road convert --source nelson1425"
            )
        raise CheckpointError(f"MODEL.EFFICIENT_AD.TEACHER: {error}{hint}") from error


def _label_inside(state: Mapping[str, Any]) -> str:
    record = state.get("teacher_label")
    return decode(record) if isinstance(record, Tensor) else ""
