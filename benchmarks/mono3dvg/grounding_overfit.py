"""Overfit check of grounding on a few KITTI frames: sentences are generated over their labels, the model trains on them
and is scored on the same ones. It shows that the parts work together on real images; it says nothing about others.

python -m benchmarks.mono3dvg.grounding_overfit --data FOLDER  KITTI's layout: image_2, label_2, calib (or
    training/image_2, ...)
"""

from collections.abc import Iterable
from pathlib import Path

from detectron2.config import CfgNode

from benchmarks.common.overfit import OverfitCheck, run_overfit_check
from benchmarks.mono3dvg.grounding_study import evaluate_on_true_boxes, evaluate_test_sets, load_trained, save_weights
from mono3dvg.data.grounding_creation import make_grounding
from mono3dvg.language import Recipe

CONFIG = "configs/mono3dvg/kitti/overfit.yaml"
BENCH, NAME = "mono3dvg_overfit", "kitti_seed0"
FOLDER = Path("output/mono3dvg/kitti_overfit")
PER_IMAGE = 12
RULE = (
    "OVERFIT CHECK: trained and scored on the same frames and sentences, and the score threshold chosen on them. Mean "
    "F1 of the sentences, boxes and targets paired one to one by true 3D overlap in the camera frame."
)


def make_dataset(folder: Path) -> str:
    """Write sentences over KITTI's labels; returns the data set by path."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    return make_grounding(f"kitti:{folder}", FOLDER / "grounding.json", Recipe(per_image=PER_IMAGE)).dataset


def options(data: str) -> list[str]:
    """The score threshold is chosen on the same sentences."""
    return ["TEST.GROUNDING.THRESHOLD_DATA", data, "OUTPUT_DIR", str(FOLDER)]


def measure(cfg: CfgNode, data: str, results: dict) -> dict:
    """Answers to the sentences, and what they mean among the labelled boxes; keeps the weights to answer with."""
    model = load_trained(cfg, FOLDER / "model_final.pth")
    metrics = evaluate_test_sets(cfg, model)[data]
    save_weights(model, FOLDER / "model_answering.pth")
    return metrics | {"true_boxes": evaluate_on_true_boxes(cfg, model, data)}


def report(metrics: dict) -> Iterable[str]:
    """What the user is told."""
    f1 = {overlap: groups["overall"] for overlap, groups in metrics["mean_f1"].items()}
    return [RULE, f"mean F1 {f1['0.25']:.1f} at 0.25, {f1['0.5']:.1f} at 0.5"]


def main() -> None:
    """Run the check."""
    check = OverfitCheck(
        BENCH, NAME, CONFIG, "make bench-mono3dvg-kitti DATA=...", RULE, make_dataset, measure, report, options
    )
    run_overfit_check(check, __doc__)


if __name__ == "__main__":
    main()
