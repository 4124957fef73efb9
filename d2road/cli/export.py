"""Write a trained model for another program, as one file that proves itself; or make it predict in lower precision.

    d2road export --config-file output/x/config.yaml --weights output/x/model_final.pth OUT.onnx
    d2road export-check OUT.onnx

The format follows from the suffix, or from --format: OUT.onnx for onnxruntime, OUT.xml for OpenVINO (with OUT.bin),
OUT.pt2 for torch.export, OUT.pth for a checkpoint. The first three hold the model with all that comes before and after
its networks, and two test images with what the model found in them: --test-images A B, which then are in the file for
everybody to see, or generated ones. The file is checked at once; the exit code is 1 if it deviates too far.

    d2road export --precision int8 --config-file output/x/config.yaml --weights output/x/model_final.pth OUT.pth
    d2road eval --config-file OUT.yaml

OUT.pth is an anomaly detector in lower precision, or calibrated anew. Of EfficientAD the networks, to bfloat16, or 8
bits by onnxruntime: measures what 8 bits need to know, and the maps' quantiles and the threshold in the new precision.
The weights stay as they were trained: fp32 brings the old model back. Of PatchCore the memory bank, to 8 bits, a
quarter of its size, which is not undone; --precision as it is calibrates anew alone. The good images are those that
the config calibrates on, or --calibrate-on. OUT.pth is what MODEL.WEIGHTS takes; beside it OUT.yaml is the config that
belongs to it. The exit code is 2 for input that cannot be exported.
"""

import argparse
import logging
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from d2road.utils.aliases import present_value
from d2road.utils.arguments import ArgumentParser, verb_parser
from d2road.utils.errors import ConfigError, report_errors
from d2road.utils.values import integer_option

PRECISION_KEY = "INFERENCE.PRECISION"
PRECISIONS = ("fp32", "bf16", "int8")
FORMATS = {".pth": "checkpoint", ".onnx": "onnx", ".xml": "openvino", ".pt2": "torch"}


def build_parser() -> ArgumentParser:
    """The command line."""
    parser = verb_parser("export", __doc__)
    parser.add_file("output", "OUT", f"the file to write: {', '.join(FORMATS)}")
    parser.add_argument("--format", choices=tuple(FORMATS.values()), help="of OUT (default: by its suffix)")
    parser.add_argument(
        *("--precision", "--arithmetic"),  # the second is the name of version 0.1
        type=partial(present_value, PRECISION_KEY),
        choices=PRECISIONS,
        help="of a checkpoint's networks, or of its memory bank (default: int8)",
    )
    parser.add_argument(
        "--calibrate-on", type=Path, metavar="DIR", help="for a checkpoint: folder of good images, searched in depth"
    )
    parser.add_argument(
        "--test-images", nargs=2, default=(), metavar=("A", "B"), help="to put into the file (default: generated ones)"
    )
    parser.add_argument("--steps", type=integer_option(1), metavar="N", help="of DiffusionDet's sampler")
    parser.add_argument("--no-nms", action="store_true", help="leave duplicates to the program that runs the file")
    parser.add_argument(
        "--image-size", nargs=2, type=integer_option(1), metavar=("H", "W"), help="the only size that the graph takes"
    )
    parser.add_config(required=True)
    return parser


@report_errors
def main(argv: Sequence[str] | None = None) -> int:
    """Export; returns the exit code."""
    args = build_parser().parse_args(argv)
    if args.output is None:
        raise ConfigError("name OUT, the file to write")
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    kind = args.format or FORMATS.get(Path(args.output).suffix.lower())
    if kind is None:
        raise ConfigError(f"OUT is {args.output}: expected a file name that ends with {', '.join(FORMATS)}")
    return _export_checkpoint(args) if kind == "checkpoint" else _export_graph(args, kind)


def _export_checkpoint(args: argparse.Namespace) -> int:
    given = {
        "--test-images": args.test_images,
        "--steps": args.steps,
        "--no-nms": args.no_nms,
        "--image-size": args.image_size,
    }
    for option, value in given.items():
        if value:
            raise ConfigError(f"{option} is for files of other programs, OUT is a checkpoint: leave it out")
    from efficientad.conversion import export_model

    export_model(Path(args.output), args.precision or "int8", args.config_file, args.opts, args.calibrate_on)
    return 0


def _export_graph(args: argparse.Namespace, kind: str) -> int:
    for option, value in (("--precision", args.precision), ("--calibrate-on", args.calibrate_on)):
        if value:
            raise ConfigError(
                f"{option} is for a checkpoint: export to OUT.pth with it, then OUT.yaml to {args.output}"
            )
    (suffix,) = (suffix for suffix, name in FORMATS.items() if name == kind)
    if Path(args.output).suffix.lower() != suffix:
        raise ConfigError(f"OUT is {args.output}: a file of --format {kind} ends with {suffix}")
    from d2road.config import setup_cfg
    from d2road.engine.model_export import export_to_file
    from d2road.export.check_file import failure_of, table_of
    from d2road.export.graph import ExportOptions
    from d2road.utils.output_files import check_output, make_folder

    make_folder(Path(args.output).parent)
    check_output(args.output)
    size = (args.image_size[0], args.image_size[1]) if args.image_size else None
    options = ExportOptions(steps=args.steps, nms=not args.no_nms, image_size=size)
    rows = export_to_file(setup_cfg(args, predicts=True), Path(args.output), kind, args.test_images, options)
    print(table_of(rows))
    failure = failure_of(args.output, rows)
    if failure:
        print(failure, file=sys.stderr)
    return 1 if failure else 0


if __name__ == "__main__":
    sys.exit(main())
