"""Omni3D's protocol as an evaluator of data sets, beside COCO's AP of boxes."""

import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from detectron2.config import CfgNode
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.evaluation import DatasetEvaluator, DatasetEvaluators
from detectron2.utils import comm

from d2road.data.catalog import class_names_of
from d2road.data.datasets.omni3d_sources import KEY as COVERAGE_KEY
from d2road.evaluation.coco_evaluator import BoxEvaluator
from d2road.evaluation.evaluator_registry import EVALUATOR_REGISTRY
from d2road.evaluation.metrics.omni3d_protocol import match_omni3d, results_of
from d2road.evaluation.omni3d_plots import omni3d_plots
from d2road.evaluation.plot_data import write_plot_data
from d2road.structures.upright_boxes import box_corners
from d2road.utils.errors import DataError
from d2road.utils.output_files import make_folder, write_json

logger = logging.getLogger(__name__)


class Omni3DEvaluator(DatasetEvaluator):
    """AP3D of predictions with `pred_boxes3d`, against a data set whose annotations have `box_rotation`.

    Results go under "omni3d"; without 3D predictions there are none. Predictions go to
    `omni3d_instances_results.json` in `output_dir`.

    Args:
        plots: leave figures for `d2road report`, see `plot_data`.
    Raises:
        DataError: nothing tells whether every object of the data is labelled, which decides what counts as false.
    """

    def __init__(self, dataset_name: str, output_dir: str, plots: bool = False):
        self.dataset_name, self.plots = dataset_name, plots
        self.output_dir = output_dir
        self.class_names = class_names_of(dataset_name)
        metadata = MetadataCatalog.get(dataset_name)
        if metadata.get("sparsely_labelled") is None:
            DatasetCatalog.get(dataset_name)  # whose reading tells
        self.sparse_images = metadata.get("sparsely_labelled", frozenset())
        if metadata.get("exhaustively_labelled", True) is None:
            raise DataError(
                f"data set '{dataset_name}' does not tell which data its images are from, so whether detections far "
                "from any label are false is unknown: name it in the file, "
                f'"info": {{"name": "SUNRGBD Test"}} or "info": {{"{COVERAGE_KEY}": true or false}}'
            )
        self.reset()

    def reset(self) -> None:
        """Forget all predictions."""
        self.predictions: list[dict] = []
        self.in_3d = False

    def process(self, inputs: list[dict], outputs: list[dict]) -> None:
        """Take the predictions of a batch."""
        for record, output in zip(inputs, outputs):
            instances = output["instances"].to("cpu")
            if not instances.has("pred_boxes3d"):
                continue
            self.in_3d = True
            corners = instances.pred_boxes3d.corners().double().tolist()
            for box, score, category, vertices in zip(
                instances.pred_boxes.tensor.tolist(),
                instances.scores.tolist(),
                instances.pred_classes.tolist(),
                corners,
            ):
                entry = {"image": record["image_id"], "category": category, "bbox": box, "score": score}
                self.predictions.append({**entry, "corners": vertices})

    def evaluate(self) -> dict:
        """`{"omni3d": {"AP3D": ..., ...}}` in percent; {} without 3D predictions and on all but the main process."""
        comm.synchronize()
        gathered = comm.gather((self.in_3d, self.predictions), dst=0)
        if not comm.is_main_process() or not any(in_3d for in_3d, _ in gathered):
            return {}
        predictions = [entry for _, entries in gathered for entry in entries]
        make_folder(Path(self.output_dir))
        write_json(Path(self.output_dir) / "omni3d_instances_results.json", predictions, indent=None)
        truth = omni3d_ground_truth(DatasetCatalog.get(self.dataset_name))
        flat, solid = match_omni3d(truth, predictions, self.class_names, sparse_images=self.sparse_images)
        results = results_of(flat, solid, self.class_names)
        logger.info("Omni3D, %s: %s", self.dataset_name, ", ".join(f"{k} {v:.2f}" for k, v in results.items()))
        if self.plots:
            write_plot_data(self.output_dir, "omni3d", lambda: omni3d_plots(flat, solid, self.class_names))
        return {"omni3d": results}


def omni3d_ground_truth(dataset_dicts: Sequence[dict]) -> list[dict]:
    """The objects of a data set as `evaluate_omni3d` wants them."""
    truth = []
    for record in dataset_dicts:
        for a in record.get("annotations", ()):
            corners = None
            if a["has_3d"]:
                rotation = np.array(a["box_rotation"])
                corners = box_corners(a["location"], a["dimensions_hwl"], 0.0, rotation)[0]
            ignore = a["ignore_in_test"] or corners is None
            entry = {"image": record["image_id"], "category": a["category_id"], "bbox": a["bbox"]}
            truth.append({**entry, "corners": corners, "ignore": ignore})
    return truth


@EVALUATOR_REGISTRY.register(name="omni3d")
def build_omni3d_evaluator(cfg: CfgNode, dataset_name: str, output_dir: str) -> DatasetEvaluators:
    """COCO's AP of boxes and Omni3D's of 3D boxes."""
    plots = cfg.TEST.get("PLOTS", False)
    return DatasetEvaluators(
        [BoxEvaluator(dataset_name, output_dir, plots=plots), Omni3DEvaluator(dataset_name, output_dir, plots)]
    )
