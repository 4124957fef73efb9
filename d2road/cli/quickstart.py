"""From toy images to boxes: renders the toy roadside data if it is absent, trains briefly, evaluates, draws.

    d2road quickstart                                                   what `make demo` runs: minutes on two cores
    d2road quickstart --images 40 --iterations 20 --output output/quick      a smaller one, on data of its own
    d2road quickstart --video                                a rendered traffic video to tracks, speeds, alarms, a page

It works from any folder. The data comes below $DETECTRON2_DATASETS (or ./datasets), with --images into OUTPUT. A second
call goes on, or is done at once. The detector starts from small weights that this project trained on the toy training
split (MODEL_ZOO.md): training from ImageNet features alone takes longer than a demo should.

With --video it trains nothing: it renders a clip of traffic in which something happens, tracks it with the shipped 3D
detector, fits rules on simulated good traffic of the same view, watches the tracks, and writes OUTPUT/report.html. It
needs the extras traffic and video.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from d2road.utils.arguments import ArgumentParser, verb_parser
from d2road.utils.errors import ConfigError, DataError, report_errors
from d2road.utils.values import integer_option, number_option

if TYPE_CHECKING:  # heavy, as what is imported within functions here
    from detectron2.config import CfgNode

CONFIG = "configs/diffusion_det/toy_roadside/demo.yaml"
DRAWN = 12
HOURS = 12.5  # of good traffic: 2 fit rules, 10 and a little for what windows do not cover count false alarms
MIN_SCORE = 0.35


def build_parser() -> ArgumentParser:
    """The command line."""
    parser = verb_parser("quickstart", __doc__)
    parser.add_argument(
        "--output", type=Path, metavar="DIR", help="(default: output/demo; with --video output/demo_video)"
    )
    parser.add_argument(
        "--iterations", type=integer_option(1), metavar="N", help="training steps (default: the config's)"
    )
    parser.add_argument(
        "--images",
        type=integer_option(1),
        metavar="N",
        help="train on N images and validate on half as many, rendered into OUTPUT",
    )
    parser.add_argument("--video", action="store_true", help="a traffic video to one page of tracks, speeds and alarms")
    parser.add_argument(
        "--seconds", type=number_option(20, 600), default=40.0, metavar="S", help="of the video (default: %(default)s)"
    )
    parser.add_argument(
        "--hours",
        type=number_option(0.5),
        default=HOURS,
        metavar="H",
        help="of simulated good traffic that rules and threshold of the video come from (default: %(default)s)",
    )
    parser.add_argument("--seed", type=integer_option(0), default=0, metavar="N", help="of the video (default: 0)")
    parser.add_argument("--device", default="", help="cuda, cuda:1, mps or cpu (default: what this machine has)")
    return parser


def render_data(args: argparse.Namespace) -> list[str]:
    """Render what is not there yet; returns the KEY VALUE pairs that name the data."""
    from d2road.data.datasets.builtin import datasets_root
    from d2road.synthetic.roadside import make_toy_roadside

    workers = os.cpu_count() or 1
    if args.images is not None:
        folder = args.output / "toy_roadside"
        try:
            make_toy_roadside(folder, train=args.images, val=max(1, args.images // 2), workers=workers)
        except DataError as error:  # its cure is an option that is not here
            raise ConfigError(
                f"{args.output} holds another quickstart: delete it or choose another --output"
            ) from error
        names = {split: f"coco:{folder}/annotations/instances_{split}.json:{folder}" for split in ("train", "val")}
        return ["DATASETS.TRAIN", names["train"], "DATASETS.TEST", names["val"]]
    folder = datasets_root() / "toy_roadside"
    if not (folder / "annotations" / "instances_val.json").is_file():  # written last
        print(f"rendering the toy roadside data into {folder}: minutes, once")
        make_toy_roadside(folder, workers=workers)
    return []


def train_and_evaluate(cfg: CfgNode) -> dict[str, Any]:
    """Results of the finished training, {task: {metric: value}}; trains or resumes where it is not finished."""
    from d2road.engine import Trainer, setup
    from d2road.utils.input_files import read_json

    folder = Path(cfg.OUTPUT_DIR)
    finished = folder / "results.json"
    if (
        finished.is_file()
        and (folder / "model_final.pth").is_file()
        and _length_in(folder) in (None, cfg.SOLVER.MAX_ITER)
    ):
        print(f"training and evaluation are done already: {finished}")
        return read_json(finished, "results", "Delete it and run again")
    print(f"training starts from {cfg.MODEL.WEIGHTS}: trained on the toy training split, see d2road zoo info")
    setup(cfg, argparse.Namespace(eval_only=False, config_file=CONFIG))
    trainer = Trainer(cfg)
    trainer.resume_or_load(resume=True)
    return trainer.train()


def _length_in(folder: Path) -> int | None:
    """SOLVER.MAX_ITER of the training in a folder; None if it does not say."""
    from d2road.engine.resume_check import flat_config
    from d2road.utils.input_files import read_text

    path = folder / "config.yaml"
    return flat_config(read_text(path)).get("SOLVER.MAX_ITER") if path.is_file() else None


def draw_validation_images(cfg: CfgNode, folder: Path) -> list[Path]:
    """Annotated validation images: predictions in solid, labels in dashed lines, and one sheet of them all."""
    import numpy as np
    from detectron2.data import DatasetCatalog, MetadataCatalog
    from detectron2.structures import BoxMode

    from d2road.engine import Predictor
    from d2road.utils.image_io import read_image, write_image
    from d2road.utils.output_files import make_folder
    from d2road.utils.progress import track
    from d2road.visualization import contact_sheet, draw_instances

    name = cfg.DATASETS.TEST[0]
    records: list[dict[str, Any]] = DatasetCatalog.get(name)
    chosen = [records[i] for i in dict.fromkeys(np.linspace(0, len(records) - 1, DRAWN).astype(int).tolist())]
    paths = [folder / f"{Path(record['file_name']).stem}.jpg" for record in chosen] + [folder / "sheet.jpg"]
    if all(path.is_file() for path in paths):
        return paths
    make_folder(folder)
    classes = MetadataCatalog.get(name).thing_classes
    predict = Predictor(cfg, Path(cfg.OUTPUT_DIR) / "model_final.pth")
    sheet = []
    for record, path in track(list(zip(chosen, paths)), label="drawings"):
        found = predict(record["file_name"])["instances"]
        labels = [a for a in record["annotations"] if not a.get("iscrowd", 0)]
        boxes = [BoxMode.convert(a["bbox"], a["bbox_mode"], BoxMode.XYXY_ABS) for a in labels]
        drawn = draw_instances(
            read_image(record["file_name"]),
            found.pred_boxes.tensor.numpy(),
            found.pred_classes.numpy(),
            found.scores.numpy(),
            class_names=classes,
            min_score=MIN_SCORE,
            truth_boxes_xyxy=np.array(boxes).reshape(-1, 4),
            truth_class_ids=np.array([a["category_id"] for a in labels], dtype=int),
        )
        sheet.append(drawn)
        write_image(path, drawn)
    write_image(paths[-1], contact_sheet(sheet[:6], columns=2))
    return paths


def write_table(cfg: CfgNode, results: Mapping[str, Any], path: Path) -> str:
    """The results as a Markdown table, written to `path`."""
    from d2road.utils.markdown import markdown_table
    from d2road.utils.output_files import atomic_write

    metrics = {name: value for name, value in results["bbox"].items() if value is not None}
    lines = [f"DiffusionDet on {cfg.DATASETS.TEST[0]}, {CONFIG}, seed {cfg.SEED}", ""]
    lines += markdown_table(["metric", "%"], [[name, f"{value:.1f}"] for name, value in metrics.items()])
    text = "\n".join(lines) + "\n"
    with atomic_write(path, "w") as file:
        file.write(text)
    return text


def video_quickstart(args: argparse.Namespace) -> int:
    """From a rendered traffic video to a page; returns the exit code.

    Raises:
        ConfigError: an option that belongs to the images.
    """
    given = [f"--{name}" for name in ("iterations", "images") if getattr(args, name) is not None]
    if given:
        raise ConfigError(f"{' and '.join(given)}: belongs to the training, --video has none; leave it away")
    from d2road.cli._quickstart_video import run_video_quickstart
    from d2road.utils.output_files import make_folder
    from d2road.utils.run_lock import lock_folder

    with lock_folder(make_folder(args.output), "quickstart", "choose another --output"):
        return run_video_quickstart(args)


@report_errors
def main(argv: Sequence[str] | None = None) -> int:
    """Render, train, evaluate and draw, or do the video's part; returns the exit code."""
    args = build_parser().parse_args(argv)
    for option in ("iterations", "images"):
        value = getattr(args, option)
        if value is not None and value < 1:
            raise ConfigError(f"--{option} is {value}, expected 1 or more")
    if args.output is None:
        args.output = Path("output/demo_video" if args.video else "output/demo")
    if args.video:
        return video_quickstart(args)
    from d2road.config import setup_cfg

    opts = render_data(args) + ["OUTPUT_DIR", str(args.output / "train")]
    if args.iterations is not None:
        opts += ["SOLVER.MAX_ITER", str(args.iterations)]
    if args.device:
        opts += ["MODEL.DEVICE", args.device]
    cfg = setup_cfg(argparse.Namespace(config_file=CONFIG, opts=opts))
    results = train_and_evaluate(cfg)
    drawings = draw_validation_images(cfg, args.output / "pictures")
    print(write_table(cfg, results, args.output / "results.md"))
    print(f"results: {args.output / 'results.md'}\ndrawings: {args.output / 'pictures'} (start with {drawings[-1]})")
    return 0


if __name__ == "__main__":
    sys.exit(main())
