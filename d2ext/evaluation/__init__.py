"""Evaluators by the evaluator_type of a data set, and results as a file."""

from d2ext.evaluation.coco import BoxEvaluator, coco_dict
from d2ext.evaluation.registry import EVALUATOR_REGISTRY, build_evaluator
from d2ext.evaluation.results import write_results

__all__ = ["EVALUATOR_REGISTRY", "BoxEvaluator", "build_evaluator", "coco_dict", "write_results"]
