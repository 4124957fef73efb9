"""Results of the runs of a benchmark of EfficientAD: tests of their checkpoints, and the records of those."""

import json
import logging
import math
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from detectron2.config import CfgNode
from detectron2.data import DatasetCatalog
from detectron2.evaluation import inference_on_dataset
from detectron2.modeling import build_model
from torch import nn

from benchmarks.common.records import read_record, record_path, write_record
from benchmarks.efficientad.anomaly_runs import Run, train
from benchmarks.efficientad.bootstrap_draws import DRAW_SEED, DRAWS, write_draws
from d2road.data import build_test_loader
from d2road.data.dataset_formats import register_by_name
from d2road.engine import load_weights
from d2road.evaluation.results import plain
from d2road.utils.bootstrap import map_arrays, percentile_interval
from efficientad.calibration import calibrate
from efficientad.data.anomaly_datasets import split_name
from efficientad.evaluation.anomaly_protocol import evaluate
from efficientad.evaluation.bootstrap_intervals import draw_metrics
from efficientad.evaluation.evaluator import AnomalyEvaluator
from efficientad.evaluation.image_scores import ImageScores

FINAL = "final"
# Entry of a record: the threshold of maps that its pixel F1 is of. Records without it are of the threshold of scores.
MAP_THRESHOLD = "map_threshold"
# Tested beside float32. Not bfloat16: a processor that has to emulate it takes ten times as long as with 8 bits.
NARROWER = ("int8",)
logger = logging.getLogger("d2road.bench")


def train_and_test(run: Run, curve: bool = False) -> dict[str, Any]:
    """Train and test a run unless its final record is there; returns that record.

    Every checkpoint is calibrated on the validation images when it is saved.

    Args:
        curve: also test the checkpoints on the way; the final one comes last.
    """
    done = read_record(run.bench, f"{run.name}/{FINAL}")
    if done is not None:
        return done
    train(run)
    checkpoints = {FINAL: run.folder / "model_final.pth"}
    if curve:
        period = run.cfg.SOLVER.CHECKPOINT_PERIOD
        way = range(period, run.steps, period)
        checkpoints = {f"steps{n}": run.folder / f"model_{n - 1:07d}.pth" for n in way} | checkpoints
    for name, path in checkpoints.items():
        if read_record(run.bench, f"{run.name}/{name}") is not None:
            continue
        if not path.is_file():
            logger.warning("%s is gone: no record of it", path)
            continue
        steps = run.steps if name == FINAL else int(name.removeprefix("steps"))
        start = time.perf_counter()
        tested = run_test(run.cfg, load_model(run.cfg, path))
        print(f"{name}: {len(tested.images)} images in {time.perf_counter() - start:.0f} s", flush=True)
        record_test(run, name, tested, start, steps=steps)
    # What the records say needs no more checkpoints of 75 MB each.
    for path in run.folder.glob("model_[0-9]*.pth"):
        path.unlink()
    return read_record(run.bench, f"{run.name}/{FINAL}")


def test_in_fewer_bits(run: Run) -> None:
    """Test the final checkpoint of a run in lower precision, calibrated for it, unless a record is there."""
    weights = run.folder / "model_final.pth"
    for precision in NARROWER:
        name = f"{FINAL}_{precision}"
        if read_record(run.bench, f"{run.name}/{name}") is not None:
            continue
        if not weights.is_file():
            logger.warning("%s is gone: no record of %s", weights, precision)
            return
        start, cfg = time.perf_counter(), run.cfg.clone()
        cfg.defrost()
        cfg.INFERENCE.PRECISION = precision
        model = build_model(cfg).eval()
        load_weights(cfg, model, str(weights))
        calibrate(cfg, model)
        model.fold_for_inference()
        record_test(run, name, run_test(cfg, model), start, steps=run.steps, precision=precision)


