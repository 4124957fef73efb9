"""What INFERENCE.PRECISION bf16 costs the shipped detector: AP on rendered validation views, beside fp32, in pairs.

python -m benchmarks.diffusion_det.inference_precision --images 500 --steps 1 4

Both start from the same random boxes of each view. The interval is of a paired bootstrap over views. Detections are
kept in --work as they come, so that a stopped run goes on. Records: benchmarks/results/inference_precision/.
"""

import argparse
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from detectron2.data import MetadataCatalog

from benchmarks.common.exported_models import cpu_config
from benchmarks.common.records import write_record
from benchmarks.diffusion_det.exported_detector import coco_rows
from d2road.engine.predictor import Predictor
from d2road.evaluation.metrics.box_ap import BoxTruth, coco_precision
from d2road.utils.bootstrap import draw_weights, percentile_interval

CONFIG, WEIGHTS = "configs/diffusion_det/toy_roadside/demo.yaml", "zoo:diffusion_det_toy"
PRECISIONS = ("fp32", "bf16")


def main() -> None:
    """Measure, print and record one row for each number of steps."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=500, help="the first of the validation views (default: 500)")
    parser.add_argument("--steps", type=int, nargs="+", default=[1, 4])
    parser.add_argument("--draws", type=int, default=300, help="of the bootstrap (default: 300)")
    parser.add_argument("--seed", type=int, default=0, help="of the bootstrap")
    parser.add_argument("--work", type=Path, default=Path("output/inference_precision"), metavar="DIR")
    args = parser.parse_args()
    torch.set_num_threads(1)
    args.work.mkdir(parents=True, exist_ok=True)
    for steps in args.steps:
        start = time.perf_counter()
        found = {precision: detections(args, precision, steps) for precision in PRECISIONS}
        metrics = compare(args, found)
        print(f"{steps} steps, {args.images} views: {json.dumps(metrics)}", flush=True)
        command = f"python -m benchmarks.diffusion_det.inference_precision --images {args.images} --steps {steps}"
        write_record(
            "inference_precision", f"detector_{steps}steps_{args.images}views", metrics=metrics, command=command,
            config=CONFIG, seed=args.seed, seconds=time.perf_counter() - start,
        )  # fmt: skip


def content_of(count: int) -> tuple[dict[str, Any], Path]:
    """The first views with their annotations, as COCO has them, and the folder of the images."""
    cfg = cpu_config(CONFIG, WEIGHTS)
    metadata = MetadataCatalog.get(cfg.DATASETS.TEST[0])
    content = json.loads(Path(metadata.json_file).read_text())
    content["images"] = content["images"][:count]
    return content, Path(metadata.image_root)


def detections(args: argparse.Namespace, precision: str, steps: int) -> dict[int, list[dict]]:
    """Detections by view as COCO's protocol takes them."""
    file = args.work / f"{precision}_{steps}steps.jsonl"
    known = [json.loads(line) for line in file.read_text().splitlines()] if file.is_file() else []
    found = {row["image"]: row["rows"] for row in known}
    content, root = content_of(args.images)
    categories = [entry["id"] for entry in content["categories"]]
    missing = [image for image in content["images"] if image["id"] not in found]
    if missing:
        cfg = cpu_config(CONFIG, WEIGHTS)
        cfg.MODEL.DiffusionDet.SAMPLE_STEP, cfg.INFERENCE.PRECISION = steps, precision
        predict = Predictor(cfg)
    with file.open("a") as out:
        for image in missing:
            instances = predict(root / image["file_name"])["instances"]
            arrays = {"boxes": instances.pred_boxes.tensor, "scores": instances.scores}
            objects = {name: value.numpy() for name, value in (arrays | {"classes": instances.pred_classes}).items()}
            found[image["id"]] = coco_rows(image["id"], objects, categories)
            out.write(json.dumps({"image": image["id"], "rows": found[image["id"]]}) + "\n")
            out.flush()
    return {image["id"]: found[image["id"]] for image in content["images"]}


def compare(args: argparse.Namespace, found: dict[str, dict[int, list[dict]]]) -> dict[str, Any]:
    """AP of each precision, the difference and its interval of 95 %."""
    content, _ = content_of(args.images)
    ids = [image["id"] for image in content["images"]]
    labels: dict[int, list[dict]] = {image: [] for image in ids}
    for annotation in content["annotations"]:
        if annotation["image_id"] in labels:
            labels[annotation["image_id"]].append(annotation)
    categories = [entry["id"] for entry in content["categories"]]

    def difference(times: np.ndarray) -> tuple[float, float]:
        """AP of both where each view counts so often."""
        drawn = [image for image, count in zip(ids, times.astype(int)) for _ in range(count)]
        truth = [row | {"image_id": n, "id": 10**5 * n + k + 1} for n, i in enumerate(drawn)
                 for k, row in enumerate(labels[i])]  # fmt: skip
        boxes = BoxTruth(list(range(len(drawn))), categories, truth)
        both = [coco_precision(boxes, [r | {"image_id": n} for n, i in enumerate(drawn) for r in rows[i]]).mean()
                for rows in found.values()]  # fmt: skip
        return both[0], both[1]

    exact, rounded = difference(np.ones(len(ids)))
    draws = np.array([difference(times) for times in draw_weights([""] * len(ids), args.draws, args.seed)])
    interval = percentile_interval(draws[:, 1] - draws[:, 0])
    return {"AP_fp32": exact, "AP_bf16": rounded, "difference": rounded - exact, "interval_95": interval}


if __name__ == "__main__":
    main()
