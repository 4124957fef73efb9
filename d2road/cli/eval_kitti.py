"""KITTI's AP of two folders of text files, one a frame: labels and predictions (with a score as 16th field).

    d2road eval-kitti --gt label_2 --pred predictions [--json ap.json] [--classes car pedestrian] \\
        [--split val.txt] [--iou car=0.5,pedestrian=0.25] [--missing-as-empty]

Evaluated are the frames of --split, else those that have a prediction file. Prints a table; --json FILE writes

    {"car": {"3d": {"R40": [easy, moderate, hard], "R11": [...]}, "bev": ..., "bbox": ..., "aos": ...}, ...}

in percent, null where there is nothing to measure. --iou adds results at further thresholds beside the official ones
(car 0.7, pedestrian 0.5, cyclist 0.5, others 0.5), with the threshold in the metric's name: "3d@0.5", "bev@0.5", ...
The exit code is 0, or 2 for input that cannot be evaluated.
"""

import argparse
import logging
import math
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from d2road.data.frames import read_split
from d2road.evaluation.kitti_objects import Objects, read_labels_folder, read_predictions_folder
from d2road.evaluation.kitti_protocol import CLASSES, evaluate_kitti
from d2road.evaluation.results import write_results
from d2road.utils.errors import ConfigError, report_errors
from d2road.utils.registry import unknown_name

logger = logging.getLogger("d2road.eval_kitti")


@report_errors
def main(argv: Sequence[str] | None = None) -> int:
    """Read, evaluate, print and write."""
    logging.basicConfig(format="%(levelname)s: %(message)s", level=logging.INFO, stream=sys.stderr)
    args = parser().parse_args(argv)
    frames = frames_to_evaluate(args.gt, args.pred, args.split)
    truth = read_labels_folder(args.gt, frames)
    predictions = read_predictions_folder(args.pred, frames, args.missing_as_empty)
    classes = chosen_classes(args.classes, truth, predictions)
    extra = parse_overlaps(args.iou, classes)
    results = evaluate_kitti(truth, predictions, classes, extra_overlaps=extra)
    print(f"{len(frames)} frames, {len(truth)} labels, {len(predictions)} predictions\n{format_table(results)}")
    if args.json:
        write_results(args.json, results)
    return 0


def parser() -> argparse.ArgumentParser:
    """The command line."""
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--gt", type=Path, required=True, metavar="DIR", help="folder of label files")
    p.add_argument("--pred", type=Path, required=True, metavar="DIR", help="folder of prediction files")
    p.add_argument("--json", type=Path, metavar="FILE", help="write the results here")
    p.add_argument(
        "--classes", nargs="+", metavar="CLASS", help=f"types to evaluate, any case (default: {' '.join(CLASSES)})"
    )
    p.add_argument("--split", type=Path, metavar="FILE", help="names of the frames to evaluate, one a line")
    p.add_argument(
        "--iou", nargs="+", default=[], metavar="CLASS=IOU", help="further thresholds, as car=0.5,pedestrian=0.25"
    )
    p.add_argument(
        "--missing-as-empty",
        action="store_true",
        help="a frame of --split without a prediction file has no detections; otherwise that is an error",
    )
    return p


def frames_to_evaluate(gt: Path, pred: Path, split: Path | None) -> list[str]:
    """The frames of the split file, else those that have a prediction file.

    Raises:
        FileNotFoundError: a folder or the split file is missing, or there are no predictions.
        ValueError: a split without frames, or with one twice.
    """
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


def chosen_classes(names: list[str] | None, truth: Objects, predictions: Objects) -> list[str]:
    """Classes in lower case.

    Raises:
        ValueError: a type that neither the data nor KITTI has.
    """
    if names is None:
        return list(CLASSES)
    known = {*CLASSES, *np.unique(truth.type).tolist(), *np.unique(predictions.type).tolist()}
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


def format_table(results: dict) -> str:
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


if __name__ == "__main__":
    sys.exit(main())
