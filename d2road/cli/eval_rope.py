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
import logging
import sys
from collections.abc import Sequence
from pathlib import Path

from d2road.evaluation.results import write_results
from d2road.evaluation.rope_files import read_rope_folders
from d2road.evaluation.rope_score import AP_OVERLAPS, evaluate_rope
from d2road.evaluation.rope_similarity import MODES, SIMILARITIES
from d2road.utils.errors import report_errors


@report_errors
def main(argv: Sequence[str] | None = None) -> int:
    """Read, evaluate, print and write."""
    logging.basicConfig(format="%(levelname)s: %(message)s", level=logging.INFO, stream=sys.stderr)
    args = parser().parse_args(argv)
    truth, predictions, cameras = read_rope_folders(
        args.gt, args.pred, args.calib, args.denorm, args.roi, args.split, args.missing_as_empty
    )
    results = evaluate_rope(truth, predictions, cameras, args.mode)
    print(f"{len(cameras)} frames, {len(truth)} labels, {len(predictions)} predictions, mode {args.mode}")
    print(format_table(results))
    if args.json:
        write_results(args.json, results)
    return 0


def parser() -> argparse.ArgumentParser:
    """The command line."""
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--gt", type=Path, required=True, metavar="DIR", help="folder of label files")
    p.add_argument("--pred", type=Path, required=True, metavar="DIR", help="folder of prediction files")
    p.add_argument("--calib", type=Path, required=True, metavar="DIR", help="folder of calibration files (P2: ...)")
    p.add_argument("--denorm", type=Path, required=True, metavar="DIR", help="folder of ground planes (a b c d)")
    p.add_argument("--mode", choices=MODES, default="compat", help="as the published tool, or without its quirks")
    p.add_argument("--json", type=Path, metavar="FILE", help="write the results here")
    p.add_argument(
        "--roi", type=Path, metavar="DIR", help="masks FX_*.jpg; labels and predictions outside are left out"
    )
    p.add_argument("--split", type=Path, metavar="FILE", help="names of the frames to evaluate, one a line")
    p.add_argument(
        "--missing-as-empty",
        action="store_true",
        help="a frame without a prediction file has no detections; otherwise that is an error",
    )
    return p


def format_table(results: dict) -> str:
    """A line for each class, and one for each of its ranges."""
    overlaps = [f"{value:g}" for value in AP_OVERLAPS]
    heads = ["matched", *SIMILARITIES, "S", *(f"{name}@{v}" for name in ("AP", "Rope") for v in overlaps)]
    lines = [f"{'class':<14}{'range':<8}" + "".join(f"{head:>9}" for head in heads)]
    for name, scores in results.items():
        tail = [scores[key][v] for key in ("AP", "Rope") for v in overlaps]
        lines.append(f"{name:<14}{'all':<8}" + _cells(scores) + "".join(_cell(value, 2) for value in tail))
        lines += [f"{'':<14}{label:<8}{_cells(part)}" for label, part in scores["by_range"].items()]
    return "\n".join(lines)


def _cells(scores: dict) -> str:
    return f"{scores['matched']:>9}" + "".join(_cell(scores[key], 3) for key in (*SIMILARITIES, "S"))


def _cell(value: float | None, digits: int) -> str:
    return f"{'-':>9}" if value is None else f"{value:>9.{digits}f}"


if __name__ == "__main__":
    sys.exit(main())
