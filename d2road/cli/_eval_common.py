"""Skeleton of the verbs that judge prediction files: parse, evaluate, print a table, write JSON."""

import argparse
import logging
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from d2road.utils.arguments import ArgumentParser, verb_parser

# Options -> results for JSON, and the text to print.
Judge = Callable[[argparse.Namespace], tuple[dict[str, Any], str]]


def evaluation_parser(verb: str, description: str | None) -> ArgumentParser:
    """A parser with --json."""
    parser = verb_parser(verb, description)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the results here")
    return parser


def add_label_folders(parser: ArgumentParser, unanswered: str) -> None:
    """Add --gt, --pred, --split and --missing-as-empty: folders with a text file for each frame.

    Args:
        unanswered: which frames --missing-as-empty is about.
    """
    parser.add_argument("--gt", type=Path, required=True, metavar="DIR", help="folder of label files")
    parser.add_argument("--pred", type=Path, required=True, metavar="DIR", help="folder of prediction files")
    parser.add_argument("--split", type=Path, metavar="FILE", help="names of the frames to evaluate, one a line")
    parser.add_argument(
        "--missing-as-empty",
        action="store_true",
        help=f"{unanswered} without a prediction file has no detections; otherwise that is an error",
    )


def run_evaluation(parser: ArgumentParser, judge: Judge, argv: Sequence[str] | None) -> int:
    """Parse, evaluate, print and write; returns the exit code."""
    args = parser.parse_args(argv)
    logging.basicConfig(format="%(levelname)s: %(message)s", level=logging.INFO, stream=sys.stderr)
    results, text = judge(args)
    print(text)
    if args.json:
        from d2road.evaluation.results import write_results

        write_results(args.json, results)
    return 0