class Tested(NamedTuple):
    """What a test measured, and the model's own thresholds.

    images: each test image; threshold: of their scores, None without one; spro: whether they carry defects for sPRO;
    map_threshold: of the values of maps, NaN where the model has none, None where it is `threshold`.
    """

    images: Sequence[ImageScores]
    threshold: float | None = None
    spro: bool = False
    map_threshold: float | None = None


def record_test(run: Run, name: str, tested: Tested, start: float, folder: str = "", **more: Any) -> None:
    """Keep the metrics of a test with their intervals, and for the final one the draws.

    Args:
        folder: of the records; that of the run if empty.
        start: time.perf_counter() at the beginning.
        more: entries of the record.
    """
    metrics, draws = judge(tested)
    place = f"{folder or run.name}/{name}"
    if name.startswith(FINAL):
        write_draws(record_path(run.bench, place).with_suffix(".npz"), tested.images, draws)
    if name == FINAL:
        metrics |= training_figures(run.folder)
    if tested.map_threshold is not None and math.isfinite(tested.map_threshold):
        more[MAP_THRESHOLD] = tested.map_threshold
    write_record(
        run.bench, place, metrics=plain(metrics, "metrics"), command=run.command, seed=run.cfg.SEED,
        config={"file": run.config, "keys": " ".join(run.opts)}, seconds=time.perf_counter() - start,
        **{**run.about(), **count_images(run.cfg), **more},
    )  # fmt: skip


def judge(tested: Tested) -> tuple[dict, dict]:
    """Metrics with "intervals" as d2road eval-anomaly writes them, and the draws of the intervals."""
    images, threshold, spro, map_threshold = tested
    draws = draw_metrics(images, spro, DRAWS, DRAW_SEED)
    metrics = evaluate(images, spro, threshold, map_threshold)
    return {**metrics, "intervals": map_arrays(draws, percentile_interval)}, draws


class Scores(AnomalyEvaluator):
    """Hands out what the evaluator measures, before any metric."""

    def evaluate(self) -> Tested:
        return Tested(self._images, self._threshold, self.types is not None, self._threshold_of_maps)


def run_test(cfg: CfgNode, model: nn.Module) -> Tested:
    """Run a detector over the test images."""
    name = cfg.DATASETS.TEST[0]
    evaluator = Scores(root_of(name), exact=cfg.TEST.ANOMALY.EXACT, distributed=False)
    return inference_on_dataset(model, build_test_loader(cfg, name), evaluator)


def load_model(cfg: CfgNode, weights: Path) -> nn.Module:
    """The detector of a checkpoint, ready to test."""
    model = build_model(cfg).eval()
    load_weights(cfg, model, str(weights))
    model.fold_for_inference()
    return model


def root_of(name: str) -> str:
    """Folder of the category of a data set."""
    return dicts_of(name)[0]["root"]


def dicts_of(name: str) -> list[dict]:
    """The images of a data set."""
    register_by_name(name)
    return DatasetCatalog.get(name)


def count_images(cfg: CfgNode) -> dict[str, int]:
    """Images of each split."""
    train = cfg.DATASETS.TRAIN[0]
    names = {"train": train, "validation": split_name(train, "validation"), "test": cfg.DATASETS.TEST[0]}
    return {f"{split}_images": len(dicts_of(name)) for split, name in names.items()}


def training_figures(folder: Path) -> dict[str, Mapping[str, float] | float]:
    """Last losses (medians of 20 steps) and seconds a step from the log of a training; {} without one."""
    path = folder / "metrics.json"
    lines = [json.loads(line) for line in path.read_text().splitlines()] if path.is_file() else []
    steps = [line for line in lines if "total_loss" in line]
    if not steps:
        return {}
    times = [line["time"] for line in steps if "time" in line]  # not measured in the first three steps
    losses = {key: value for key, value in steps[-1].items() if "loss" in key}
    return {"losses": losses, "seconds_per_step": float(np.median(times)) if times else math.nan}
