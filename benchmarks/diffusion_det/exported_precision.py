"""What fp16 and int8 cost the shipped detector: AP of its exported file in each, on rendered validation views.

python -m benchmarks.diffusion_det.exported_precision --images 200      records of the first 200 views, one step
python -m benchmarks.diffusion_det.exported_precision --table

All get the same noise, that of `Predictor`. Ranges of int8_static come from training views. Records go to
benchmarks/results/exported_precision/.
"""

import argparse
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from detectron2.data import DatasetCatalog, MetadataCatalog

from benchmarks.common import exported_models as common
from benchmarks.diffusion_det.exported_detector import coco_rows
from d2road.engine.predictor import Predictor
from d2road.evaluation.metrics.box_ap import BoxTruth, coco_precision
from d2road.export.engines import OnnxRuntimeSession
from d2road.utils.image_io import read_image
from diffusion_det.export_checks import draw_noise
from diffusion_det.export_graph import unrolled

CONFIG, WEIGHTS = "configs/diffusion_det/toy_roadside/demo.yaml", "zoo:diffusion_det_toy"
CALIBRATION_VIEWS = 16


def main() -> None:
    """Run what the arguments ask for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=200, help="the first of the validation views (default: 200)")
    parser.add_argument("--table", action="store_true", help="print the records; run nothing")
    args = parser.parse_args()
    torch.set_num_threads(1)
    name = f"detector_{{}}_{args.images}images"
    if not args.table:
        measure(name, args.images)
    common.print_precisions(("AP", "AP50"), [name], lambda m: [f"{m[key]:.2f}" for key in ("AP", "AP50")])


def measure(name: str, count: int) -> None:
    """Write the records of all precisions."""
    cfg = common.cpu_config(CONFIG, WEIGHTS)
    cfg.MODEL.DiffusionDet.SAMPLE_STEP = 1
    predictor = Predictor(cfg, fuse=False)
    model = unrolled(predictor.model, 1)

    def inputs_of(file: Path) -> dict[str, np.ndarray]:
        pixels = read_image(file)
        entry = predictor.prepare(np.ascontiguousarray(pixels[:, :, ::-1]))
        return {"images": pixels[None], "noise": draw_noise(model, entry)}

    training = [Path(r["file_name"]) for r in DatasetCatalog.get(cfg.DATASETS.TRAIN[0])[:CALIBRATION_VIEWS]]
    common.measure_precisions(
        common.write_model(cfg, common.PRECISION_FILES / "detector.onnx"), name, [inputs_of(f) for f in training],
        lambda file, _: evaluate(cfg, OnnxRuntimeSession(file, threads=1), inputs_of, count), config=CONFIG,
        command=f"python -m benchmarks.diffusion_det.exported_precision --images {count}",
    )  # fmt: skip


def evaluate(cfg: Any, session: OnnxRuntimeSession, inputs_of: Any, count: int) -> dict[str, float]:
    """AP of a file on the first validation views, and its processor seconds an image."""
    metadata = MetadataCatalog.get(cfg.DATASETS.TEST[0])
    content = json.loads(Path(metadata.json_file).read_text())
    images, categories = content["images"][:count], [entry["id"] for entry in content["categories"]]
    ids = {image["id"] for image in images}
    truth = BoxTruth(sorted(ids), categories, [a for a in content["annotations"] if a["image_id"] in ids])
    rows: list[dict] = []
    seconds = 0.0
    for image in images:
        inputs = inputs_of(Path(metadata.image_root) / image["file_name"])
        start = time.process_time()
        found = session.run(inputs)
        seconds += time.process_time() - start
        rows += coco_rows(image["id"], found, categories)
    precision = coco_precision(truth, rows)
    return {"AP": precision.mean(), "AP50": precision.mean(0.5), "seconds": seconds / len(images)}


if __name__ == "__main__":
    main()
