"""KITTI's AP of two folders of text files, one a frame: labels and predictions (with a score as 16th field).

    d2road eval-kitti --gt label_2 --pred predictions [--json ap.json] [--classes car pedestrian] \\
        [--split val.txt] [--iou car=0.5,pedestrian=0.25] [--missing-as-empty]

Evaluated are the frames of --split, else those that have a prediction file. Prints a table; --json FILE writes

    {"car": {"3d": {"R40": [easy, moderate, hard], "R11": [...]}, "bev": ..., "bbox": ..., "aos": ...}, ...}

in percent, null where there is nothing to measure. --iou adds results at further thresholds beside the official ones
(car 0.7, pedestrian 0.5, cyclist 0.5, others 0.5), with the threshold in the metric's name: "3d@0.5", "bev@0.5", ...
The exit code is 0, or 2 for input that cannot be evaluated.
"""

from __future__ import annotations

import argparse
import logging
import math
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from d2road.cli._eval_common import add_label_folders, evaluation_parser, run_evaluation
from d2road.utils.arguments import ArgumentParser
from d2road.utils.errors import ConfigError, DataError, report_errors

if TYPE_CHECKING:  # heavy, as what is imported within functions here
    from d2road.evaluation.metrics.kitti_objects import ObjectTable

logger = logging.getLogger("d2road.eval_kitti")


CLASSES = ("car", "pedestrian", "cyclist")  # unless --classes names others
KITTI_TYPES = (*CLASSES, "van", "truck", "tram", "person_sitting", "misc", "dontcare")


def build_parser() -> ArgumentParser:
    """The command line."""
    parser = evaluation_parser("eval-kitti", __doc__)
    add_label_folders(parser, "a frame of --split")
    parser.add_argument(
        "--classes", nargs="+", metavar="CLASS", help=f"types to evaluate, any case (default: {' '.join(CLASSES)})"
    )
    parser.add_argument(
        "--iou", nargs="+", default=[], metavar="CLASS=IOU", help="further thresholds, as car=0.5,pedestrian=0.25"
    )
    return parser


def judge(args: argparse.Namespace) -> tuple[dict[str, Any], str]:
    """AP of each class, and the table.

    Raises:
        FileNotFoundError, ValueError: input that cannot be evaluated.
    """
    from d2road.evaluation.box_checks import check_boxes
    from d2road.evaluation.metrics.kitti_objects import read_labels_folder, read_predictions_folder
    from d2road.evaluation.metrics.kitti_protocol import check_types, evaluate_kitti

    frames = frames_to_evaluate(args.gt, args.pred, args.split)
    truth = read_labels_folder(args.gt, frames)
    predictions = read_predictions_folder(args.pred, frames, args.missing_as_empty)
    classes = chosen_classes(args.classes, truth, predictions)
    extra = parse_overlaps(args.iou, classes)
    try:
        check_types(truth, predictions, classes, KITTI_TYPES)
        check_boxes(truth, predictions)
    except DataError as error:
        raise DataError(f"labels {args.gt}, predictions {args.pred}: {error}") from error
    results = evaluate_kitti(truth, predictions, classes, extra_overlaps=extra)
    counts = f"{len(frames)} frames, {len(truth)} labels, {len(predictions)} predictions"
    return results, f"{counts}\n{format_table(results)}"


def frames_to_evaluate(gt: Path, pred: Path, split: Path | None) -> list[str]:
    """The frames of the split file, else those that have a prediction file.

    Raises:
        FileNotFoundError: a folder or the split file is missing, or there are no predictions.
        ValueError: a split without frames, or with one twice.
    """
    from d2road.data.datasets.split_files import read_split

    for option, folder in (("--gt", gt), ("--pred", pred)):
        if not folder.is_dir():
            raise FileNotFoundError(f"{option} {folder} is not a folder")
    if split is not None:
        return read_split(split)
    frames = sorted(path.stem for path in pred.glob("*.txt"))
    if not frames:
        raise FileNotFoundError(f"--pred {pred} holds no *.txt; expected FRAME.txt for each frame, empty for none")
    left_out = len({path.stem for path in gt.glob("*.txt")} - set(frames))
    if left_out:
        logger.warning("%d label files have no prediction file and are left out; --split names what counts", left_out)
    return frames


def chosen_classes(names: list[str] | None, truth: ObjectTable, predictions: ObjectTable) -> list[str]:
    """Classes in lower case.

    Raises:
        ValueError: a type that neither the data nor KITTI has.
    """
    if names is None:
        return list(CLASSES)
    from d2road.utils.registry import unknown_name

    known = {*CLASSES, *truth.type.tolist(), *predictions.type.tolist()}
    chosen = list(dict.fromkeys(part.strip().lower() for name in names for part in name.split(",") if part.strip()))
    for name in chosen:
        if name not in known:
            raise ConfigError(f"--classes: {unknown_name('type', name, known)}")
    return chosen


def parse_overlaps(texts: list[str], classes: list[str]) -> dict[str, list[float]]:
    """Class -> thresholds, of "car=0.5,pedestrian=0.25".

    Raises:
        ValueError: not CLASS=IOU, a class that is not evaluated, or a threshold outside (0, 1).
    """
    overlaps: dict[str, list[float]] = {}
    for part in (p.strip() for text in texts for p in text.split(",") if p.strip()):
        name, equals, value = (x.strip() for x in part.partition("="))
        try:
            threshold = float(value)
        except ValueError:
            threshold = math.nan
        if not equals or not 0 < threshold < 1:
            raise ConfigError(f"--iou {part!r} does not read as CLASS=IOU with an IoU between 0 and 1, as car=0.5")
        if name.lower() not in classes:
            raise ConfigError(f"--iou {part!r}: {name} is not evaluated; evaluated are {', '.join(classes)}")
        overlaps.setdefault(name.lower(), []).append(threshold)
    return overlaps


def format_table(results: Mapping[str, Mapping[str, Any]]) -> str:
    """R40 and R11 of each class and metric as lines of text."""
    lines = [f"{'class':<14}{'metric':<12}{'R40 easy':>10}{'moderate':>10}{'hard':>10}{'R11 easy':>12}{'moderate':>10}"]
    lines[0] += f"{'hard':>10}"
    for name, metrics in results.items():
        for metric, ap in metrics.items():
            r40, r11 = ([f"{v:.2f}" if math.isfinite(v) else "-" for v in ap[key]] for key in ("R40", "R11"))
            easy, *rest = r11
            cells = "".join(f"{v:>10}" for v in r40) + f"{easy:>12}" + "".join(f"{v:>10}" for v in rest)
            lines.append(f"{name:<14}{metric:<12}{cells}")
    return "\n".join(lines)


@report_errors
def main(argv: Sequence[str] | None = None) -> int:
    """Read, evaluate, print and write; returns the exit code."""
    return run_evaluation(build_parser(), judge, argv)


if __name__ == "__main__":
    sys.exit(main())
