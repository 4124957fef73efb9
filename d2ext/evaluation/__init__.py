"""Evaluators by the evaluator_type of a data set, and results as a file."""

from d2ext.evaluation.coco import BoxEvaluator, coco_dict
from d2ext.evaluation.dair import DairEvaluator
from d2ext.evaluation.dair_protocol import evaluate_dair
from d2ext.evaluation.kitti import KittiEvaluator
from d2ext.evaluation.kitti_protocol import evaluate_kitti
from d2ext.evaluation.kitti_text import KittiTextEvaluator
from d2ext.evaluation.omni3d import Omni3DEvaluator, evaluate_omni3d
from d2ext.evaluation.registry import EVALUATOR_REGISTRY, build_evaluator
from d2ext.evaluation.results import write_results
from d2ext.evaluation.roadside import evaluate_roadside
from d2ext.evaluation.roadside_evaluator import RoadsideEvaluator
from d2ext.evaluation.rope_score import evaluate_rope

__all__ = [
    "EVALUATOR_REGISTRY",
    "BoxEvaluator",
    "DairEvaluator",
    "KittiEvaluator",
    "KittiTextEvaluator",
    "Omni3DEvaluator",
    "RoadsideEvaluator",
    "build_evaluator",
    "coco_dict",
    "evaluate_dair",
    "evaluate_kitti",
    "evaluate_omni3d",
    "evaluate_roadside",
    "evaluate_rope",
    "write_results",
]
