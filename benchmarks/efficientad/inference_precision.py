"""What INFERENCE.PRECISION costs an EfficientAD: verdicts that flip and rank correlation of maps, on rendered kits.

python -m benchmarks.efficientad.inference_precision --images 170 --steps 600 --good 60

Trains a narrow EfficientAD on kits of `d2road make-data fastener-kit --seed 0` (in --work, unless it is there; a
training that was stopped goes on), and runs the first --images of each test group in fp32, in bf16 by the calibration
of fp32 (as `auto` does) and in int8, calibrated so on the same good images, by PyTorch with onnxruntime and, where it
is installed, by OpenVINO. Records: benchmarks/results/inference_precision/.
"""

import argparse
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.stats import spearmanr

from benchmarks.common.records import write_record
from benchmarks.efficientad.exported_precision import kits
from d2road.cli import train
from d2road.engine import Predictor
from d2road.engine.predictor import read_config
from d2road.evaluation.metrics.roc import auroc
from d2road.export.engines import OpenVinoSession, is_installed
from d2road.utils.bootstrap import draw_weights, percentile_interval
from d2road.utils.errors import ConfigError
from d2road.utils.image_io import write_image
from efficientad.conversion import export_model

GROUPS = ("good", "logical", "structural")
TEACHER = "zoo:efficientad_teacher_narrow_own"
DRAWS, EVERY = 1000, 4  # of the bootstrap; pixels of a map along each axis


def main() -> None:
    """Train, measure, print and record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=170, help="of each test group (default: 170)")
    parser.add_argument("--steps", type=int, default=600, help="of the training (default: 600)")
    parser.add_argument("--good", type=int, default=60, help="images to train on (default: 60)")
    parser.add_argument("--teacher", default=TEACHER, help=f"MODEL.EFFICIENT_AD.TEACHER (default: {TEACHER})")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--work", type=Path, default=Path("output/inference_precision"), metavar="DIR")
    args = parser.parse_args()
    torch.set_num_threads(1)
    start = time.perf_counter()
    config, weights = trained(args)
    predict = {"fp32": predictor(config, weights, "fp32"), "bf16": predictor(config, weights, "auto")}
    export_model(args.work / "int8.pth", "int8", config, ["MODEL.WEIGHTS", weights])
    quantized = str(args.work / "int8.yaml"), str(args.work / "int8.pth"), "int8"
    predict["int8"] = predictor(*quantized)
    refused = ""
    if is_installed(OpenVinoSession):
        try:
            predict["int8 by OpenVINO"] = predictor(*quantized, OpenVinoSession.engine)
        except ConfigError as error:  # its maps are not those of the model
            refused = str(error)
    metrics = compare(args, predict) | ({"OpenVINO refused": refused} if refused else {})
    print(json.dumps(metrics, indent=1))
    command = "python -m benchmarks.efficientad.inference_precision"
    command += f" --images {args.images} --steps {args.steps} --good {args.good} --teacher {args.teacher}"
    command += f" --seed {args.seed}"
    write_record("inference_precision", f"efficientad_{3 * args.images}kits", metrics=metrics, command=command,
                 config="efficientad/own_images.yaml", seed=args.seed, seconds=time.perf_counter() - start)  # fmt: skip


def trained(args: argparse.Namespace) -> tuple[str, str]:
    """Config and weights of the model, which is trained unless it is there."""
    out, good = args.work / "efficientad", args.work / "good"
    if not (out / "model_final.pth").is_file():
        good.mkdir(parents=True, exist_ok=True)
        for index, image in enumerate(kits("train", args.good)):
            write_image(good / f"{index:03d}.png", image)
        options = ["DATASETS.TRAIN", f"('folder:{good}',)", "DATASETS.TEST", "()", "OUTPUT_DIR", str(out)]
        options += ["MODEL.EFFICIENT_AD.HARD_QUANTILE", "0.0", "SOLVER.BASE_LR", "0.001", "SEED", str(args.seed)]
        options += ["SOLVER.MAX_ITER", str(args.steps), "SOLVER.STEPS", f"({args.steps * 95 // 100},)"]
        options += ["MODEL.EFFICIENT_AD.TEACHER", args.teacher, "SOLVER.CHECKPOINT_PERIOD", "200"]
        options += ["SOLVER.AMP.ENABLED", "True"]  # as the configs of kits have it: in training alone
        resume = ["--resume"] if (out / "last_checkpoint").is_file() else []
        if train.main(["--config-file", "efficientad/own_images.yaml", *resume, *options]):
            raise SystemExit("the training failed")
    return str(out / "config.yaml"), str(out / "model_final.pth")


def predictor(config: str, weights: str, precision: str, backend: str = "torch") -> Predictor:
    """A predictor in a precision by a library."""
    keys = ["MODEL.DEVICE", "cpu", "INFERENCE.PRECISION", precision, "INFERENCE.BACKEND", backend]
    return Predictor(read_config(config, weights, keys), weights)


def compare(args: argparse.Namespace, predict: dict[str, Predictor]) -> dict[str, Any]:
    """AUROC of each precision; of those beside fp32 the flips with an interval, and the rank correlation of maps."""
    scores: dict[str, list[float]] = {name: [] for name in predict}
    flips: dict[str, list[bool]] = {name: [] for name in predict}
    maps: dict[str, list[np.ndarray]] = {name: [] for name in predict}
    for group in GROUPS:
        for image in kits(group, args.images):
            verdicts = {}
            for name, call in predict.items():
                found = call(np.ascontiguousarray(image[:, :, ::-1]))
                scores[name].append(float(found["anomaly_score"]))
                verdicts[name] = scores[name][-1] > float(found["anomaly_threshold"])
                maps[name].append(found["anomaly_map"].numpy()[::EVERY, ::EVERY].ravel())
                flips[name].append(verdicts[name] != verdicts["fp32"])
    exact = np.concatenate(maps["fp32"])
    weights = draw_weights([group for group in GROUPS for _ in range(args.images)], DRAWS, args.seed)
    metrics: dict[str, Any] = {"images": len(scores["fp32"])}
    for name in predict:
        good, bad = scores[name][: args.images], scores[name][args.images :]
        metrics[name] = {"auroc": auroc(np.array(good), np.array(bad))}
        if name != "fp32":
            turned = np.array(flips[name], float)
            metrics[name] |= {
                "flips": float(turned.mean()), "interval_95": percentile_interval(weights @ turned / len(turned)),
                "rank_correlation": float(spearmanr(exact, np.concatenate(maps[name])).statistic),
                "lowest_of_an_image": min(float(spearmanr(a, b).statistic) for a, b in zip(maps["fp32"], maps[name])),
            }  # fmt: skip
    return metrics


if __name__ == "__main__":
    main()
