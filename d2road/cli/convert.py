"""Import trained EfficientAD models of other programs, calibrate one anew, or convert grounding or detection data.

    d2road convert --source anomalib model.ckpt OUT.pth [KEY VALUE ...]
    d2road convert --source nelson1425 FOLDER OUT.pth --unsafe-pickle --calibrate-on GOOD_IMAGES
    d2road convert --source own --config-file CONFIG --calibrate-on GOOD_IMAGES IN.pth OUT.pth

FOLDER is the output of nelson1425's training (teacher_final.pth, student_final.pth, autoencoder_final.pth). OUT.pth is
what MODEL.WEIGHTS takes; beside it OUT.yaml is the config that belongs to it.

    d2road convert --source mono3drefer:ROOT:test --output FILE
    d2road convert --source monomulti3d:FILE_OR_DIR --images DIR --calib DIR [--denorm DIR] [--labels DIR] --output FILE
    d2road convert --source kitti:ROOT[:SPLIT] --output FILE                     (rope3d:ROOT:train|val likewise)

These write the schema of docs/grounding_data.md, the last without sentences (`d2road make-data grounding` makes them
with sentences). The converted data is used as grounding:FILE:IMAGES, where IMAGES is the folder that is named at the
end.

    d2road convert --source yolo:DATA.yaml[:SPLIT] --output FILE                     (2D boxes: docs/bridges.md)
    d2road convert --source voc:ROOT[:SPLIT] [--images DIR] [--voc-corners pixels|edges] --output FILE
    d2road convert --source label-studio:EXPORT.json --images DIR --output FILE
    d2road convert --source cvat:ANNOTATIONS.xml --images DIR --output FILE
    d2road convert --source coco:ANNOTATIONS.json:IMAGES --to yolo|voc --output DIR [--split NAME] [--link]
    d2road convert --source coco:ANNOTATIONS.json:IMAGES --to label-studio --output FILE
        [--predictions coco_instances_results.json] [--confidence 0.3]

Without --to these write COCO's JSON, and any of the five sources may be converted to any target. What is there already
is never replaced. The exit code is 0, or 2 for input that cannot be converted.
"""

import argparse
import logging
import sys
from collections.abc import Sequence
from pathlib import Path

from d2road.utils.arguments import ArgumentParser, verb_parser
from d2road.utils.errors import ConfigError, report_errors
from d2road.utils.values import number_option

MODEL_SOURCES = ("nelson1425", "anomalib", "own")
BOX_SOURCES = ("coco", "yolo", "voc", "label-studio", "cvat")
BOX_TARGETS = ("coco", "yolo", "voc", "label-studio")
VOC_CORNERS = ("pixels", "edges")


def build_parser() -> ArgumentParser:
    """The command line."""
    parser = verb_parser("convert", __doc__)
    parser.add_argument(
        "--source", required=True, help=f"{', '.join(MODEL_SOURCES)}, or data by its name: see the examples"
    )
    parser.add_file("input", "IN", "checkpoint, or folder of a nelson1425 training")
    parser.add_file("output", "OUT", "the .pth, JSON file or folder to write")
    models = parser.add_argument_group("models")
    models.add_argument("--calibrate-on", type=Path, metavar="DIR", help="folder of good images, searched in depth")
    models.add_argument(
        "--unsafe-pickle", action="store_true", help="unpickle whole models: this runs what is in the files"
    )
    data = parser.add_argument_group("grounding data")
    data.add_argument(
        "--images", default="", metavar="DIR", help="folder of the images; found by itself but for monomulti3d"
    )
    data.add_argument("--calib", default="", metavar="DIR", help="monomulti3d: Rope3D's calib folder")
    data.add_argument("--denorm", default="", metavar="DIR", help="monomulti3d: Rope3D's denorm folder (ground planes)")
    data.add_argument(
        "--labels", default="", metavar="DIR", help="monomulti3d: folder of label files, with all objects"
    )
    add_box_options(parser)
    parser.add_config()
    return parser


def add_box_options(parser: ArgumentParser) -> None:
    """Options of 2D detection data."""
    boxes = parser.add_argument_group("2D boxes")
    boxes.add_argument("--to", choices=BOX_TARGETS, help="format to write (default: coco)")
    boxes.add_argument("--split", default="", metavar="NAME", help="yolo, voc: split to write (default: train)")
    boxes.add_argument("--link", action="store_true", help="yolo, voc: link to the images instead of copying them")
    boxes.add_argument(
        "--voc-corners",
        choices=VOC_CORNERS,
        default="",
        help="whether VOC's corners are pixel indices from 1, or edges",
    )
    boxes.add_argument(
        "--predictions", default="", metavar="FILE", help="label-studio: COCO results in place of labels"
    )
    boxes.add_argument(
        "--confidence",
        type=number_option(0, 1),
        default=0.0,
        metavar="S",
        help="the least of --predictions (default: 0)",
    )
    boxes.add_argument("--url", default="", metavar="PREFIX", help="label-studio: what stands before the file names")


def convert_model(args: argparse.Namespace) -> None:
    """Import or calibrate a model."""
    if args.input is None or args.output is None:
        raise ConfigError(f"--source {args.source} needs IN and OUT: what to convert, and the .pth to write")
    from efficientad.conversion import convert_model as convert

    convert(
        args.source,
        args.input,
        Path(args.output),
        config_file=args.config_file,
        opts=args.opts,
        calibrate_on=args.calibrate_on,
        unsafe_pickle=args.unsafe_pickle,
    )


def place_output(args: argparse.Namespace, what: str) -> None:
    """Let `source` be a whole name and `output` what is written, however they were given."""
    if ":" not in args.source and args.input is not None and args.output is not None:
        args.source = f"{args.source}:{args.input}"
    elif args.output is None:  # a single word by position
        args.output = args.input
    if args.output is None:
        raise ConfigError(f"--source {args.source} needs --output, the {what} to write")


def convert_boxes(args: argparse.Namespace) -> None:
    """Convert 2D detection data."""
    place_output(args, "folder" if args.to in ("yolo", "voc") else "file")
    from d2road.data.bridges import convert_boxes as convert

    names = ("images", "split", "voc_corners", "link", "predictions", "confidence", "url")
    options = {name: getattr(args, name) for name in names}
    done = convert(args.source, args.output, args.to or "coco", **options)
    print("\n".join([*done.lines, f"to use it: {done.usage}"]))


def convert_grounding(args: argparse.Namespace) -> None:
    """Convert grounding data, or label files."""
    place_output(args, "grounding file")
    from mono3dvg.data.grounding_creation import convert_grounding as convert

    folders = {name: getattr(args, name) for name in ("images", "calib", "denorm", "labels")}
    written = convert(args.source, args.output, **folders)
    print(f"{written.contents}\nto use it: {written.dataset}")


@report_errors
def main(argv: Sequence[str] | None = None) -> int:
    """Convert; returns the exit code."""
    args = build_parser().parse_args(argv)
    if args.source in MODEL_SOURCES:
        logging.basicConfig(level=logging.INFO, format="%(message)s")
        convert_model(args)
    else:
        logging.basicConfig(format="%(levelname)s: %(message)s", level=logging.INFO, stream=sys.stderr)
        is_boxes = args.to or args.source.partition(":")[0] in BOX_SOURCES
        (convert_boxes if is_boxes else convert_grounding)(args)
    return 0


if __name__ == "__main__":
    sys.exit(main())
