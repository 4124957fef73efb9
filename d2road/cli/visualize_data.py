"""Draw the labels of a data set, alone or with predictions over them, into a folder.

    d2road visualize-data toy_roadside3d_val --output output/drawings --num 12
    d2road visualize-data kitti:my/data --output output/drawings --predictions output/kitti_text
    d2road visualize-data coco:my/val.json:my/images --output output/drawings \\
        --predictions output/inference/coco_instances_results.json --confidence 0.4

Labels alone are drawn in the colours of their classes; with predictions these are, and labels are dashed and white.
Objects in 3D are wire frames whose front is filled, with the scene from above beside the image. The exit code is 0, or
2 where it cannot run or an image cannot be read.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

from d2road.utils.arguments import ArgumentParser, verb_parser
from d2road.utils.errors import report_errors
from d2road.utils.values import integer_option, number_option


def build_parser() -> ArgumentParser:
    """The command line."""
    parser = verb_parser("visualize-data", __doc__)
    parser.add_argument("name", metavar="NAME|PATH", help="registered name, or format:path (docs/custom_data.md)")
    parser.add_argument(
        "--output", "--out", required=True, type=Path, metavar="DIR", help="folder for the drawings and sheet.jpg"
    )
    parser.add_argument(
        "--num", type=integer_option(0), default=12, help="frames to draw, 0 for all (default: %(default)s)"
    )
    parser.add_argument(
        "--seed", type=integer_option(0), default=None, help="take them by chance; without it they are taken evenly"
    )
    parser.add_argument(
        "--predictions", default="", metavar="FILE|DIR", help="coco_instances_results.json or KITTI text folder"
    )
    parser.add_argument(
        "--confidence",
        "--min-score",
        type=number_option(),
        default=0.3,
        help="lowest score of predictions to draw (default: %(default)s)",
    )
    parser.add_argument("--boxes2d", action="store_true", help="draw 2D boxes of objects in 3D too")
    parser.add_argument("--no-bev", action="store_true", help="without the view from above")
    return parser


@report_errors
def main(argv: Sequence[str] | None = None) -> int:
    """Draw; returns the exit code."""
    args = build_parser().parse_args(argv)
    from d2road.config import make_cfg
    from d2road.data.inspection.label_drawing import draw_dataset

    make_cfg()  # every system registers its data sets
    paths = draw_dataset(
        args.name,
        args.output,
        count=args.num,
        seed=args.seed,
        predictions=args.predictions,
        min_score=args.confidence,
        all_boxes2d=args.boxes2d,
        bev=not args.no_bev,
    )
    print(f"{len(paths) - 1} drawings in {args.output} (start with {paths[-1]})")
    return 0


if __name__ == "__main__":
    sys.exit(main())
