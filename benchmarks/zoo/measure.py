"""Measure the shipped models as they are shipped: their records are benchmarks/results/zoo/NAME.json.

python -m benchmarks.zoo.measure NAME [--weights FILE --form half]

FILE is the same model in another form, which is measured beside the shipped one: what storing it in 8 bits costs.
Needs the data that the entry of the catalogue names; no key is chosen by what comes out.
"""

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from detectron2.config import CfgNode
from detectron2.modeling import build_model

from benchmarks.common.records import read_record, write_record
from benchmarks.common.trainings import separate_logs
from d2road.config import default_argument_parser, setup_cfg
from d2road.engine import Trainer, load_weights, setup
from d2road.engine.meta_arch import HasAnomalyThreshold
from d2road.model_zoo import find_entry
from d2road.utils.errors import ConfigError, report_errors
from d2road.utils.input_files import read_json

BENCH = "zoo"
Metrics = dict[str, Any]


def detection_metrics(cfg: CfgNode, weights: str) -> Metrics:
    """COCO's AP on the test data."""
    model = build_model(cfg).eval()
    load_weights(cfg, model, weights)
    return dict(Trainer.test(cfg, model)["bbox"])


def pose_metrics(cfg: CfgNode, weights: str) -> Metrics:
    """AP in the image and on the ground in 3D, with the given ground plane and from the image and intrinsics alone."""
    from benchmarks.diffusion_det.pose_study import Choice, PoseStudy

    study = PoseStudy(cfg, weights)
    study.run(cfg.MODEL.DiffusionDet.SAMPLER, cfg.MODEL.DiffusionDet.SAMPLE_STEP)
    found = {}
    for name, choice in {"plane": Choice(), "rgb": Choice({"use_given_ground": False})}.items():
        measured = study.evaluate(choice, f"{cfg.OUTPUT_DIR}/{name}")
        ground = {key: value for key, value in measured["ground"].items() if key.endswith(("3d@0.25", "3d@0.5"))}
        found[name] = {"ground": ground, "bbox": measured["bbox"]}
    return found


def grounding_metrics(cfg: CfgNode, weights: str) -> Metrics:
    """Mean F1, N-acc and T-acc on the test data, with the score threshold that the weights bring."""
    model = build_model(cfg).eval()
    load_weights(cfg, model, weights)
    cfg.defrost()
    cfg.TEST.GROUNDING.SCORE_THRESHOLD = float(model.score_threshold)
    Trainer.test(cfg, model)
    measured = read_json(Path(cfg.OUTPUT_DIR) / "inference" / "grounding.json")
    kept = {key: measured[key] for key in ("mean_f1", "n_acc", "t_acc", "score_threshold")}
    return {**kept, "by_category": {key: measured["by_category"][key] for key in ("vehicles", "people")}}


def anomaly_metrics(cfg: CfgNode, weights: str) -> Metrics:
    """Those of `d2road eval` without intervals, and shares of test images above the threshold that the model brings."""
    from benchmarks.efficientad.anomaly_results import run_test
    from efficientad.evaluation.anomaly_protocol import evaluate

    model = build_model(cfg).eval()
    load_weights(cfg, model, weights)
    assert isinstance(model, HasAnomalyThreshold)
    threshold = model.anomaly_threshold()
    images, of_scores, spro, of_maps = run_test(cfg, model)
    metrics = evaluate(images, spro, of_scores, of_maps)
    above = {odd: [one.score > threshold for one in images if one.anomalous == odd] for odd in (False, True)}
    return {
        **metrics, "false_positive_rate": float(np.mean(above[False])), "recall": float(np.mean(above[True])),
        "threshold": threshold, "guarantee": model.anomaly_guarantee(),
    }  # fmt: skip


GROUNDING_KEYS = (
    "DATASETS.TRAIN", "()", "DATASETS.TEST", "('toy_grounding_test',)", "TEST.GROUNDING.THRESHOLD_DATA", "",
)  # fmt: skip
# Name -> how it is measured, and keys beside its config.
MEASURES: dict[str, tuple[Callable[[CfgNode, str], Metrics], tuple[str, ...]]] = {
    "diffusion_det_toy": (
        detection_metrics,
        ("MODEL.DiffusionDet.SAMPLE_STEP", "1", "MODEL.DiffusionDet.TEST_NUM_PROPOSALS", "100"),
    ),
    "diffusion_det_toy3d": (pose_metrics, ("MODEL.DiffusionDet.SAMPLE_STEP", "4")),
    "mono3dvg_toy": (grounding_metrics, GROUNDING_KEYS),
    "mono3dvg_toy_minilm": (grounding_metrics, GROUNDING_KEYS),
    "patchcore_fasteners": (anomaly_metrics, ()),
}


def measure(name: str, weights: str, form: str) -> Metrics:
    """Measure one form of a model and keep it in the record, beside other forms of the same."""
    method, keys = MEASURES[name]
    entry = find_entry(name)
    config = f"configs/{entry.config}"
    given = ["--config-file", config, "--weights", weights, *keys, "SEED", str(entry.seed)]
    given += ["OUTPUT_DIR", f"output/zoo/measure/{name}_{form}"]
    cfg = setup_cfg(default_argument_parser().parse_args(given))
    setup(cfg, argparse.Namespace(eval_only=True, config_file=config))
    start = time.perf_counter()
    metrics = method(cfg, weights)
    before = read_record(BENCH, name)
    write_record(
        BENCH, name, metrics={**(before["metrics"] if before else {}), form: metrics}, config=config,
        command=f"python -m benchmarks.zoo.measure {name}", seed=entry.seed or 0, seconds=time.perf_counter() - start,
        keys=" ".join(keys), sha256={**(before.get("sha256", {}) if before else {}), form: entry.sha256},
    )  # fmt: skip
    return metrics


def main(argv: Sequence[str] | None = None) -> None:
    """Measure what the arguments ask for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", metavar="NAME", help=f"{', '.join(MEASURES)}; other entries have records elsewhere")
    parser.add_argument("--weights", metavar="FILE", help="another form of the same model; default: the shipped one")
    parser.add_argument("--form", default="", help="what to call it in the record; default: the shipped storage")
    args = parser.parse_args(argv)
    if bool(args.weights) != bool(args.form):
        raise ConfigError("--weights and --form go together")
    if args.name not in MEASURES:
        print(f"{find_entry(args.name).name}: nothing to measure, its records are those of its benchmark")
        return
    with separate_logs():
        metrics = measure(args.name, args.weights or f"zoo:{args.name}", args.form or find_entry(args.name).storage)
    print({key: value for key, value in metrics.items() if isinstance(value, (int, float))})


if __name__ == "__main__":
    sys.exit(report_errors(main)())
