"""A grounder as a file against the grounder itself, on sentences about validation views: are the answers the same?

python -m benchmarks.mono3dvg.exported_grounder --engine onnxruntime

Both get the same images, cameras and sentences, spread evenly over the data. Records go to
benchmarks/results/exported_grounder/.
"""

import argparse
import json
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from detectron2.data import MetadataCatalog

from benchmarks.common.exported_models import ENGINES, SUFFIXES, cpu_config, write_model
from benchmarks.common.records import write_record
from d2road.engine.predictor import Predictor
from d2road.export.engines import entries_of_session
from d2road.export.file_metadata import parse_entries
from d2road.runtime.grounding import GroundingTask
from d2road.structures import Camera
from d2road.utils.image_io import read_image

BENCH = "exported_grounder"
CONFIG, WEIGHTS = "configs/mono3dvg/toy_grounding/demo.yaml", "zoo:mono3dvg_toy"
METERS = 0.01  # what boxes of equal answers may be off


def compare(weights: str, engine: str, count: int) -> dict[str, float]:
    """Metrics of the grounder and of its file on `count` sentences of the validation data."""
    cfg = cpu_config(CONFIG, weights)
    metadata = MetadataCatalog.get(cfg.DATASETS.TEST[0])
    content = json.loads(Path(metadata.json_file).read_text())
    images = {image["id"]: image for image in content["images"]}
    asked = defaultdict(list)
    for sentence in content["expressions"][:: max(len(content["expressions"]) // count, 1)][:count]:
        asked[sentence["image_id"]].append(sentence["text"])
    files = {key: Path(metadata.image_root) / images[key]["file_name"] for key in images}

    predictor = Predictor(cfg, fuse=False)
    start = time.process_time()
    path = write_model(cfg, Path(f"output/bench/{BENCH}/grounder{SUFFIXES[engine]}"), list(files.values())[:2])
    export_seconds = time.process_time() - start
    session = ENGINES[engine](path, threads=1)
    task = GroundingTask(parse_entries(entries_of_session(session, path), str(path)).metadata)
    seconds = {"model": 0.0, "file": 0.0}
    totals: dict[str, float] = defaultdict(float)
    for key, texts in asked.items():
        pixels = read_image(files[key])
        camera = Camera(np.array(images[key]["P"]), np.array(images[key]["ground_plane"]))
        sentences = [{"id": number, "text": text} for number, text in enumerate(texts)]
        start = time.process_time()
        ours = predictor(np.ascontiguousarray(pixels[:, :, ::-1]), camera, expressions=sentences)["groundings"]
        seconds["model"] += time.process_time() - start
        start = time.process_time()
        outputs = session.run(task.inputs([pixels], sentences=texts, camera=camera))
        seconds["file"] += time.process_time() - start
        (theirs,) = task.results(outputs, [pixels], sentences=texts)
        for one, other in zip(ours, theirs["groundings"], strict=True):
            add_comparison(totals, one, other, task.threshold)
    return {
        **totals, "images": len(asked), "file_megabytes": path.stat().st_size / 1e6,
        "processor_seconds_to_export": export_seconds,
        **{f"processor_seconds_per_image_{name}": s / len(asked) for name, s in seconds.items()},
    }  # fmt: skip


def add_comparison(totals: dict[str, float], ours: dict[str, Any], theirs: dict[str, Any], threshold: float) -> None:
    """Count a sentence, whether its answers are equal, and keep the largest deviations of equal ones."""
    kept = np.asarray(ours["scores"]) >= threshold
    expected = {name: np.asarray(ours[name])[kept] for name in ("scores", "boxes", "boxes_xyxy")}
    same = len(expected["scores"]) == len(theirs["scores"])
    off = {name: np.abs(expected[name] - theirs[name]).max(initial=0) for name in expected} if same else {}
    same = same and off["boxes"] <= METERS
    totals["sentences"] += 1
    totals["equal_answers"] += same
    totals["empty_answers"] += not kept.any()
    totals["boxes"] += kept.sum()
    for name, value in off.items() if same else ():
        totals[f"largest_deviation_{name}"] = max(totals[f"largest_deviation_{name}"], float(value))


def main() -> None:
    """Run what the arguments ask for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", default=WEIGHTS, help=f"of {CONFIG} (default: {WEIGHTS})")
    parser.add_argument("--engine", choices=tuple(ENGINES), default="onnxruntime", help="that runs the file")
    parser.add_argument("--sentences", type=int, default=50, help="of the validation data (default: 50)")
    args = parser.parse_args()
    torch.set_num_threads(1)
    start = time.perf_counter()
    metrics = compare(args.weights, args.engine, args.sentences)
    record = write_record(
        BENCH, f"{args.engine}_{args.sentences}sentences", metrics=metrics, config=CONFIG, seed=0,
        command=f"python -m benchmarks.mono3dvg.exported_grounder --weights {args.weights} --engine {args.engine} "
        f"--sentences {args.sentences}", seconds=time.perf_counter() - start,
    )  # fmt: skip
    print(json.dumps(record["metrics"], indent=2))


if __name__ == "__main__":
    main()
