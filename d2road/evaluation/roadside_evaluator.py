"""The evaluator of roadside data with a ground plane: placed on the ground, as published tables have it, and in 2D."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from detectron2.config import CfgNode
from detectron2.evaluation import DatasetEvaluators

from d2road.evaluation.coco_evaluator import BoxEvaluator
from d2road.evaluation.evaluator_registry import EVALUATOR_REGISTRY
from d2road.evaluation.kitti_text_evaluator import KittiTextEvaluator, crowd_types, type_names
from d2road.evaluation.metrics.ap_bootstrap import MatchTable
from d2road.evaluation.metrics.ground_frame import ground_rotations, to_ground_frame
from d2road.evaluation.metrics.kitti_objects import ObjectTable
from d2road.evaluation.metrics.kitti_protocol import DIFFICULTIES, evaluate_kitti
from d2road.evaluation.metrics.roadside_protocol import (
    RoadsideOverlaps,
    class_flags,
    evaluate_roadside,
    match_tables,
    matched_errors,
)
from d2road.evaluation.metrics.rope_score import evaluate_rope
from d2road.evaluation.results import write_results
from d2road.structures import Camera
from d2road.utils.output_files import atomic_write
from d2road.visualization.figure_data import Figure

MODERATE = next(i for i, d in enumerate(DIFFICULTIES) if d.name == "moderate")
COMPAT_OVERLAPS = (0.5, 0.7, 0.25)


class RoadsideEvaluator(KittiTextEvaluator):
    """Boxes on the ground (headline), the compat figures of published roadside tables, and Rope3D's scores.

    Tasks, AP in percent, R40:
        "ground": "car_3d@0.5", "car_bev@0.25", ..., of subsets "car_3d@0.5_10-30m", "car_3d@0.5_occluded_1", ...
        "ground_errors": "car_depth_median", "car_depth_median_10-30m", "car_edge_y2", ...
        "compat": "car_3d@0.5_moderate", ...: camera-upright boxes, KITTI's moderate difficulty
        "rope": "car_S" and "car_Rope@0.5", ...: similarities (fraction) and Rope score (percent), compat mode

    output_dir/roadside.json has all of it by class; output_dir/roadside_matches.npz has what a bootstrap over frames
    and plots of the errors need (`read_matches`).
    """

    def score(self, truth: ObjectTable, predictions: ObjectTable, cameras: Sequence[Camera]) -> dict:
        classes, neighbors = type_names(self.class_names), crowd_types(self.class_names)
        minimum, *others = COMPAT_OVERLAPS
        compat = evaluate_kitti(
            truth,
            predictions,
            classes,
            min_overlaps=dict.fromkeys(classes, minimum),
            extra_overlaps=dict.fromkeys(classes, others),
            neighbors=neighbors,
        )
        rope = evaluate_rope(truth, predictions, cameras, mode="compat", classes=classes, neighbors=neighbors)
        rotations = ground_rotations(cameras)
        truth, predictions = (to_ground_frame(objects, rotations) for objects in (truth, predictions))
        pairs = RoadsideOverlaps.of(truth, predictions)
        ground = evaluate_roadside(truth, predictions, classes, neighbors=neighbors, pairs=pairs)
        write_results(
            self.output_dir / "roadside.json",
            {name: {"ground": ground[name], "compat": compat[name], "rope": rope[name]} for name in classes},
        )
        tables = match_tables(truth, predictions, len(cameras), classes, neighbors=neighbors, pairs=pairs)
        errors = {
            n: matched_errors(truth, predictions, pairs.image, *class_flags(truth, predictions, n)) for n in classes
        }
        write_matches(self.output_dir / "roadside_matches.npz", tables, errors)
        return {**ground_tasks(ground), "compat": compat_task(compat), "rope": rope_task(rope)}

    def range_figures(
        self, truth: ObjectTable, predictions: ObjectTable, cameras: Sequence[Camera]
    ) -> dict[str, Figure]:
        """Errors over range of each class, in the frame of the ground."""
        rotations = ground_rotations(cameras)
        truth, predictions = (to_ground_frame(objects, rotations) for objects in (truth, predictions))
        return super().range_figures(truth, predictions, cameras)


def ground_tasks(results: Mapping[str, Mapping]) -> dict[str, dict[str, float]]:
    """What `evaluate_roadside` returns as tasks "ground" and "ground_errors"."""
    precision, errors = {}, {}
    for name, table in results.items():
        for metric, subsets in table.items():
            if metric == "errors":
                figures = {(key, s): value for s, row in subsets.items() for key, value in row.items()}
                errors.update({_key(name, key, s): value for (key, s), value in figures.items()})
            elif metric != "objects":
                precision.update({_key(name, metric, s): value for s, value in subsets.items()})
    return {"ground": precision, "ground_errors": errors}


def _key(name: str, metric: str, subset: str) -> str:
    return f"{name}_{metric}" + ("" if subset == "all" else f"_{subset}")


def compat_task(results: Mapping[str, Mapping]) -> dict[str, float]:
    """Moderate R40 of 3D boxes and footprints, the thresholds always in the name."""
    return {
        f"{name}_{metric if '@' in metric else f'{metric}@{COMPAT_OVERLAPS[0]:g}'}_moderate": curves["R40"][MODERATE]
        for name, metrics in results.items()
        for metric, curves in metrics.items()
        if metric.partition("@")[0] in ("3d", "bev")
    }


def rope_task(results: Mapping[str, Mapping]) -> dict[str, float]:
    """S and Rope scores; NaN where there are none."""
    task = {}
    for name, row in results.items():
        values = {f"{name}_S": row["S"], **{f"{name}_Rope@{k}": v for k, v in row["Rope"].items()}}
        task.update({key: float("nan") if value is None else value for key, value in values.items()})
    return task


def write_matches(path: Path, tables: Mapping[str, MatchTable], errors: Mapping[str, Mapping[str, np.ndarray]]) -> None:
    """Save match tables and matched errors as one .npz."""
    arrays = {f"tables/{key}/{column}": value for key, t in tables.items() for column, value in vars(t).items()}
    arrays.update({f"errors/{name}/{column}": v for name, columns in errors.items() for column, v in columns.items()})
    with atomic_write(path) as file:
        np.savez_compressed(file, **arrays)


def read_matches(path: Path) -> tuple[dict[str, MatchTable], dict[str, dict[str, np.ndarray]]]:
    """Tables by "car 3d@0.5" and columns of matched errors by class, as `write_matches` saved them."""
    parts: dict[str, dict[str, dict[str, np.ndarray]]] = {"tables": {}, "errors": {}}
    with np.load(path) as file:
        for key in file.files:
            kind, rest = key.split("/", 1)
            name, column = rest.rsplit("/", 1)
            parts[kind].setdefault(name, {})[column] = file[key]
    return {name: MatchTable(**columns) for name, columns in parts["tables"].items()}, parts["errors"]


@EVALUATOR_REGISTRY.register(name="rope3d")
def build_roadside_evaluator(cfg: CfgNode, dataset_name: str, output_dir: str) -> DatasetEvaluators:
    """COCO's AP of boxes, and the roadside evaluation where predictions have 3D boxes."""
    kinds = (RoadsideEvaluator, BoxEvaluator)
    return DatasetEvaluators([kind(dataset_name, output_dir, plots=cfg.TEST.get("PLOTS", False)) for kind in kinds])
