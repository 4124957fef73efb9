"""Mono3DVG: 3D visual grounding of one, several or no objects from one image and a sentence."""

from mono3dvg.config import add_mono3dvg_config
from mono3dvg.data import grounding_datasets as _dataset  # noqa: F401  only registration
from mono3dvg.data import mapper as _mapper  # noqa: F401
from mono3dvg.evaluation import grounding_evaluator as _evaluator  # noqa: F401
from mono3dvg.grounder import Mono3DVG
from mono3dvg.grounding_annotator import GroundingAnnotator as _annotator  # noqa: F401

__all__ = ["Mono3DVG", "add_mono3dvg_config"]
