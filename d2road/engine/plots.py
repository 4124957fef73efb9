"""Glue of the plots of a run: figures beside the data that evaluators leave, training curves, images in TensorBoard.

    OUTPUT_DIR/plots/training_losses.png, training_schedule.png, training_results.png
    OUTPUT_DIR/inference/plots/boxes.json, boxes_precision_recall.png, ...; for several data sets in the folder of each

Only the main process draws. What goes wrong is logged and fails neither a training nor an evaluation.
"""

import json
import logging
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from detectron2.config import CfgNode
from detectron2.engine import HookBase
from detectron2.evaluation.testing import flatten_results_dict
from detectron2.utils import comm
from detectron2.utils.events import EventStorage

from d2road.evaluation.plot_data import FOLDER, plot_files, read_plot_data
from d2road.utils.image_io import read_image
from d2road.utils.input_files import read_json, text_lines
from d2road.utils.output_files import make_folder, write_small
from d2road.visualization.figure_data import Figure
from d2road.visualization.training_figures import training_figures

logger = logging.getLogger(__name__)

TRAINING = "training"


def plot_evaluation(cfg: CfgNode) -> None:
    """Draw what the evaluators left below OUTPUT_DIR/inference; where TEST.PLOTS is off, remove what is there.

    That would be of an earlier evaluation, whose results are overwritten.
    """
    if not cfg.OUTPUT_DIR or not comm.is_main_process():
        return
    with _logged("plots of the evaluation"):
        start, count = time.perf_counter(), 0
        if not cfg.TEST.get("PLOTS", False):
            for path in plot_files(Path(cfg.OUTPUT_DIR) / "inference"):
                draw_figures(path.parent, path.stem, {})
                path.unlink()
            return
        for path in plot_files(Path(cfg.OUTPUT_DIR) / "inference"):
            count += len(draw_figures(path.parent, path.stem, read_plot_data(path).figures))
        if count:
            where = Path(cfg.OUTPUT_DIR) / "inference"
            logger.info("%d plots drawn below %s in %.1f s", count, where, time.perf_counter() - start)


def plot_training(cfg: CfgNode) -> None:
    """Draw the curves of OUTPUT_DIR/metrics.json into OUTPUT_DIR/plots; does nothing where TEST.PLOTS is off."""
    if not cfg.TEST.get("PLOTS", False) or not cfg.OUTPUT_DIR or not comm.is_main_process():
        return
    with _logged("plots of the training"):
        folder = Path(cfg.OUTPUT_DIR)
        figures = training_figures(read_metrics(folder / "metrics.json")[0], result_names(folder))
        draw_figures(folder / FOLDER, TRAINING, figures)


def draw_figures(folder: Path, name: str, figures: Mapping[str, Figure]) -> list[Path]:
    """Write figures as FOLDER/NAME_FIGURE.png; those of an earlier evaluation that are not there any more go."""
    paths = [folder / f"{name}_{figure}.png" for figure in figures]
    for old in set(folder.glob(f"{name}_*.png")) - set(paths):
        old.unlink()
    if figures:
        from d2road.visualization.figure_drawing import figure_png  # matplotlib takes a second

        make_folder(folder)
        for path, figure in zip(paths, figures.values()):
            write_small(path, figure_png(figure))
    return paths


def put_images(storage: EventStorage, cfg: CfgNode) -> None:
    """Hand the plots of the latest evaluation to the writers of a training, for TensorBoard."""
    if not cfg.TEST.get("PLOTS", False) or not cfg.OUTPUT_DIR or not comm.is_main_process():
        return
    with _logged("plots for TensorBoard"):
        root = Path(cfg.OUTPUT_DIR) / "inference"
        for data in plot_files(root):
            for path in sorted(data.parent.glob(f"{data.stem}_*.png")):
                name = path.relative_to(root).with_suffix("").as_posix()
                storage.put_image(name, np.ascontiguousarray(read_image(path).transpose(2, 0, 1)))


class TrainingPlots(HookBase):
    """Draws the training curves after each evaluation and at the end, also where a run is stopped or fails.

    Args:
        cfg: of the run. The hook stands behind the one that writes metrics.json.
    """

    def __init__(self, cfg: CfgNode):
        self.cfg = cfg

    def after_step(self) -> None:
        done = self.trainer.iter + 1
        if self.cfg.DATASETS.TEST and done < self.trainer.max_iter and self.trainer.evaluation.due(done):
            plot_training(self.cfg)

    def after_train(self) -> None:
        plot_training(self.cfg)


def read_metrics(path: Path) -> tuple[list[dict[str, Any]], int]:
    """The rows of metrics.json, by rising iteration, and how many lines are none: cut off, or damaged.

    Raises:
        OSError, DataError: it cannot be read.
    """
    rows, damaged = [], 0
    for line in text_lines(path, "log of metrics", largest=None) if path.is_file() else ():
        try:
            row = json.loads(line)
        except json.JSONDecodeError:
            row = None if line.strip() else {}
        if isinstance(row, dict) and isinstance(row.get("iteration"), (int, float)):
            rows.append(row)
        elif row != {}:
            damaged += 1
    return sorted(rows, key=lambda row: row["iteration"]), damaged


def result_names(folder: Path) -> list[str]:
    """Names "task/metric" in the order of results.json; none before the first evaluation."""
    path = folder / "results.json"
    results = read_json(path, "results") if path.is_file() else {}
    return list(flatten_results_dict(results)) if isinstance(results, dict) else []


@contextmanager
def _logged(what: str) -> Iterator[None]:
    """A plot is no reason to lose a training or an evaluation: errors become a line of the log."""
    try:
        yield
    except Exception as error:
        logger.warning("The %s could not be made: %s: %s", what, type(error).__name__, error)
        logger.debug("Traceback of the plots", exc_info=True)
