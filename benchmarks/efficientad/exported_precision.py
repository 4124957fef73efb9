"""What fp16 and int8 cost exported anomaly detectors: AUROC on rendered kits, and how far maps are from the model's.

python -m benchmarks.efficientad.exported_precision --model patchcore        zoo:patchcore_fasteners
python -m benchmarks.efficientad.exported_precision --model efficientad      a narrow one, trained here for 150 steps
python -m benchmarks.efficientad.exported_precision --table

Tested on the first images of each test group of `d2road make-data fastener-kit --seed 0`; ranges of int8_static and the
training of EfficientAD take its first training images. Records go to benchmarks/results/exported_precision/.
"""

import argparse
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.common.exported_models import PRECISION_FILES as OUT
from benchmarks.common.exported_models import cpu_config, measure_precisions, print_precisions
from d2road.cli import train
from d2road.engine import Predictor
from d2road.engine.model_export import export_to_file
from d2road.evaluation.metrics.roc import auroc
from d2road.runtime import Runtime
from d2road.synthetic.fastener_kit.kit_writer import render_kit_image
from d2road.utils.image_io import write_image

MODELS = {
    "patchcore": ("efficientad/toy_loco/patchcore.yaml", "zoo:patchcore_fasteners"),
    "efficientad": (str(OUT / "efficientad/config.yaml"), str(OUT / "efficientad/model_final.pth")),
}
GOOD_IMAGES, CALIBRATION_IMAGES, STEPS = 30, 12, 150
LARGEST_LAYER = 4_000_000  # values; a larger constant is a memory bank, which stays as it is
# As toy_loco/Base.yaml has them for a short run.
TRAINING = (
    "MODEL.EFFICIENT_AD.HARD_QUANTILE", "0.0", "SOLVER.BASE_LR", "0.001", "SOLVER.MAX_ITER", str(STEPS),
    "SOLVER.STEPS", f"({STEPS - 8},)", "SOLVER.CHECKPOINT_PERIOD", "1000", "SEED", "0",
)  # fmt: skip
COLUMNS = ("AUROC", "logical", "structural", "largest deviation of the spread")


def kits(group: str, count: int) -> list[np.ndarray]:
    """The first images of a group, (H, W, 3) uint8, RGB."""
    return [render_kit_image(0, group, index).image for index in range(count)]


def train_efficientad() -> None:
    """Train the narrow EfficientAD, unless it is there."""
    if Path(MODELS["efficientad"][1]).is_file():
        return
    good = OUT / "good"
    good.mkdir(parents=True, exist_ok=True)
    for index, image in enumerate(kits("train", GOOD_IMAGES)):
        write_image(good / f"{index:03d}.png", image)
    data = ["DATASETS.TRAIN", f"('folder:{good}',)", "DATASETS.TEST", "()", "OUTPUT_DIR", str(OUT / "efficientad")]
    code = train.main(["--config-file", "efficientad/own_images.yaml", *data, *TRAINING])
    if code:
        raise SystemExit(code)


def measure(model: str, name: str, count: int) -> None:
    """Write the records of all precisions of a model."""
    if model == "efficientad":
        train_efficientad()
    config, weights = MODELS[model]
    cfg, path = cpu_config(config, weights), OUT / f"{model}.onnx"
    path.parent.mkdir(parents=True, exist_ok=True)
    deviations = export_to_file(cfg, path, "onnx")
    groups = {group: kits(group, count) for group in ("good", "logical", "structural")}
    predict = Predictor(cfg)
    expected = [predict(image[:, :, ::-1]) for images in groups.values() for image in images]

    def metrics_of(file: Path, precision: str) -> dict[str, Any]:
        metrics = evaluate(Runtime(file, threads=1), groups, expected)
        if precision == "fp32":
            metrics["check"] = {f"{row.engine} {row.output}": [row.largest, row.share] for row in deviations}
        return metrics

    calibration = [{"images": image[None]} for image in kits("train", CALIBRATION_IMAGES)]
    measure_precisions(
        path, name, calibration, metrics_of, config=config, largest=LARGEST_LAYER,
        command=f"python -m benchmarks.efficientad.exported_precision --model {model} --images {count}",
    )  # fmt: skip


def evaluate(runtime: Runtime, groups: dict[str, list[np.ndarray]], expected: list[dict[str, Any]]) -> dict[str, Any]:
    """AUROC of a file, its deviations from the model as shares of the spread of good maps, and verdicts that differ."""
    start = time.process_time()
    found = [runtime(np.ascontiguousarray(image[:, :, ::-1])) for images in groups.values() for image in images]
    seconds = (time.process_time() - start) / len(found)
    scores = np.array([each["anomaly_score"] for each in found])
    split = dict(zip(groups, np.split(scores, np.cumsum([len(images) for images in groups.values()])[:-1])))
    bad = {group: split[group] for group in ("logical", "structural")}
    spread = runtime.metadata["spread"]
    maps = [float(np.abs(f["anomaly_map"] - e["anomaly_map"].numpy()).max()) for f, e in zip(found, expected)]
    verdicts = [bool(e["anomaly_score"] > e["anomaly_threshold"]) for e in expected]
    return {
        "auroc": auroc(split["good"], np.concatenate(list(bad.values()))),
        **{f"auroc_{group}": auroc(split["good"], values) for group, values in bad.items()},
        "map_deviation": max(maps), "map_deviation_of_spread": max(maps) / spread, "spread": spread,
        "score_deviation": max(abs(float(s) - float(e["anomaly_score"])) for s, e in zip(scores, expected)),
        "verdicts_that_differ": sum(bool(f["is_anomalous"]) != v for f, v in zip(found, verdicts)),
        "images": len(found), "seconds": seconds,
    }  # fmt: skip


def main() -> None:
    """Run what the arguments ask for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", choices=tuple(MODELS), nargs="+", default=list(MODELS))
    parser.add_argument("--images", type=int, default=20, help="of each test group (default: 20)")
    parser.add_argument("--table", action="store_true", help="print the records; run nothing")
    args = parser.parse_args()
    torch.set_num_threads(1)
    names = {model: f"{model}_{{}}_{args.images}images" for model in args.model}
    for model, name in () if args.table else names.items():
        measure(model, name, args.images)
    print_precisions(COLUMNS, list(names.values()), scores_of)


def scores_of(metrics: dict[str, Any]) -> list[str]:
    """Cells of COLUMNS."""
    aurocs = [f"{metrics[key]:.3f}" for key in ("auroc", "auroc_logical", "auroc_structural")]
    return [*aurocs, f"{metrics['map_deviation_of_spread']:.2g}"]


if __name__ == "__main__":
    main()
