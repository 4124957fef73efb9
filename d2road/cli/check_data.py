"""Check a data set before training on it: files, boxes, 3D labels against their images, the ground plane.

    d2road check-data kitti_object_train
    d2road check-data coco:my/annotations.json:my/images --quick
    d2road check-data rope3d:my/roadside:val --sheet output/sheet.jpg --json output/check.json

Exit code: 0 nothing wrong, 1 problems found, 2 cannot run (unknown name, data not there).

Missing or broken files and labels that cannot be read are always problems. What is odd in single objects (3D boxes that
project away from their 2D boxes, dimensions far from those of their type, objects behind the camera) is listed, and a
problem from a share of all objects on (--tolerance); so is a ground plane that half of the objects do not stand on.
"""

import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from d2road.utils.arguments import ArgumentParser, verb_parser
from d2road.utils.errors import ConfigError, report_errors
from d2road.utils.output_files import make_folder
from d2road.utils.values import integer_option, number_option


def build_parser() -> ArgumentParser:
    """The command line."""
    parser = verb_parser("check-data", __doc__)
    parser.add_argument("name", metavar="NAME|PATH", help="registered name, or format:path (docs/custom_data.md)")
    parser.add_argument("--quick", action="store_true", help="only see whether images are there, do not open them")
    parser.add_argument(
        "--workers", type=integer_option(1), default=min(4, os.cpu_count() or 1), help="threads (default: %(default)s)"
    )
    parser.add_argument("--sheet", default="", metavar="FILE", help="write a contact sheet of labelled images")
    parser.add_argument(
        "--sheet-images",
        "--sheet-pictures",
        type=integer_option(1),
        default=12,
        help="images on it (default: %(default)s)",
    )
    parser.add_argument("--json", default="", metavar="FILE", help="write the report as JSON")
    parser.add_argument(
        "--tolerance",
        type=number_option(0, 1),
        default=0.01,
        help="share of objects that may be odd (default: %(default)s)",
    )
    return parser


@report_errors
def main(argv: Sequence[str] | None = None) -> int:
    """Check; returns the exit code."""
    args = build_parser().parse_args(argv)
    if args.workers < 1 or args.sheet_images < 1 or not 0 <= args.tolerance <= 1:
        raise ConfigError("--workers and --sheet-images are 1 or more, --tolerance is a share from 0 to 1")
    from d2road.config import make_cfg
    from d2road.data.inspection.dataset_inspection import inspect_dataset
    from d2road.data.inspection.inspection_report import report_text
    from d2road.utils.output_files import write_json

    make_cfg()  # every system registers its data sets
    report, records = inspect_dataset(
        args.name, decode=not args.quick, workers=args.workers, tolerance=args.tolerance, log=_progress
    )
    if args.sheet and records:
        from d2road.data.inspection.label_drawing import write_label_sheet

        away = report.get("projection", {}).get("away", [])[: args.sheet_images // 3]
        worst = [entry["frame"] for entry in away]
        write_label_sheet(Path(args.sheet), records, args.name, worst, args.sheet_images, _progress)
    if args.json:
        make_folder(Path(args.json).parent)
        write_json(args.json, json.loads(json.dumps(report, default=str)))
    print(report_text(report))
    return 1 if report["problems"] else 0


def _progress(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
