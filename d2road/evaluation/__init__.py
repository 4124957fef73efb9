"""Evaluators by the evaluator_type of a data set, and results as a file.

Protocols, metrics and readers of files below this package are arrays alone: they import neither torch nor Detectron2.
"""

from typing import TYPE_CHECKING

from d2road.utils.lazy_package import lazy_package

if TYPE_CHECKING:
    from d2road.evaluation.coco_evaluator import BoxEvaluator, coco_dict
    from d2road.evaluation.dair_evaluator import DairEvaluator
    from d2road.evaluation.evaluator_registry import EVALUATOR_REGISTRY, build_evaluator
    from d2road.evaluation.kitti_evaluator import KittiEvaluator
    from d2road.evaluation.kitti_text_evaluator import KittiTextEvaluator
    from d2road.evaluation.metrics.dair_protocol import evaluate_dair
    from d2road.evaluation.metrics.kitti_protocol import evaluate_kitti
    from d2road.evaluation.metrics.omni3d_protocol import evaluate_omni3d
    from d2road.evaluation.metrics.roadside_protocol import evaluate_roadside
    from d2road.evaluation.metrics.rope_score import evaluate_rope
    from d2road.evaluation.omni3d_evaluator import Omni3DEvaluator
    from d2road.evaluation.results import write_results
    from d2road.evaluation.roadside_evaluator import RoadsideEvaluator

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

_EVALUATORS = {
    "BoxEvaluator": "coco_evaluator",
    "DairEvaluator": "dair_evaluator",
    "KittiEvaluator": "kitti_evaluator",
    "KittiTextEvaluator": "kitti_text_evaluator",
    "Omni3DEvaluator": "omni3d_evaluator",
    "RoadsideEvaluator": "roadside_evaluator",
}
_FUNCTIONS = {
    "EVALUATOR_REGISTRY": "evaluator_registry",
    "build_evaluator": "evaluator_registry",
    "coco_dict": "coco_evaluator",
    "evaluate_dair": "metrics.dair_protocol",
    "evaluate_kitti": "metrics.kitti_protocol",
    "evaluate_omni3d": "metrics.omni3d_protocol",
    "evaluate_roadside": "metrics.roadside_protocol",
    "evaluate_rope": "metrics.rope_score",
    "write_results": "results",
}
__getattr__ = lazy_package(__name__, {**_EVALUATORS, **_FUNCTIONS}, components=(*_EVALUATORS.values(), "ovd_evaluator"))
