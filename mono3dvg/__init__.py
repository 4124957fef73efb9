"""Mono3DVG: 3D visual grounding of one, several or no objects from one image and a sentence."""

from typing import TYPE_CHECKING

from d2road.utils.lazy_package import lazy_package

if TYPE_CHECKING:
    from mono3dvg.config import add_mono3dvg_config
    from mono3dvg.grounder import Mono3DVG

__all__ = ["Mono3DVG", "add_mono3dvg_config"]

_COMPONENTS = (
    "data.grounding_datasets",
    "data.mapper",
    "evaluation.grounding_evaluator",
    "grounder",
    "grounding_annotator",
)
__getattr__ = lazy_package(__name__, {"Mono3DVG": "grounder", "add_mono3dvg_config": "config"}, _COMPONENTS)
