"""Run a model over images and videos, and write annotated copies and one table of all that was found.

    d2road predict --config-file configs/diffusion_det/coco/resnet50.yaml \\
        --input street.jpg "frames/*.png" clip.mp4 list.txt shard.tar --output output/predictions \\
        [--confidence 0.5] [--calib FILE|DIR [--denorm FILE|DIR]] --weights model.pth [KEY VALUE ...]
    d2road predict ... --batch-size 8 --num-gpus 4 --format parquet --no-drawings      many images
    d2road predict ... --resume                                                        after a stop or a crash

Inputs are files, folders, patterns, text files (.txt) with an input a line, and tar archives (.tar, .tar.gz, .tgz, ...)
whose images are read without unpacking them. A file that cannot be read is reported, the others are worked off, and the
exit code is 1; it is 2 where the model or the options are wrong. What is found depends on the pixels alone: not on
names, order, batches or other inputs.

Of a detector OUTPUT/predictions.json holds COCO results ({"image_id", "category_id", "bbox": [x, y, width, height],
"score"}) with the file name and, for videos, the frame's number. --format jsonl or parquet writes the same rows as
predictions.jsonl or predictions.parquet, and inputs.csv with a line for each input.

Models of anomalies give heat maps, in the same colours for all images, and OUTPUT/scores.csv with a line for each:
file, (frame,) score, threshold, verdict, teacher. An image is anomalous if its score is above the threshold that was
calibrated on good images.

Models that estimate 3D need the camera: --calib is a file with a line "P2: 12 numbers", --denorm one with the ground
plane "a b c d" (a x + b y + c z + d = 0, camera frame), each for all inputs, or a folder that holds STEM.txt for each;
or --calib is the camera.yaml of `d2road calibrate-camera`, which has both.
They draw 3D boxes with the scene from above beside them, and write location (bottom centre, camera frame, m),
dimensions_hwl (m) and rotation_y (rad; about the ground's normal with --denorm, else about the camera's y axis).
Their score is that of the box in the image, which --confidence looks at, times the expected overlap in 3D.

Models of grounding answer sentences: --text "..." (several in quotes), --text-file (one a line; empty lines are left
out). Each is drawn over a copy of the image of its own, its words shaded by their relevance, and OUTPUT/
predictions.json has for each image and sentence text, boxes (x, y, z, h, w, l, ry), scores, boxes_xyxy,
category_names and words. --confidence is the model's own threshold unless it is given.

Models whose classifier takes text (MODEL.DiffusionDet.CLASSIFIER text) find what words say: --classes "white car"
"red truck" in place of the classes of their training, which results then name.

--num-gpus N takes N processes, on a machine without GPUs on its CPU; torchrun starts them too. OUTPUT/.journal keeps
what each has done: --resume goes on there with the same weights, config and options, and works off inputs that are new,
have changed, or failed.
"""

import argparse
import logging
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from d2road.utils.arguments import ArgumentParser, add_verbose, verb_parser
from d2road.utils.console import start_console
from d2road.utils.errors import ConfigError, DataError, report_errors
from d2road.utils.input_files import text_lines
from d2road.utils.values import integer_option


