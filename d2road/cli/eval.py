"""Evaluate a trained model on the data of DATASETS.TEST: what `d2road train --eval-only` does.

    d2road eval --config-file configs/diffusion_det/coco/resnet50.yaml --weights model.pth
    d2road eval --config-file output/run/config.yaml --resume         the last checkpoint of the folder of the run
    d2road eval --config-file ... --weights model.pth --json ap.json MODEL.DiffusionDet.SAMPLE_STEP 4

Prints {task: {metric: value}}, which the folder of the run gets as results.json, and --json FILE as well. The exit code
is 0, or 2 after an error in the config or the data.
"""

import argparse
import sys
from collections.abc import Sequence
from typing import Any

from d2road.cli import train
from d2road.utils.arguments import ArgumentParser, add_training_options, verb_parser
from d2road.utils.errors import report_errors


def build_parser() -> ArgumentParser:
    """The command line."""
    parser = verb_parser("eval", __doc__)
    add_training_options(parser, eval_only=False)
    parser.add_argument("--json", metavar="FILE", help="write the results here too")
    parser.set_defaults(eval_only=True)
    return parser


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Evaluate; runs in every process.

    Returns:
        {task: {metric: value}}, in the first process.
    """
    from d2road.evaluation import write_results

    results = train.run(args)
    if args.json and results:
        write_results(args.json, results)
    return results


@report_errors
def main(argv: Sequence[str] | None = None) -> int:
    """Start the processes and evaluate; returns the exit code."""
    args = build_parser().parse_args(argv)
    from d2road.engine import launch

    launch(run, args)
    return 0


if __name__ == "__main__":
    sys.exit(main())
