"""Evaluator of 3D visual grounding (a DatasetEvaluator)."""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from detectron2.config import CfgNode
from detectron2.data import MetadataCatalog
from detectron2.evaluation import DatasetEvaluator
from detectron2.utils import comm
from torch import Tensor

from d2road.evaluation import EVALUATOR_REGISTRY, write_results
from d2road.evaluation.plot_data import PlotData, write_plot_data
from d2road.utils.errors import DataError
from d2road.utils.input_files import read_json
from d2road.utils.output_files import make_folder, write_json
from mono3dvg.evaluation.grounding_plots import Answers, grounding_plots
from mono3dvg.evaluation.grounding_protocol import answer_tables, choose_score_threshold, evaluate_grounding
from mono3dvg.evaluation.prediction_files import NO_ANSWER, Answer, write_predictions
from mono3dvg.evaluation.subsets import read_subsets
from mono3dvg.schema import read_grounding

logger = logging.getLogger(__name__)

THRESHOLD_FILE = "score_threshold.json"


class GroundingEvaluator(DatasetEvaluator):
    """All measures of `grounding_protocol.evaluate_grounding` for one data set.

    Task "grounding", percentages: "mean_f1@0.25", "mean_f1_st_w_d@0.25", ..., "micro_f1@0.5", ..., "acc@0.25" (true
    overlaps), "acc_mono3dvg@0.25", "miou", "n_acc", "t_acc", "presence_auroc", and "score_threshold". OUTPUT_DIR gets
    predictions.json, which d2road eval-grounding reads, and grounding.json with everything.

    Args:
        json_file: the grounding data.
        output_dir: None writes nothing.
        score_threshold: boxes from this score on are the answer.
        subsets: file of instance ids; "" divides by rule.
        threshold_file: where the threshold is kept: with `choose` it is chosen on this data and written there, without
            it is read from there if the file exists.
        choose: this is the validation data.
        t_acc: percent; 0 chooses the threshold of the best mean F1, else see `choose_score_threshold`.
        distributed: gather the answers of the processes.
        plots: write OUTPUT_DIR/plots/grounding.json, see `d2road.evaluation.plot_data`.
    Raises:
        FileNotFoundError, DataError: data or subsets cannot be used.
    """

    def __init__(
        self,
        json_file: str | Path,
        output_dir: str | None = None,
        *,
        score_threshold: float = 0.5,
        subsets: str = "",
        threshold_file: str | Path | None = None,
        choose: bool = False,
        t_acc: float = 0.0,
        distributed: bool = True,
        plots: bool = False,
    ):
        self.data = read_grounding(json_file)
        self.output_dir = Path(output_dir) if output_dir else None
        self.score_threshold, self.choose, self.distributed = score_threshold, choose, distributed
        self.t_acc, self.plots = t_acc, plots
        self.subset_ids = read_subsets(subsets) if subsets else None
        self.threshold_file = Path(threshold_file) if threshold_file else None
        self.reset()

    def reset(self) -> None:
        self._answers: dict[Any, Answer] = {}
        self._files: dict[Any, str] = {}  # of the images, for plots

    def process(self, inputs: Sequence[Mapping], outputs: Sequence[Mapping]) -> None:
        """Take the answers of a batch.

        Args:
            inputs: dataset dicts; "image_id" and "file_name" are read for plots.
            outputs: "groundings" for each image: one mapping a sentence with "expression_id", "boxes" (K, 7) x, y, z,
                h, w, l, ry in the frame of the annotations and "scores" (K,), tensors or arrays.
        Raises:
            ValueError: an unknown sentence, one answered twice, or values that are not finite.
        """
        if self.plots:
            self._files |= {entry["image_id"]: entry["file_name"] for entry in inputs if "file_name" in entry}
        for output in outputs:
            for grounding in output["groundings"]:
                key = grounding["expression_id"]
                if key not in self.data.expressions:
                    raise ValueError(f"answer to expression {key!r}, which the data does not have")
                if key in self._answers:
                    raise ValueError(f"expression {key!r} is answered twice")
                boxes, scores = _array(grounding["boxes"]).reshape(-1, 7), _array(grounding["scores"]).reshape(-1)
                if len(boxes) != len(scores) or not (np.isfinite(boxes).all() and np.isfinite(scores).all()):
                    raise DataError(
                        f"answer to expression {key!r}: {len(boxes)} boxes and {len(scores)} scores, expected as many "
                        "of both, all finite"
                    )
                self._answers[key] = Answer(boxes, scores)

    def evaluate(self) -> dict:
        """`{"grounding": {metric: value}}`; {} on all but the main process."""
        answers, files = self._answers, self._files
        if self.distributed and comm.get_world_size() > 1:
            comm.synchronize()
            gathered = comm.gather((answers, files), dst=0)
            if not comm.is_main_process():
                return {}
            answers = {key: answer for part, _ in gathered for key, answer in part.items()}
            files = {key: file for _, part in gathered for key, file in part.items()}
        threshold = self._threshold(answers)
        results = evaluate_grounding(self.data, answers, threshold, self.subset_ids)
        if results["counts"]["missing"]:
            logger.warning("%d expressions have no answer", results["counts"]["missing"])
        if self.output_dir:
            make_folder(self.output_dir)
            write_predictions(self.output_dir / "predictions.json", threshold, answers)
            write_results(self.output_dir / "grounding.json", results)
        if self.output_dir and self.plots:
            write_plot_data(self.output_dir, "grounding", lambda: self._plot_data(answers, threshold, files))
        return {"grounding": flat_metrics(results)}

    def _plot_data(self, answers: Mapping[Any, Answer], threshold: float, files: Mapping[Any, str]) -> PlotData:
        expressions = list(self.data.expressions.values())
        given = [answers.get(e.id, NO_ANSWER) for e in expressions]
        tables = answer_tables(self.data, expressions, given, "rotated")
        return grounding_plots(Answers(self.data, expressions, given, tables, threshold), files)

    def _threshold(self, answers: Mapping[Any, Answer]) -> float:
        if self.choose:
            threshold, f1 = choose_score_threshold(self.data, answers, t_acc=self.t_acc)
            logger.info("score threshold %g chosen: mean F1@0.25 is %.2f on this data", threshold, f1)
            if self.threshold_file:
                write_json(self.threshold_file, {"score_threshold": threshold, "mean_f1@0.25": f1})
            return threshold
        if self.threshold_file and self.threshold_file.is_file():
            return float(read_json(self.threshold_file)["score_threshold"])
        return self.score_threshold