def build_parser() -> ArgumentParser:
    """The command line."""
    parser = verb_parser("predict", __doc__)
    parser.add_argument(
        "--input",
        nargs="+",
        required=True,
        help="images, videos, folders, patterns like 'a/*.png', lists (.txt), archives (.tar)",
    )
    parser.add_argument("--output", required=True, metavar="DIR", help="folder for annotated copies and what was found")
    parser.add_argument(
        "--confidence",
        "--conf",
        type=_share,
        help="lowest score of boxes to draw and write (default: 0.5, or the model's own)",
    )
    parser.add_argument("--calib", default="", metavar="FILE|DIR", help="calibration, for models that estimate 3D")
    parser.add_argument("--denorm", default="", metavar="FILE|DIR", help="ground plane in the camera frame")
    parser.add_argument("--text", nargs="+", default=[], metavar="SENTENCE", help="for models of grounding")
    parser.add_argument("--text-file", default="", metavar="FILE", help="sentences, one a line")
    parser.add_argument(
        "--classes", nargs="+", default=[], metavar="WORDS", help="what to find, for models whose classifier takes text"
    )
    parser.add_argument("--format", choices=("json", "jsonl", "parquet"), default="", help="of the table")
    parser.add_argument("--no-drawings", action="store_true", help="write the table alone, no annotated copies")
    parser.add_argument(
        "--batch-size", type=integer_option(1), default=1, metavar="N", help="images at a time (default: 1)"
    )
    parser.add_argument(
        *("--num-gpus", "--num-processes"),
        type=integer_option(0),
        default=1,
        metavar="N",
        help="processes on this machine, on GPUs or its CPU (default: 1)",
    )
    parser.add_argument("--resume", action="store_true", help="go on where a prediction into --output was stopped")
    parser.add_argument("--fiftyone", action="store_true", help="show images and predictions in FiftyOne's app then")
    parser.set_defaults(num_machines=1, machine_rank=0, dist_url="auto")
    parser.add_argument("--opts", nargs=argparse.REMAINDER, default=[], dest="more", help=argparse.SUPPRESS)
    add_verbose(parser)
    parser.add_config(required=True)
    return parser


def _share(text: str) -> float:
    value = float(text)
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"{text}: expected a number from 0 to 1")
    return value


def read_sentences(texts: Sequence[str], file: str = "") -> list[str]:
    """The sentences of --text and of --text-file, one a line.

    Raises:
        FileNotFoundError, ValueError: no such file, not UTF-8, a sentence of --text that is empty, or a file of none.
    """
    empty = [i for i, text in enumerate(texts, 1) if not text.strip()]
    if empty:
        raise ConfigError(f"--text: sentence {empty[0]} of {len(texts)} is empty")
    if not file:
        return list(texts)
    if not Path(file).exists():
        raise FileNotFoundError(f"--text-file {file} does not exist (looked from {Path.cwd()})")
    lines = [line.strip() for line in text_lines(file, "--text-file")]
    if not any(lines):
        raise DataError(f"--text-file {file} holds no sentence, expected one a line")
    return [*texts, *(line for line in lines if line)]


def run(args: argparse.Namespace) -> int:
    """Predict; runs in every process. Returns the number of inputs that failed."""
    from detectron2.utils import comm

    from d2road.config import setup_cfg
    from d2road.data.input_cameras import CameraFiles
    from d2road.engine.distributed import locked_output
    from d2road.engine.file_prediction import FileOptions, predict_files

    start_console("d2road", verbose=args.verbose)
    if not comm.is_main_process():
        logging.getLogger("d2road").setLevel(logging.WARNING)
    for option, path in (("--calib", args.calib), ("--denorm", args.denorm)):
        if path and not Path(path).exists():
            raise FileNotFoundError(f"{option} {path} does not exist (looked from {Path.cwd()})")
    cameras, sentences = CameraFiles(args.calib, args.denorm), read_sentences(args.text, args.text_file)
    cfg = setup_cfg(args, predicts=True)
    options = FileOptions(args.batch_size, args.resume, args.format, not args.no_drawings)
    with locked_output(args.output, "prediction", "--output"):
        return predict_files(cfg, args.input, args.output, args.confidence, cameras, sentences, options, args.classes)


@report_errors
def main(argv: Sequence[str] | None = None) -> int:
    """Start the processes and predict; returns the exit code."""
    args = build_parser().parse_args(argv)
    args.opts += args.more
    from d2road.engine import launch
    from d2road.engine.fiftyone_app import open_app, require_fiftyone
    from d2road.engine.prediction_journal import Journal

    if args.fiftyone:
        require_fiftyone()
    try:
        failed = launch(run, args)
    except KeyboardInterrupt:
        print("\nStopped. To go on: the same command with --resume", file=sys.stderr)
        return 130
    if failed is None:  # other processes did it
        failed = Journal(Path(args.output)).failed
    if args.fiftyone and os.environ.get("RANK", "0") == "0":  # under torchrun all processes come here
        open_app(Path(args.output))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
