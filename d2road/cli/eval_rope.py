"""Rope3D's scores of two folders of text files, one a frame: labels and predictions (with a score as 16th field).

    d2road eval-rope --gt label_2 --pred predictions --calib calib --denorm denorm [--json rope.json] \\
        [--mode compat|true] [--roi masks] [--split val.txt] [--missing-as-empty]

Types are merged to car, big_vehicle, cyclist and pedestrian (merged files are fine). Evaluated are the frames of
--split, else those that have a label file. Prints a table; --json FILE writes

    {"car": {"matched": n, "ACS": ..., "AOS": ..., "AAS": ..., "AGS": ..., "S": ...,
             "by_range": {"0-30": {"matched": n, "ACS": ..., ...}, "30-60": ..., "60-90": ..., "90-120": ...},
             "AP": {"0.5": ..., "0.7": ...}, "Rope": {"0.5": ..., "0.7": ...}}, ...}

Similarities and S are fractions, AP and Rope percentages; null where nothing can be measured. --mode compat equals the
published tool in the similarities, and for AP takes boxes as camera-upright, as published tables do; --mode true has
none of its quirks and takes boxes as standing on the ground (docs/evaluation.md lists every difference).
The exit code is 0, or 2 for input that cannot be evaluated.
"""

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from d2road.cli._eval_common import add_label_folders, evaluation_parser, run_evaluation
from d2road.utils.arguments import ArgumentParser
from d2road.utils.errors import report_errors

MODES = ("compat", "true")


def build_parser() -> ArgumentParser:
    """The command line."""
    parser = evaluation_parser("eval-rope", __doc__)
    add_label_folders(parser, "a frame")
    parser.add_argument(
        "--calib", type=Path, required=True, metavar="DIR", help="folder of calibration files (P2: ...)"
    )
    parser.add_argument("--denorm", type=Path, required=True, metavar="DIR", help="folder of ground planes (a b c d)")
    parser.add_argument("--mode", choices=MODES, default="compat", help="as the published tool, or without its quirks")
    parser.add_argument(
        "--roi", type=Path, metavar="DIR", help="masks FX_*.jpg; labels and predictions outside are left out"
    )
    return parser


def judge(args: argparse.Namespace) -> tuple[dict[str, Any], str]:
    """Scores of each class, and the table.

    Raises:
        FileNotFoundError, ValueError: input that cannot be evaluated.
    """
    from d2road.evaluation.box_checks import check_boxes
    from d2road.evaluation.metrics.rope_score import evaluate_rope
    from d2road.evaluation.rope_files import read_rope_folders

    truth, predictions, cameras = read_rope_folders(
        args.gt, args.pred, args.calib, args.denorm, args.roi, args.split, args.missing_as_empty
    )
    check_boxes(truth, predictions)
    results = evaluate_rope(truth, predictions, cameras, args.mode)
    counts = f"{len(cameras)} frames, {len(truth)} labels, {len(predictions)} predictions, mode {args.mode}"
    return results, f"{counts}\n{format_table(results)}"


def format_table(results: Mapping[str, Any]) -> str:
    """A line for each class, and one for each of its ranges."""
    from d2road.evaluation.metrics.rope_score import AP_OVERLAPS
    from d2road.evaluation.metrics.rope_similarity import SIMILARITIES

    overlaps = [f"{value:g}" for value in AP_OVERLAPS]
    keys = [*SIMILARITIES, "S"]
    heads = ["matched", *keys, *(f"{name}@{v}" for name in ("AP", "Rope") for v in overlaps)]
    lines = [f"{'class':<14}{'range':<8}" + "".join(f"{head:>9}" for head in heads)]
    for name, scores in results.items():
        tail = [scores[key][v] for key in ("AP", "Rope") for v in overlaps]
        lines.append(f"{name:<14}{'all':<8}" + _cells(scores, keys) + "".join(_cell(value, 2) for value in tail))
        lines += [f"{'':<14}{label:<8}{_cells(part, keys)}" for label, part in scores["by_range"].items()]
    return "\n".join(lines)


def _cells(scores: Mapping[str, Any], keys: Sequence[str]) -> str:
    return f"{scores['matched']:>9}" + "".join(_cell(scores[key], 3) for key in keys)


def _cell(value: float | None, digits: int) -> str:
    return f"{'-':>9}" if value is None else f"{value:>9.{digits}f}"


@report_errors
def main(argv: Sequence[str] | None = None) -> int:
    """Read, evaluate, print and write; returns the exit code."""
    return run_evaluation(build_parser(), judge, argv)


if __name__ == "__main__":
    sys.exit(main())
