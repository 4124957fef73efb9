"""3D grounding scored from two files: the data with its sentences, and the answers. No model is needed.

    d2road eval-grounding --gt FILE|NAME --pred FILE [--confidence T | --choose-threshold [--t-acc PERCENT]]
        [--subsets IDFILE] [--json FILE]

--gt is of the schema of docs/grounding_data.md, or the name of a data set of it (toy_grounding_written); --pred holds

    {"score_threshold": T,
     "predictions": [{"expression_id": ..., "boxes": [[x, y, z, h, w, l, ry], ...], "scores": [...]}, ...]}

A sentence without an entry counts as answered by nothing, and is reported. --confidence goes before the file's;
--choose-threshold, for validation data alone, takes the one of the best mean F1@0.25, or with --t-acc PERCENT the
highest at which so many of the sentences that mean something are answered. --subsets is
Mono3DRefer's test_instanceID_split.json; without it the subsets go by rule (mono3dvg/evaluation/subsets.py). Writes
percentages,
null where there is nothing to measure:

    {"acc": {"rotated": {"overall": {"0.25": ..., "0.5": ..., "miou": ...}, "unique": ..., ...}, "mono3dvg": {...}},
     "mean_f1": {"0.25": {"overall": ..., "zt_w_d": ..., "zt_wo_d": ..., "st_w_d": ..., "st_wo_d": ..., "mt": ...},
                 "0.5": {...}},
     "micro": {"0.25": {"precision": ..., "recall": ..., "f1": ...}, "0.5": ..., "0.7": ...},
     "n_acc": ..., "t_acc": ..., "recall_by_distance": {"0-15": {...}, ...}}

and further presence_auroc, exact, by_category, by_tag, by_kind, by_style, score_threshold, counts
(mono3dvg/evaluation/grounding_protocol.py says what they are).
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

from d2road.cli._eval_common import evaluation_parser, run_evaluation
from d2road.utils.arguments import ArgumentParser
from d2road.utils.errors import ConfigError, report_errors
from d2road.utils.values import number_option

if TYPE_CHECKING:  # heavy, as what is imported within functions here
    from mono3dvg.evaluation.prediction_files import Predictions
    from mono3dvg.schema import GroundingData

logger = logging.getLogger("d2road.eval_grounding")
SHOWN = 5  # of the sentences without an answer
PRESENCE = {"n_acc": "N-acc", "t_acc": "T-acc", "presence_auroc": "AUROC of the best score"}


def build_parser() -> ArgumentParser:
    """The command line."""
    parser = evaluation_parser("eval-grounding", __doc__)
    parser.add_argument("--gt", required=True, metavar="FILE|NAME", help="grounding data")
    parser.add_argument("--pred", type=Path, required=True, metavar="FILE", help="answers")
    threshold = parser.add_mutually_exclusive_group()
    threshold.add_argument(
        "--confidence",
        "--score-threshold",
        dest="score_threshold",
        type=number_option(),
        metavar="T",
        help="boxes from this score on are the answer",
    )
    threshold.add_argument(
        "--choose-threshold", action="store_true", help="take the threshold of the best mean F1@0.25 on this data"
    )
    parser.add_argument(
        "--t-acc", type=number_option(0, 100), default=0.0, metavar="PERCENT", help="with --choose-threshold"
    )
    parser.add_argument("--subsets", type=Path, metavar="IDFILE", help="instance ids of the subsets")
    return parser


def judge(args: argparse.Namespace) -> tuple[dict[str, Any], str]:
    """Results of the answers, and the tables.

    Raises:
        FileNotFoundError, ValueError: input that cannot be evaluated.
    """
    from mono3dvg.evaluation.grounding_protocol import evaluate_grounding
    from mono3dvg.evaluation.prediction_files import read_predictions
    from mono3dvg.evaluation.subsets import read_subsets
    from mono3dvg.schema import read_grounding

    data = read_grounding(grounding_file(args.gt))
    predictions = read_predictions(args.pred, data.expressions)
    report_missing(data, predictions)
    threshold = threshold_of(args, data, predictions)
    subset_ids = read_subsets(args.subsets) if args.subsets else None
    results = evaluate_grounding(data, predictions.answers, threshold, subset_ids)
    return results, format_table(results)


def grounding_file(name: str) -> Path:
    """The file that --gt says, by its path or as the name of a data set; what is no name is taken for a path."""
    path = Path(name).expanduser()
    if path.exists() or path.suffix:
        return path
    from detectron2.data import DatasetCatalog, MetadataCatalog

    from d2road.config import make_cfg

    make_cfg()  # every system registers its data sets
    if name in DatasetCatalog.list() and MetadataCatalog.get(name).get("evaluator_type") == "grounding":
        return Path(MetadataCatalog.get(name).json_file)
    return path


def report_missing(data: GroundingData, predictions: Predictions) -> None:
    """Say which sentences have no answer."""
    missing = [key for key in data.expressions if key not in predictions.answers]
    if missing:
        listed = ", ".join(map(repr, missing[:SHOWN])) + (", ..." if len(missing) > SHOWN else "")
        logger.warning(
            "%d of %d expressions have no prediction and count as answered by nothing: %s",
            len(missing),
            len(data.expressions),
            listed,
        )


def threshold_of(args: argparse.Namespace, data: GroundingData, predictions: Predictions) -> float:
    """The score threshold to use.

    Raises:
        ValueError: none is given, or it is not finite.
    """
    from mono3dvg.evaluation.grounding_protocol import choose_score_threshold

    if args.t_acc and not args.choose_threshold:
        raise ConfigError("--t-acc says how --choose-threshold chooses: give both")
    if args.choose_threshold:
        best, f1 = choose_score_threshold(data, predictions.answers, t_acc=args.t_acc)
        logger.info("score threshold %g chosen on this data: mean F1@0.25 is %.2f", best, f1)
        return best
    threshold = predictions.score_threshold if args.score_threshold is None else args.score_threshold
    if threshold is None:
        raise ConfigError(f"{args.pred} has no score_threshold: give one by --score-threshold")
    if not math.isfinite(threshold):
        raise ConfigError(f"--score-threshold is {threshold}, expected a finite number")
    return threshold


def format_table(results: Mapping[str, Any]) -> str:
    """Results as lines of text."""
    counts = results["counts"]
    lines = [
        f"{counts['expressions']} expressions: {counts['single']} single, {counts['multi']} multi, {counts['zero']} "
        f"zero; {counts['boxes']} boxes from score {results['score_threshold']:g} on, {counts['targets']} targets",
        "",
        f"{'top-1':<12}" + "".join(f"{head:>18}" for head in ("rotated", "mono3dvg")),
        f"{'':<12}" + f"{'@0.25  @0.5   mIoU':>18}" * 2,
    ]
    for name in results["acc"]["rotated"]:
        rows = [results["acc"][mode][name] for mode in ("rotated", "mono3dvg")]
        lines.append(
            f"{name:<12}" + "".join("".join(_cell(row[k], 7) for k in ("0.25", "0.5", "miou")) for row in rows)
        )
    lines += ["", f"{'mean F1':<12}" + "".join(f"{group:>9}" for group in results["mean_f1"]["0.25"])]
    for overlap, row in results["mean_f1"].items():
        lines.append(f"@{overlap:<11}" + "".join(_cell(value, 9) for value in row.values()))
    lines += ["", f"{'micro':<12}" + "".join(f"{head:>10}" for head in ("precision", "recall", "f1"))]
    for overlap, row in results["micro"].items():
        lines.append(f"@{overlap:<11}" + "".join(_cell(value, 10) for value in row.values()))
    shares = "   ".join(f"{label} {_cell(results[key], 0)}" for key, label in PRESENCE.items())
    lines += ["", shares, *_apart(results)]
    for title in ("recall_by_distance", "by_category", "by_tag"):
        lines += ["", f"{title.replace('_', ' '):<28}{'@0.25':>8}{'@0.5':>8}"]
        for name, row in results[title].items():
            count = row.get("targets", row.get("expressions"))
            lines.append(f"{name:<28}{_cell(row['0.25'], 8)}{_cell(row['0.5'], 8)}{count:>8}")
    return "\n".join(lines)


def _apart(results: Mapping[str, Any]) -> list[str]:
    """Lines by number of targets, and by style of writing and number of targets."""
    rows = {"": results, **{f"{style}, ": part for style, part in results["by_style"].items()}}
    lines = ["", f"{'by number of targets':<28}{'@0.25':>8}{'@0.5':>8}{'exact':>8}"]
    for style, part in rows.items():
        for kind, row in part["by_kind"].items():
            cells = (row["0.25"], row["0.5"], row["exact"]["0.25"])
            lines.append(f"{style + kind:<28}" + "".join(_cell(v, 8) for v in cells) + f"{row['expressions']:>8}")
    return lines


def _cell(value: float, width: int) -> str:
    return f"{'-':>{width}}" if math.isnan(value) else f"{value:>{width}.1f}"


@report_errors
def main(argv: Sequence[str] | None = None) -> int:
    """Read, evaluate, print and write; returns the exit code."""
    return run_evaluation(build_parser(), judge, argv)


if __name__ == "__main__":
    sys.exit(main())
