"""What the results of a prediction depend on, flat and as JSON holds it: resuming compares it."""

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from detectron2.config import CfgNode

import d2road
from d2road.checkpoint.weights import RANDOM, local_path
from d2road.data.input_cameras import CameraFiles
from d2road.engine.resume_check import flat_config

# They change nothing that is found, or are compared by content.
APART = (
    "MODEL.WEIGHTS",
    "MODEL.DEVICE",
    "OUTPUT_DIR",
    "VERSION",
    "VIS_PERIOD",
    "DATALOADER",
    "SOLVER",
    "DATASETS.TRAIN",
)


def identity_of(
    cfg: CfgNode,
    confidence: float | None,
    cameras: CameraFiles,
    sentences: Sequence[str],
    classes: Sequence[str] = (),
) -> dict[str, Any]:
    """The version, weights by their content, and settings of a prediction.

    Raises:
        FileNotFoundError, CheckpointError: the weights are not there.
    """
    settings = flat_config(cfg.dump())
    kept = {key: value for key, value in settings.items() if not key.startswith(APART)}
    weights = cfg.MODEL.WEIGHTS
    return {
        "version": d2road.__version__,
        "weights (SHA-256)": weights if weights in ("", RANDOM) else file_sha256(local_path(weights)),
        "--confidence": confidence,
        "--calib": _content(cameras.calib),
        "--denorm": _content(cameras.denorm),
        "sentences": list(sentences),
        **({"--classes": list(classes)} if classes else {}),
        **kept,
    }


def file_sha256(path: str | os.PathLike) -> str:
    """SHA-256 of a file's content."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def _content(path: str) -> str:
    """A calibration: a file by its content, a folder by its name."""
    return file_sha256(path) if path and Path(path).is_file() else path
