"""Class names in checkpoints: what the class indices of stored weights mean, as a plain list of texts.

Weights of other programs and of earlier versions have none; of shipped weights the model zoo knows them.
"""

import logging
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from detectron2.utils.file_io import PathManager

from d2road.model_zoo import shipped_class_names
from d2road.utils.errors import CheckpointError

logger = logging.getLogger(__name__)

ENTRY = "class_names"


def class_names_of(loaded: Mapping[str, Any], path: str | Path = "") -> list[str]:
    """The class names that the content of a weights file, or its address, tells; [] where neither does."""
    names = loaded.get(ENTRY)
    if isinstance(names, (list, tuple)) and names and all(isinstance(name, str) for name in names):
        return list(names)
    return list(shipped_class_names(str(path)))


def stored_class_names(path: str | Path) -> list[str]:
    """The class names of a weights file, without reading its tensors.

    [] where it tells none, and for files that cannot be read: what is wrong with those is said when they are loaded.
    """
    name = str(path).partition("?")[0]
    if shipped_class_names(name) or not name.endswith((".pth", ".pt", ".ckpt")):
        return list(shipped_class_names(name))
    try:
        local = PathManager.get_local_path(name)
        if not Path(local).is_file():  # nothing, or a pipe, which would be waited for
            return []
        with zipfile.ZipFile(local) as archive:
            if any(Path(entry).name == "constants.pkl" for entry in archive.namelist()):  # TorchScript: a program
                return []
        loaded = torch.load(local, map_location="cpu", mmap=True, weights_only=True)
    except Exception:  # the reader of weights has the words for each kind of file
        return []
    return class_names_of(loaded) if isinstance(loaded, dict) else []


def check_class_names(path: str, stored: Sequence[str], own: Sequence[str], strict: bool) -> None:
    """Compare the class names of weights with those of the model that loads them; unknown ones fit any.

    Args:
        strict: the weights are used as they are, to predict or to continue a training; otherwise a training starts
            from them, and may have other classes.
    Raises:
        CheckpointError: `strict`, and they differ.
    """
    if not stored or not own or list(stored) == list(own):
        return
    differ = f"{path} was trained on the classes [{', '.join(stored)}], MODEL.CLASS_NAMES are [{', '.join(own)}]"
    if strict:
        raise CheckpointError(
            f"{differ}, in this order. Set MODEL.CLASS_NAMES to the first list or to '()', or take the config.yaml of "
            "its training: data that counts the classes otherwise is matched by name"
        )
    logger.warning("%s: where counts are equal its class scores start as those of other classes", differ)
