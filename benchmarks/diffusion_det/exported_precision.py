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

from benchmarks.common.onnx_precision import PRECISIONS, convert
from benchmarks.common.records import read_record, write_record
from benchmarks.diffusion_det.exported_detector import coco_rows
from d2road.engine.model_export import graph_of
from d2road.engine.predictor import Predictor, read_config
from d2road.evaluation.metrics.box_ap import BoxTruth, coco_precision
from d2road.export.engines import OnnxRuntimeSession
from d2road.export.graph import ExportOptions
from d2road.export.onnx_file import write_onnx
from d2road.utils.image_io import read_image
from d2road.utils.markdown import markdown_table
from diffusion_det.export_checks import draw_noise
from diffusion_det.export_graph import unrolled

BENCH = "exported_precision"
CONFIG, WEIGHTS = "configs/diffusion_det/toy_roadside/demo.yaml", "zoo:diffusion_det_toy"
CALIBRATION_VIEWS = 16
COLUMNS = ("precision", "AP", "AP50", "processor time an image", "file")


def main() -> None:
    """Run what the arguments ask for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=200, help="the first of the validation views (default: 200)")
    parser.add_argument("--table", action="store_true", help="print the records; run nothing")
    args = parser.parse_args()
    torch.set_num_threads(1)
    if not args.table:
        measure(args.images)
    rows = []
    for precision in PRECISIONS:
        record = read_record(BENCH, f"detector_{precision}_{args.images}images")
        if record is not None:
            m = record["metrics"]
            rows.append([precision, f"{m['AP']:.2f}", f"{m['AP50']:.2f}", f"{m['seconds']:.3f} s", f"{m['mb']:.1f} MB"])
    print("\n".join(markdown_table(COLUMNS, rows)))


def measure(count: int) -> None:
    """Write the records of all precisions."""
    cfg = read_config(CONFIG, WEIGHTS)
    cfg.MODEL.WEIGHTS, cfg.MODEL.DEVICE, cfg.MODEL.DiffusionDet.SAMPLE_STEP = WEIGHTS, "cpu", 1
    predictor = Predictor(cfg, fuse=False)
    model = unrolled(predictor.model, 1)
    path = Path(f"output/bench/{BENCH}/detector.onnx")
    path.parent.mkdir(parents=True, exist_ok=True)
    write_onnx(graph_of(cfg, (), ExportOptions()), path, cfg.dump())

    def inputs_of(file: Path) -> dict[str, np.ndarray]:
        pixels = read_image(file)
        entry = predictor.prepare(np.ascontiguousarray(pixels[:, :, ::-1]))
        return {"images": pixels[None], "noise": draw_noise(model, entry)}

    training = [Path(r["file_name"]) for r in DatasetCatalog.get(cfg.DATASETS.TRAIN[0])[:CALIBRATION_VIEWS]]
    calibration = [inputs_of(file) for file in training]
    for precision in PRECISIONS:
        name, start = f"detector_{precision}_{count}images", time.perf_counter()
        if read_record(BENCH, name) is not None:
            continue
        file, layers = convert(path, precision, calibration)
        metrics = {**evaluate(cfg, OnnxRuntimeSession(file, threads=1), inputs_of, count), "layers": layers}
        metrics["mb"] = file.stat().st_size / 1e6
        write_record(
            BENCH, name, metrics=metrics, config=CONFIG, seed=0,
            command=f"python -m benchmarks.diffusion_det.exported_precision --images {count}",
            seconds=time.perf_counter() - start,
        )  # fmt: skip
        print(precision, metrics, flush=True)


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
