"""EfficientAD: anomaly detection by a student and an autoencoder that fail to follow a teacher.

Batzner et al., EfficientAD: Accurate Visual Anomaly Detection at Millisecond-Level Latencies, WACV 2024.
"""

import importlib
from typing import Any

# What registers itself: data sets, evaluator, mapper, meta-architectures, checks.
_REGISTERING = ("dataset", "evaluator", "mapper", "config", "detector", "distill")
_HOMES = {"EfficientAD": "detector", "TeacherDistillation": "distill", "add_efficientad_config": "config"}

__all__ = ["EfficientAD", "TeacherDistillation", "add_efficientad_config"]


def __getattr__(name: str) -> Any:
    """The system, on first use, and with it all that registers itself.

    Not on import: readers and pictures of trajectories, and the processes that they work in, need no torch, which would
    cost each of them several hundred MB.
    """
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    modules = {module: importlib.import_module(f".{module}", __name__) for module in _REGISTERING}
    return getattr(modules[_HOMES[name]], name)
