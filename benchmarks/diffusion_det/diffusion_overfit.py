"""Overfit check of DiffusionDet on a few COCO images: trains and scores on the same ones. It shows that the parts
work together on real images; it says nothing about other images.

python -m benchmarks.diffusion_det.diffusion_overfit --data FOLDER     with instances_train2017.json and train2017/
"""

from collections.abc import Iterable
from pathlib import Path

from detectron2.config import CfgNode
from detectron2.data import DatasetCatalog, MetadataCatalog

from benchmarks.common.overfit import OverfitCheck, run_overfit_check
from d2road.engine import Predictor
from d2road.utils.image_io import read_image, write_image
from d2road.visualization import contact_sheet, draw_instances

CONFIG = "configs/diffusion_det/coco_subset_overfit.yaml"
BENCH, NAME = "diffusion_overfit", "coco_subset_seed0"


def dataset_of(folder: Path) -> str:
    """The data set by path of COCO's folder layout."""
    return f"coco:{folder / 'instances_train2017.json'}:{folder / 'train2017'}"


def measure(cfg: CfgNode, data: str, results: dict) -> dict:
    """AP of the boxes; also draws some of them."""
    draw(cfg, data)
    return results["bbox"]


def draw(cfg: CfgNode, data: str) -> None:
    """OUTPUT_DIR/pictures.jpg: the first six images with predictions; not under results/, since COCO's images are
    not ours to hand on."""
    predict = Predictor(cfg, Path(cfg.OUTPUT_DIR) / "model_final.pth")
    drawn = []
    for entry in DatasetCatalog.get(data)[:6]:
        found = predict(entry["file_name"])["instances"]
        drawn.append(
            draw_instances(
                read_image(entry["file_name"]),
                found.pred_boxes.tensor.numpy(),
                found.pred_classes.numpy(),
                found.scores.numpy(),
                class_names=MetadataCatalog.get(data).thing_classes,
                min_score=0.5,
            )
        )
    write_image(Path(cfg.OUTPUT_DIR) / "pictures.jpg", contact_sheet(drawn, columns=3))


def report(metrics: dict) -> Iterable[str]:
    """What the user is told."""
    yield f"AP50 on the training images: {metrics['AP50']:.1f}"


def main() -> None:
    """Run the check."""
    check = OverfitCheck(
        BENCH, NAME, CONFIG, "make bench-diffusion-overfit DATA=...", "trained and scored on the same 52 images",
        dataset_of, measure, report,
    )  # fmt: skip
    run_overfit_check(check, __doc__)


if __name__ == "__main__":
    main()
