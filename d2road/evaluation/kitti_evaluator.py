"""KITTI's protocol as an evaluator of data sets, beside COCO's AP of boxes."""

from collections.abc import Mapping, Sequence
from typing import Any

from detectron2.config import CfgNode
from detectron2.evaluation import DatasetEvaluators

from d2road.evaluation.coco_evaluator import BoxEvaluator
from d2road.evaluation.evaluator_registry import EVALUATOR_REGISTRY
from d2road.evaluation.kitti_text_evaluator import KittiTextEvaluator, crowd_types, type_names
from d2road.evaluation.metrics.kitti_objects import ObjectTable
from d2road.evaluation.metrics.kitti_protocol import DIFFICULTIES, METRICS, evaluate_kitti
from d2road.evaluation.results import write_results
from d2road.structures import Camera

# Reported beside the protocol's own thresholds (car 0.7, others 0.5).
EXTRA_OVERLAPS = {"car": (0.5,), "pedestrian": (0.25,), "cyclist": (0.25,), "big_vehicle": (0.7,)}


class KittiEvaluator(KittiTextEvaluator):
    """KITTI's AP of what was written to output_dir/kitti.

    Results are tasks "kitti_3d", "kitti_bev", "kitti_bbox", "kitti_aos" with metrics such as "car_3d_moderate_R40" and
    "car_3d@0.5_easy_R11", in percent; output_dir/kitti_ap.json has them in the form of d2road eval-kitti.
    """

    def score(self, truth: ObjectTable, predictions: ObjectTable, cameras: Sequence[Camera]) -> dict:
        classes = type_names(self.class_names)
        neighbors = crowd_types(self.class_names)
        results = evaluate_kitti(truth, predictions, classes, extra_overlaps=EXTRA_OVERLAPS, neighbors=neighbors)
        write_results(self.output_dir / "kitti_ap.json", results)
        return as_tasks(results)


def as_tasks(results: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, float]]:
    """What `evaluate_kitti` returns as `{"kitti_3d": {"car_3d_moderate_R40": ...}}`."""
    tasks: dict[str, dict[str, float]] = {f"kitti_{metric}": {} for metric in reversed(METRICS)}
    for name, metrics in results.items():
        for metric, curves in metrics.items():
            task = tasks[f"kitti_{metric.partition('@')[0]}"]
            for recall, values in curves.items():
                for difficulty, value in zip(DIFFICULTIES, values):
                    task[f"{name}_{metric}_{difficulty.name}_{recall}"] = value
    return tasks


@EVALUATOR_REGISTRY.register(name="kitti")
def build_kitti_evaluator(cfg: CfgNode, dataset_name: str, output_dir: str) -> DatasetEvaluators:
    """COCO's AP of boxes, and KITTI's protocol where predictions have 3D boxes."""
    kinds = (KittiEvaluator, BoxEvaluator)
    return DatasetEvaluators([kind(dataset_name, output_dir, plots=cfg.TEST.get("PLOTS", False)) for kind in kinds])