def flat_metrics(results: Mapping) -> dict[str, float]:
    """What `grounding_protocol.evaluate_grounding` returns as one level of metrics."""
    flat = {}
    for overlap, groups in results["mean_f1"].items():
        flat.update({f"mean_f1{'' if g == 'overall' else '_' + g}@{overlap}": value for g, value in groups.items()})
    for overlap, row in results["micro"].items():
        flat.update({f"micro_{name}@{overlap}": value for name, value in row.items()})
    for mode, suffix in (("rotated", ""), ("mono3dvg", "_mono3dvg")):
        row = results["acc"][mode]["overall"]
        flat.update({f"acc{suffix}@{overlap}": row[overlap] for overlap in ("0.25", "0.5")})
        flat[f"miou{suffix}"] = row["miou"]
    return {**flat, **{key: results[key] for key in ("n_acc", "t_acc", "presence_auroc", "score_threshold")}}


def _array(values: Any) -> np.ndarray:
    if isinstance(values, Tensor):
        values = values.detach().cpu().numpy()
    return np.asarray(values, dtype=np.float64)


@EVALUATOR_REGISTRY.register(name="grounding")
def build_grounding_evaluator(cfg: CfgNode, dataset_name: str, output_dir: str) -> GroundingEvaluator:
    """By TEST.GROUNDING; the threshold is kept in cfg.OUTPUT_DIR."""
    node = cfg.TEST.GROUNDING
    return GroundingEvaluator(
        MetadataCatalog.get(dataset_name).json_file,
        output_dir,
        score_threshold=node.SCORE_THRESHOLD,
        subsets=node.SUBSETS,
        threshold_file=Path(cfg.OUTPUT_DIR) / THRESHOLD_FILE,
        choose=dataset_name == node.THRESHOLD_DATA,
        t_acc=node.THRESHOLD_T_ACC,
        plots=cfg.TEST.get("PLOTS", False),
    )
