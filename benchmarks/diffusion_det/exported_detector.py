"""The shipped detector as a file, against the detector itself, on rendered validation views: AP, and object by object.

python -m benchmarks.diffusion_det.exported_detector --steps 1 --engine onnxruntime     a record of 100 views
python -m benchmarks.diffusion_det.exported_detector --steps 4 --images 20              of the first 20

Both get the same pixels and the same noise, that of `Predictor`. Records go to benchmarks/results/exported_detector/.
"""

import argparse
import json
import time
from pathlib import Path

import numpy as np
import torch
from detectron2.data import MetadataCatalog

from benchmarks.common.exported_models import ENGINES, SUFFIXES, cpu_config, write_model
from benchmarks.common.records import write_record
from d2road.engine.predictor import Predictor
from d2road.evaluation.metrics.box_ap import BoxTruth, coco_precision
from d2road.utils.image_io import read_image
from diffusion_det.export_checks import detect, draw_noise
from diffusion_det.export_graph import unrolled

BENCH = "exported_detector"
CONFIG, WEIGHTS = "configs/diffusion_det/toy_roadside/demo.yaml", "zoo:diffusion_det_toy"
SCORE, PIXELS, PROBABILITY = 0.3, 0.05, 1e-3  # objects that are compared; what they may be off


def counterparts(ours: dict[str, np.ndarray], theirs: dict[str, np.ndarray]) -> tuple[int, int, float, float]:
    """Objects of ours that score SCORE or more, how many have a counterpart of the same class within PIXELS and
    PROBABILITY in theirs, and the largest deviations of those in pixels and in score."""
    objects = np.flatnonzero(ours["scores"] >= SCORE)
    found, off_px, off_score = 0, 0.0, 0.0
    for i in objects:
        pixels = np.abs(theirs["boxes"] - ours["boxes"][i]).max(1)
        score = np.abs(theirs["scores"] - ours["scores"][i])
        same = (theirs["classes"] == ours["classes"][i]) & (pixels <= PIXELS) & (score <= PROBABILITY)
        if same.any():
            nearest = np.argmin(np.where(same, pixels, np.inf))
            found, off_px, off_score = found + 1, max(off_px, pixels[nearest]), max(off_score, score[nearest])
    return len(objects), found, float(off_px), float(off_score)


def coco_rows(image_id: int, objects: dict[str, np.ndarray], categories: list[int]) -> list[dict]:
    """Detections as COCO's protocol takes them."""
    boxes = objects["boxes"].astype(np.float64)
    return [
        {
            "image_id": image_id,
            "category_id": categories[c],
            "bbox": [*box[:2], *(box[2:] - box[:2])],
            "score": float(s),
        }
        for box, s, c in zip(boxes, objects["scores"], objects["classes"])
    ]


def compare(steps: int, engine: str, count: int) -> dict[str, float]:
    """Metrics of the detector and of its file on the first `count` validation views."""
    cfg = cpu_config(CONFIG, WEIGHTS)
    cfg.MODEL.DiffusionDet.SAMPLE_STEP = steps
    predictor = Predictor(cfg, fuse=False)
    model = unrolled(predictor.model, steps)
    start = time.process_time()
    path = write_model(cfg, Path(f"output/bench/{BENCH}/{steps}steps{SUFFIXES[engine]}"))
    export_seconds = time.process_time() - start
    session = ENGINES[engine](path, threads=1)

    metadata = MetadataCatalog.get(cfg.DATASETS.TEST[0])
    content = json.loads(Path(metadata.json_file).read_text())
    images, categories = content["images"][:count], [entry["id"] for entry in content["categories"]]
    truth = BoxTruth(
        [i["id"] for i in images], categories,
        [a for a in content["annotations"] if a["image_id"] in {i["id"] for i in images}],
    )  # fmt: skip
    rows: dict[str, list[dict]] = {"model": [], "file": []}
    seconds, totals = {"model": 0.0, "file": 0.0}, []
    for image in images:
        pixels = read_image(Path(metadata.image_root) / image["file_name"])
        entry = predictor.prepare(np.ascontiguousarray(pixels[:, :, ::-1]))
        start = time.process_time()
        ours = detect(model, entry, nms=True)
        seconds["model"] += time.process_time() - start
        inputs = {"images": pixels[None], "noise": draw_noise(model, entry)}
        start = time.process_time()
        theirs = session.run(inputs)
        seconds["file"] += time.process_time() - start
        totals.append(counterparts(ours, theirs))
        for name, found in (("model", ours), ("file", theirs)):
            rows[name] += coco_rows(image["id"], found, categories)
    precision = {name: coco_precision(truth, found) for name, found in rows.items()}
    objects, found, off_px, off_score = zip(*totals)
    return {
        **{f"AP_{name}": p.mean() for name, p in precision.items()},
        **{f"AP50_{name}": p.mean(0.5) for name, p in precision.items()},
        "objects": sum(objects), "objects_found": sum(found),
        "largest_deviation_px": max(off_px), "largest_deviation_score": max(off_score),
        **{f"processor_seconds_per_image_{name}": s / len(images) for name, s in seconds.items()},
        "file_megabytes": path.stat().st_size / 1e6, "processor_seconds_to_export": export_seconds,
    }  # fmt: skip


def main() -> None:
    """Run what the arguments ask for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=1, help="of the sampler (default: 1)")
    parser.add_argument("--engine", choices=tuple(ENGINES), default="onnxruntime", help="that runs the file")
    parser.add_argument("--images", type=int, default=100, help="the first of the validation views (default: 100)")
    args = parser.parse_args()
    torch.set_num_threads(1)
    start = time.perf_counter()
    metrics = compare(args.steps, args.engine, args.images)
    record = write_record(
        BENCH, f"{args.engine}_{args.steps}steps_{args.images}images", metrics=metrics, config=CONFIG, seed=0,
        command=f"python -m benchmarks.diffusion_det.exported_detector --steps {args.steps} --engine {args.engine} "
        f"--images {args.images}", seconds=time.perf_counter() - start,
    )  # fmt: skip
    print(json.dumps(record["metrics"], indent=2))


if __name__ == "__main__":
    main()
