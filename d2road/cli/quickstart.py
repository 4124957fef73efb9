"""make demo: from toy pictures to boxes. Trains briefly, evaluates, draws; a second call resumes or is done at once.

The detector starts from small weights that this project trained on the toy training split (see `d2road.model_zoo`):
training from ImageNet features alone takes longer than a demo should.
"""

import argparse
import json
from pathlib import Path

import numpy as np
from detectron2.config import CfgNode
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.structures import BoxMode

from d2road.config import default_argument_parser, setup_cfg
from d2road.engine import Predictor, Trainer, setup
from d2road.utils.image_io import read_picture, write_picture
from d2road.utils.io import atomic_write
from d2road.utils.markdown import markdown_table
from d2road.utils.progress import track
from d2road.visualization import contact_sheet, draw_instances

CONFIG = "configs/diffusion_det/toy_roadside/demo.yaml"
PICTURES = 12
MIN_SCORE = 0.35


def train_and_evaluate(cfg: CfgNode) -> dict:
    """Results of the finished training, {task: {metric: value}}; trains or resumes where it is not finished."""
    finished = Path(cfg.OUTPUT_DIR) / "results.json"
    if finished.is_file() and (Path(cfg.OUTPUT_DIR) / "model_final.pth").is_file():
        print(f"training and evaluation are done already: {finished}")
        return json.loads(finished.read_text())
    print(
        f"training starts from {cfg.MODEL.WEIGHTS}: trained on the toy training split, see d2road/model_zoo/README.md"
    )
    setup(cfg, argparse.Namespace(eval_only=False, config_file=CONFIG))
    trainer = Trainer(cfg)
    trainer.resume_or_load(resume=True)
    return trainer.train()


def draw_pictures(cfg: CfgNode, folder: Path) -> list[Path]:
    """Annotated validation pictures: predictions in solid, labels in dashed lines, and one sheet of them all."""
    name = cfg.DATASETS.TEST[0]
    dicts = DatasetCatalog.get(name)
    chosen = [dicts[i] for i in np.linspace(0, len(dicts) - 1, PICTURES).astype(int)]
    paths = [folder / f"{Path(d['file_name']).stem}.jpg" for d in chosen] + [folder / "sheet.jpg"]
    if all(p.is_file() for p in paths):
        return paths
    classes = MetadataCatalog.get(name).thing_classes
    predict = Predictor(cfg, Path(cfg.OUTPUT_DIR) / "model_final.pth")
    sheet = []
    for entry, path in track(list(zip(chosen, paths)), label="pictures"):
        found = predict(entry["file_name"])["instances"]
        image = read_picture(entry["file_name"])
        labels = [a for a in entry["annotations"] if not a.get("iscrowd", 0)]
        drawn = draw_instances(
            image,
            found.pred_boxes.tensor.numpy(),
            found.pred_classes.numpy(),
            found.scores.numpy(),
            class_names=classes,
            min_score=MIN_SCORE,
            truth_boxes_xyxy=np.array([BoxMode.convert(a["bbox"], a["bbox_mode"], BoxMode.XYXY_ABS) for a in labels]),
            truth_class_ids=np.array([a["category_id"] for a in labels], dtype=int),
        )
        sheet.append(drawn)
        write_picture(path, drawn)
    write_picture(paths[-1], contact_sheet(sheet[:6], columns=2))
    return paths


def write_table(cfg: CfgNode, results: dict, path: Path) -> str:
    """The results as a Markdown table, written to `path`."""
    metrics = {k: v for k, v in results["bbox"].items() if v is not None}
    lines = [f"DiffusionDet on {cfg.DATASETS.TEST[0]}, {CONFIG}, seed {cfg.SEED}", ""]
    lines += markdown_table(["metric", "%"], [[name, f"{value:.1f}"] for name, value in metrics.items()])
    text = "\n".join(lines) + "\n"
    with atomic_write(path, "w") as file:
        file.write(text)
    return text


def main() -> None:
    """Run all parts."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, default=Path("output/demo"))
    args = parser.parse_args()
    opts = ["OUTPUT_DIR", str(args.output / "train")]
    cfg = setup_cfg(default_argument_parser().parse_args(["--config-file", CONFIG, *opts]))
    results = train_and_evaluate(cfg)
    (args.output / "pictures").mkdir(parents=True, exist_ok=True)
    pictures = draw_pictures(cfg, args.output / "pictures")
    print(write_table(cfg, results, args.output / "results.md"))
    print(f"results: {args.output / 'results.md'}\npictures: {args.output / 'pictures'} (start with {pictures[-1]})")


if __name__ == "__main__":
    main()
