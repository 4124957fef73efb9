"""Overfit check of grounding on a few KITTI frames: sentences are generated over their labels, the model trains on them
and is scored on the same ones. It shows that the parts work together on real pictures; it says nothing about others.

python -m benchmarks.mono3dvg.grounding_overfit --data FOLDER  KITTI's layout: image_2, label_2, calib (or
    training/image_2, ...)
"""

import argparse
import time
from pathlib import Path

from benchmarks.common.records import read_record, record_path, write_record
from benchmarks.common.trainings import train_once
from benchmarks.mono3dvg.grounding_study import answer, judge_objects, load, save_answering
from d2road.config import default_argument_parser, setup_cfg
from datasets.make_grounding import main as make_grounding

CONFIG = "configs/mono3dvg/kitti/overfit.yaml"
BENCH, NAME = "mono3dvg_overfit", "kitti_seed0"
PER_IMAGE = 12
COMMAND = "make bench-mono3dvg-kitti DATA=..."
RULE = (
    "OVERFIT CHECK: trained and scored on the same frames and sentences, and the score threshold chosen on them. Mean "
    "F1 of the sentences, boxes and targets paired one to one by true 3D overlap in the camera frame."
)


def main() -> None:
    """Make sentences, train (or resume), evaluate on the same frames, keep the record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    args = parser.parse_args()
    if read_record(BENCH, NAME) is not None:
        print(f"done already: {record_path(BENCH, NAME)}")
        return
    folder = Path("output/mono3dvg/kitti_overfit")
    folder.mkdir(parents=True, exist_ok=True)
    sentences = folder / "grounding.json"
    made = make_grounding(["--source", f"kitti:{args.data}", "--out", str(sentences), "--per-image", str(PER_IMAGE)])
    if made:
        raise SystemExit(made)  # it has said why
    data = f"grounding:{sentences}:{args.data}"
    opts = ["DATASETS.TRAIN", f"('{data}',)", "DATASETS.TEST", f"('{data}',)"]
    opts += ["MODEL.MONO3DVG.EVALUATION.VALIDATION", data, "OUTPUT_DIR", str(folder)]
    cfg = setup_cfg(default_argument_parser().parse_args(["--config-file", CONFIG, *opts]))
    start = time.perf_counter()
    weights = train_once(cfg, CONFIG, BENCH, f"{NAME}_train", COMMAND)
    model = load(cfg, weights)
    metrics = answer(cfg, model)[data]
    save_answering(model, folder / "model_answering.pth")
    metrics["true_boxes"] = judge_objects(cfg, model, data)
    write_record(
        BENCH, NAME, metrics=metrics, config=CONFIG, command=COMMAND, seed=cfg.SEED,
        seconds=time.perf_counter() - start, note=RULE,
    )  # fmt: skip
    f1 = {overlap: groups["overall"] for overlap, groups in metrics["mean_f1"].items()}
    print(f"{RULE}\nmean F1 {f1['0.25']:.1f} at 0.25, {f1['0.5']:.1f} at 0.5; record: {record_path(BENCH, NAME)}")


if __name__ == "__main__":
    main()
