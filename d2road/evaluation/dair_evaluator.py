"""DAIR-V2X-I's protocol as an evaluator of data sets, beside COCO's AP of boxes."""

from collections.abc import Mapping, Sequence
from typing import Any

from detectron2.config import CfgNode
from detectron2.evaluation import DatasetEvaluators

from d2road.evaluation.coco_evaluator import BoxEvaluator
from d2road.evaluation.evaluator_registry import EVALUATOR_REGISTRY
from d2road.evaluation.kitti_text_evaluator import KittiTextEvaluator, crowd_types
from d2road.evaluation.metrics.dair_protocol import evaluate_dair
from d2road.evaluation.metrics.kitti_objects import ObjectTable
from d2road.evaluation.metrics.kitti_protocol import DIFFICULTIES
from d2road.evaluation.metrics.rope_similarity import MODES
from d2road.evaluation.results import write_results
from d2road.structures import Camera


class DairEvaluator(KittiTextEvaluator):
    """AP within 102 m and 140 m of what was written to output_dir/kitti.

    Results are tasks "dair_compat" (camera-upright boxes, as published tables) and "dair_true" (on the ground), with
    metrics such as "car_3d_moderate_R40_0-102m", in percent; output_dir/dair_ap.json has what `evaluate_dair` gives for
    "compat" and "true".
    """

    def score(self, truth: ObjectTable, predictions: ObjectTable, cameras: Sequence[Camera]) -> dict:
        neighbors = crowd_types(self.class_names)
        results = {mode: evaluate_dair(truth, predictions, cameras, mode, neighbors=neighbors) for mode in MODES}
        write_results(self.output_dir / "dair_ap.json", results)
        return {f"dair_{mode}": flat_metrics(by_range) for mode, by_range in results.items()}


def flat_metrics(by_range: Mapping[str, Mapping[str, Any]]) -> dict[str, float]:
    """What `evaluate_dair` returns as `{"car_3d_moderate_R40_0-102m": ...}`."""
    return {
        f"{name}_{metric}_{difficulty.name}_{recall}_{limit}": value
        for limit, classes in by_range.items()
        for name, metrics in classes.items()
        for metric, curves in metrics.items()
        for recall, values in curves.items()
        for difficulty, value in zip(DIFFICULTIES, values)
    }


@EVALUATOR_REGISTRY.register(name="dair")
def build_dair_evaluator(cfg: CfgNode, dataset_name: str, output_dir: str) -> DatasetEvaluators:
    """COCO's AP of boxes, and DAIR-V2X-I's protocol where predictions have 3D boxes."""
    kinds = (BoxEvaluator, DairEvaluator)
    return DatasetEvaluators([kind(dataset_name, output_dir, plots=cfg.TEST.get("PLOTS", False)) for kind in kinds])
