"""Overfit check of DiffusionDet on a few COCO pictures: trains and scores on the same ones. It shows that the parts
work together on real pictures; it says nothing about other pictures.

python -m benchmarks.diffusion_det.diffusion_overfit --data FOLDER     with instances_train2017.json and train2017/
"""

import argparse
import time
from pathlib import Path

import cv2
from detectron2.data import DatasetCatalog, MetadataCatalog

from benchmarks.common.records import read_record, record_path, write_record
from benchmarks.common.trainings import config_on, train_to_end
from d2road.engine import Predictor
from d2road.visualization import contact_sheet, draw_instances

CONFIG = "configs/diffusion_det/coco_subset_overfit.yaml"
BENCH, NAME = "diffusion_overfit", "coco_subset_seed0"


def main() -> None:
    """Train (or resume), evaluate on the training pictures, draw six of them, keep the record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    args = parser.parse_args()
    if read_record(BENCH, NAME) is not None:
        print(f"done already: {record_path(BENCH, NAME)}")
        return
    data = f"coco:{args.data / 'instances_train2017.json'}:{args.data / 'train2017'}"
    cfg = config_on(CONFIG, data)
    start = time.perf_counter()
    resumed_at, results = train_to_end(cfg, CONFIG)
    draw(cfg, data)
    write_record(
        BENCH, NAME, metrics=results["bbox"], config=CONFIG, command="make bench-diffusion-overfit DATA=...",
        seed=cfg.SEED, seconds=time.perf_counter() - start, first_step_of_this_run=resumed_at,
        note="trained and scored on the same 52 pictures",
    )  # fmt: skip
    print(f"AP50 on the training pictures: {results['bbox']['AP50']:.1f}; record: {record_path(BENCH, NAME)}")


def draw(cfg, data: str) -> None:
    """OUTPUT_DIR/pictures.jpg: the first six pictures with predictions; not under results/, since COCO's pictures are
    not ours to hand on."""
    predict = Predictor(cfg, Path(cfg.OUTPUT_DIR) / "model_final.pth")
    drawn = []
    for entry in DatasetCatalog.get(data)[:6]:
        found = predict(entry["file_name"])["instances"]
        drawn.append(
            draw_instances(
                cv2.imread(entry["file_name"])[:, :, ::-1],
                found.pred_boxes.tensor.numpy(),
                found.pred_classes.numpy(),
                found.scores.numpy(),
                class_names=MetadataCatalog.get(data).thing_classes,
                min_score=0.5,
            )
        )
    cv2.imwrite(str(Path(cfg.OUTPUT_DIR) / "pictures.jpg"), contact_sheet(drawn, columns=3)[:, :, ::-1])


if __name__ == "__main__":
    main()
