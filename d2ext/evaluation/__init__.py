"""Evaluators by the evaluator_type of a data set, and results as a file."""

from d2ext.evaluation.coco import BoxEvaluator, coco_dict
from d2ext.evaluation.kitti import KittiEvaluator
from d2ext.evaluation.kitti_protocol import evaluate_kitti
from d2ext.evaluation.kitti_text import KittiTextEvaluator
from d2ext.evaluation.registry import EVALUATOR_REGISTRY, build_evaluator
from d2ext.evaluation.results import write_results

__all__ = [
    "EVALUATOR_REGISTRY",
    "BoxEvaluator",
    "KittiEvaluator",
    "KittiTextEvaluator",
    "build_evaluator",
    "coco_dict",
    "evaluate_kitti",
    "write_results",
]
