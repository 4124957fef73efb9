"""What the benchmarks of grounding measure on a trained model: on data sets, with labelled boxes as candidates, and the
best that any choice among its own candidates could reach."""

import argparse
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from detectron2.config import CfgNode
from detectron2.data import DatasetCatalog, MetadataCatalog
from scipy.optimize import linear_sum_assignment
from torch import Tensor, nn

from benchmarks.common.records import record_path, write_record
from d2road.config import default_argument_parser, setup_cfg
from d2road.data import build_mapper, build_test_loader
from d2road.engine import Trainer, load_weights
from d2road.utils.input_files import read_json
from d2road.utils.output_files import atomic_write, make_folder
from d2road.utils.progress import track
from mono3dvg.evaluation.grounding_metrics import ACC_OVERLAPS
from mono3dvg.evaluation.grounding_protocol import evaluate_grounding
from mono3dvg.evaluation.overlaps import overlap_tables
from mono3dvg.evaluation.prediction_files import Answer
from mono3dvg.grounder import Mono3DVG
from mono3dvg.schema import read_grounding

STUDY_DATA = "toy_grounding_val"  # so that what is studied can be chosen by it
Measure = Callable[[Mono3DVG, Sequence[dict], Any], dict[str, dict[str, float]]]
T_ACC = 83.2  # what N-acc is compared at: that of the main model of version 0.3, in percent
CERTAIN = 0.5  # true objects of at least this probability are the answer


def load_trained(cfg: CfgNode, weights: Path) -> Mono3DVG:
    """The trained model in eval mode."""
    model = Trainer.build_model(cfg).eval()
    assert isinstance(model, Mono3DVG), "the configs of these benchmarks name it"
    load_weights(cfg, model, str(weights))
    return model


def evaluate_test_sets(cfg: CfgNode, model: Mono3DVG) -> dict[str, dict]:
    """All measures of `mono3dvg.evaluation.grounding_protocol` on each of DATASETS.TEST, by name.

    The model takes the score threshold that is chosen on the validation data.
    """
    make_folder(cfg.OUTPUT_DIR)  # the threshold is written there
    results = Trainer.test(cfg, model)
    model.take_results(results)
    folder, names = Path(cfg.OUTPUT_DIR) / "inference", cfg.DATASETS.TEST
    found = {}
    for name in names:  # a folder of its own where there are several
        place = folder if len(names) == 1 else folder / name
        found[name] = read_json(place / "grounding.json")
    return found


def save_weights(model: nn.Module, path: Path) -> None:
    """Weights to predict with: classes, tokenizer and score threshold are among them."""
    with atomic_write(path) as file:
        torch.save({"model": model.state_dict()}, file)


def evaluate_on_true_boxes(cfg: CfgNode, model: Mono3DVG, name: str) -> dict[str, float]:
    """How well the model says which of the labelled objects sentences mean; see `accuracy_on_objects`."""
    rows: list[tuple[str, Tensor, Sequence[int]]] = []
    groups = {e["id"]: e["group"] or "other" for record in DatasetCatalog.get(name) for e in record["expressions"]}
    for batch in track(build_test_loader(cfg, name), label="true boxes"):
        for x, found in zip(batch, model.refer_objects(batch)):
            rows += [(groups[e["id"]], p, e["targets"]) for e, p in zip(x["expressions"], found)]
    return accuracy_on_objects(rows)


def evaluate_best_choice(cfg: CfgNode, model: Mono3DVG, name: str) -> dict[str, dict]:
    """The ceiling of what words can do: all measures of the best choice among the candidates that the model finds.

    Each sentence is answered by the candidates that overlap its targets, one to one, by as much as is counted; one that
    means nothing by nothing. By that overlap, "0.25" and "0.5".
    """
    data, found = read_grounding(MetadataCatalog.get(name).json_file), {}
    with torch.no_grad():
        for batch in track(build_test_loader(cfg, name), label="candidates"):
            peaks = model.encode_image(batch).peaks
            assert peaks is not None, "encode_image fills them in"
            for x, rows, valid in zip(batch, peaks.rows, peaks.valid):
                found[x["image_id"]] = rows[valid].double().numpy()
    results = {}
    for overlap in ACC_OVERLAPS:
        answers = {
            e.id: choose_best(found[e.image_id], data.target_rows(e), data.frame_of(e.image_id), overlap)
            for e in data.expressions.values()
        }
        results[f"{overlap:g}"] = evaluate_grounding(data, answers, CERTAIN)
    return results


def choose_best(boxes: np.ndarray, targets: np.ndarray, frame: np.ndarray | None, overlap: float) -> Answer:
    """Of boxes (K, 7) those that overlap targets (G, 7) by `overlap`, as many as can be paired one to one."""
    (table,) = overlap_tables([boxes], [targets], [frame], "rotated")
    enough = table >= overlap
    rows, columns = linear_sum_assignment(enough, maximize=True)
    kept = rows[enough[rows, columns]]
    return Answer(boxes[kept], np.ones(len(kept)))


def accuracy_on_objects(rows: Sequence[tuple[str, Tensor, Sequence[int]]]) -> dict[str, float]:
    """Percentages from group, probabilities (M,) of the objects, NaN for those that are no candidates, and targets.

    Returns:
        accuracy: sentences of which exactly the objects meant have a probability of 0.5 and more; accuracy_GROUP of
        each group; top1: single-target sentences whose target has the highest one.
    """
    right: dict[str, list[bool]] = {"accuracy": [], "top1": []}
    for group, probability, targets in rows:
        p = probability.nan_to_num(-1.0)
        exact = set(torch.where(p >= CERTAIN)[0].tolist()) == set(targets)
        right["accuracy"].append(exact)
        right.setdefault(f"accuracy_{group}", []).append(exact)
        if len(targets) == 1:
            right["top1"].append(int(p.argmax()) == targets[0])
    return {name: 100 * sum(values) / len(values) if values else float("nan") for name, values in right.items()}


def record_study(bench: str, program: str, description: str | None, measure: Measure) -> Path:
    """The command line of a study of a trained model on STUDY_DATA: measure it and keep a record under its name.

    Args:
        program: module beside this one. measure: metrics of a model from records of the data and their mapper.
    Returns:
        the record.
    """
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--name", required=True, help="of the record")
    parser.add_argument("--config-file", required=True, help="of the model")
    parser.add_argument("--weights", type=Path, required=True, help="its checkpoint")
    parser.add_argument("opts", nargs="*", metavar="KEY VALUE", help="config keys")
    args = parser.parse_args()
    keys = ["OUTPUT_DIR", f"output/{bench}/{args.name}", "MODEL.WEIGHTS", "", *args.opts]
    cfg = setup_cfg(default_argument_parser().parse_args(["--config-file", args.config_file, *keys]))
    start, model = time.perf_counter(), load_trained(cfg, args.weights)
    metrics = measure(model, DatasetCatalog.get(STUDY_DATA), build_mapper(cfg, is_train=False))
    seconds = time.perf_counter() - start
    command = f"python -m benchmarks.mono3dvg.{program} --name {args.name} --config-file {args.config_file}"
    command = " ".join([f"{command} --weights {args.weights}", *args.opts])
    write_record(
        bench, args.name, metrics=metrics, command=command, config=args.config_file, seed=cfg.SEED, seconds=seconds
    )
    return record_path(bench, args.name)
