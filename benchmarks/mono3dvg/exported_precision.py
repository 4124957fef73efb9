"""What fp16 and int8 cost the shipped grounder: F1 of its exported file in each on test sentences, as a statement.

python -m benchmarks.mono3dvg.exported_precision            measure what has no record, and print the table

The sentences were chosen before anything was measured: all of every tenth test image. Nothing is chosen by what comes
out; ranges of int8_static come from training views. Records go to benchmarks/results/exported_precision/.
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

from benchmarks.common import exported_models as common
from d2road.cli import eval_grounding
from d2road.data import register_by_name
from d2road.export.engines import OnnxRuntimeSession
from d2road.export.file_metadata import parse_entries
from d2road.runtime.grounding import GroundingTask
from d2road.structures import Camera
from d2road.utils.image_io import read_image
from d2road.utils.output_files import write_json

CONFIG, WEIGHTS = "configs/mono3dvg/toy_grounding/demo.yaml", "zoo:mono3dvg_toy"
EVERY, CALIBRATION_VIEWS = 10, 12
COLUMNS = {"mean_f1_0.25": "mean F1@0.25", "mean_f1_0.5": "mean F1@0.5", "n_acc": "N-acc", "t_acc": "T-acc"}


class View:
    """An image with its camera and sentences, of a data set's JSON."""

    def __init__(self, root: Path, image: dict[str, Any], sentences: list[dict[str, Any]]):
        self.sentences = sentences
        self.pixels = read_image(root / image["file_name"])
        self.camera = Camera(np.array(image["P"]), np.array(image["ground_plane"]))

    def inputs(self, task: GroundingTask) -> dict[str, np.ndarray]:
        """Of the graph."""
        texts = [sentence["text"] for sentence in self.sentences]
        return dict(task.inputs([self.pixels], sentences=texts, camera=self.camera))


def read_views(name: str, every: int, count: int = 0) -> tuple[dict[str, Any], list[View]]:
    """Every so many images of a data set with all their sentences, `count` at most: as the file has them, and read."""
    register_by_name(name)
    metadata = MetadataCatalog.get(name)
    content = json.loads(Path(metadata.json_file).read_text())
    images = content["images"][::every][: count or None]
    ids, asked = {image["id"] for image in images}, defaultdict(list)
    for sentence in content["expressions"]:
        if sentence["image_id"] in ids:
            asked[sentence["image_id"]].append(sentence)
    chosen = {key: [row for row in content[key] if row["image_id"] in ids] for key in ("annotations", "expressions")}
    views = [View(Path(metadata.image_root), image, asked[image["id"]]) for image in images if asked[image["id"]]]
    return {**content, "images": images, **chosen}, views


def evaluate(file: Path, truth: Path, views: list[View], name: str) -> dict[str, Any]:
    """Metrics of a file's answers, by `d2road eval-grounding`."""
    session = OnnxRuntimeSession(file, threads=1)
    task = GroundingTask(parse_entries(session.entries, str(file)).metadata)
    answers, seconds = [], 0.0
    for view in views:
        start = time.process_time()
        outputs = session.run(view.inputs(task))
        (found,) = task.results(outputs, [view.pixels], sentences=[sentence["text"] for sentence in view.sentences])
        seconds += time.process_time() - start
        for sentence, answer in zip(view.sentences, found["groundings"], strict=True):
            rows = {key: np.asarray(answer[key], dtype=np.float64).tolist() for key in ("boxes", "scores")}
            answers.append({"expression_id": sentence["id"], **rows})
    write_json(
        common.PRECISION_FILES / f"{name}.json", {"score_threshold": float(task.threshold), "predictions": answers}
    )
    results = common.PRECISION_FILES / f"{name}_results.json"
    code = eval_grounding.main(
        ["--gt", str(truth), "--pred", str(common.PRECISION_FILES / f"{name}.json"), "--json", str(results)]
    )
    if code:
        raise SystemExit(code)
    measured = json.loads(results.read_text())
    return {
        **{f"mean_f1_{iou}": measured["mean_f1"][iou]["overall"] for iou in ("0.25", "0.5")},
        "n_acc": measured["n_acc"], "t_acc": measured["t_acc"],
        "sentences": len(answers), "images": len(views), "seconds": seconds / len(views),
    }  # fmt: skip


def main() -> None:
    """Measure all precisions and print the table."""
    formatter = argparse.RawDescriptionHelpFormatter
    argparse.ArgumentParser(description=__doc__, formatter_class=formatter).parse_args()
    torch.set_num_threads(1)
    path = common.write_model(common.cpu_config(CONFIG, WEIGHTS), common.PRECISION_FILES / "grounder.onnx")
    truth = common.PRECISION_FILES / "grounding_truth.json"
    content, views = read_views("toy_grounding_test", EVERY)
    write_json(truth, content, indent=None)
    task = GroundingTask(parse_entries(OnnxRuntimeSession(path).entries, str(path)).metadata)
    calibration = [view.inputs(task) for view in read_views("toy_grounding_train", 7, CALIBRATION_VIEWS)[1]]
    common.measure_precisions(
        path, "grounder_{}", calibration, lambda file, name: evaluate(file, truth, views, f"grounder_{name}"),
        config=CONFIG, command="python -m benchmarks.mono3dvg.exported_precision",
    )  # fmt: skip
    common.print_precisions(tuple(COLUMNS.values()), ["grounder_{}"], lambda m: [f"{m[key]:.1f}" for key in COLUMNS])


if __name__ == "__main__":
    main()
