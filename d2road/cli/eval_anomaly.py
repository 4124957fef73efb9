"""Anomaly maps of one category against its masks: AUROC, AU-PRO, sPRO, F1. No model is needed.

    d2road eval-anomaly --data mvtec_loco/pushpins --maps maps/pushpins [--json FILE] \\
        [--exact | --streaming] [--bootstrap 1000] [--good-maps DIR | --threshold T] [--workers 2]

--data is the folder of one category: of MVTec AD, MVTec AD 2, MVTec LOCO, VisA, BTAD, Real-IAD as released, or an own
one with good, bad and masks. --maps has the map of test/KIND/NAME.png as test/KIND/NAME.tiff (or .tif, .npy),
likewise elsewhere, at the size of the image. Writes fractions, null where there is nothing to measure:

    {"image_auroc": pooled, "image_auroc_by_type": {"KIND": ...}, "pixel_auroc": ..., "aupro": up to a false-positive
     rate of 0.3, "aupro@0.05": up to 0.05, "auspro": {"KIND": {"0.01": ..., "0.05": ..., "0.1": ..., "0.3": ...,
     "1.0": ...}, "mean": {...}}, "f1_max": of images, "pixel_f1_max": ...}

auspro is null for data without defects_config.json. Further keys: with --bootstrap "intervals", with a threshold
"good_threshold", "f1_at_good_threshold" and "pixel_f1_at_good_threshold", the SegF1 of MVTec AD 2.
The exit code is 0, or 2 for input that cannot be evaluated.
"""

import argparse
import math
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from d2road.cli._eval_common import evaluation_parser, run_evaluation
from d2road.utils.arguments import ArgumentParser
from d2road.utils.errors import ConfigError, report_errors
from d2road.utils.values import integer_option, number_option


def build_parser() -> ArgumentParser:
    """The command line."""
    parser = evaluation_parser("eval-anomaly", __doc__)
    parser.add_argument("--data", type=Path, required=True, metavar="DIR", help="folder of one category")
    parser.add_argument("--maps", type=Path, required=True, metavar="DIR", help="folder with test/KIND/NAME.tiff")
    mode = parser.add_mutually_exclusive_group()
    mode.add_argument("--exact", action="store_true", help="keep every pixel: about 30 bytes of memory a pixel")
    mode.add_argument("--streaming", action="store_true", help="keep some thousand points of every map")
    parser.add_argument(
        "--bootstrap", type=integer_option(0), default=0, metavar="DRAWS", help="add 95 %% intervals over images"
    )
    parser.add_argument("--seed", type=integer_option(0), default=0, help="of the draws")
    good = parser.add_mutually_exclusive_group()
    good.add_argument(
        "--threshold", type=number_option(), help="a map with a value above it is called anomalous, a pixel as well"
    )
    good.add_argument("--good-maps", type=Path, metavar="DIR", help="maps of good validation images, for the threshold")
    parser.add_argument(
        "--fpr",
        type=number_option(0, 1),
        default=0.01,
        help="share of good images that may be above the threshold; 0.01",
    )
    parser.add_argument(
        "--workers", type=integer_option(1), default=min(os.cpu_count() or 1, 8), help="threads that read maps"
    )
    return parser


def judge(args: argparse.Namespace) -> tuple[dict[str, Any], str]:
    """Results of the maps, and the table.

    Raises:
        FileNotFoundError, ValueError: input that cannot be evaluated.
    """
    from efficientad.evaluation.anomaly_protocol import evaluate
    from efficientad.evaluation.bootstrap_intervals import bootstrap
    from efficientad.evaluation.map_folders import score_folders, threshold_of

    threshold = args.threshold
    if args.good_maps is not None:
        threshold = threshold_of(args.good_maps, args.fpr)
    elif threshold is not None and not math.isfinite(threshold):
        raise ConfigError(f"--threshold is {threshold}, expected a finite number")
    exact = args.exact if args.exact or args.streaming else None
    scored, types = score_folders(args.data, args.maps, exact, args.workers)
    results = evaluate(scored, types is not None, threshold)
    if args.bootstrap:
        results["intervals"] = bootstrap(scored, types is not None, args.bootstrap, args.seed)
    return results, format_table(results)


def format_table(results: Mapping[str, Any]) -> str:
    """Results as lines of text."""
    intervals = results.get("intervals", {})
    lines: list[str] = []

    def add(name: str, value: Any, interval: Any) -> None:
        if isinstance(value, dict):
            for key, item in value.items():
                add(f"{name} {key}", item, interval.get(key) if isinstance(interval, dict) else None)
        elif value is not None:
            shown = "-" if math.isnan(value) else f"{value:.4f}"
            between = f"   [{interval[0]:.4f}, {interval[1]:.4f}]" if interval else ""
            lines.append(f"{name:<44}{shown:>8}{between}")

    for name, value in results.items():
        if name != "intervals":
            add(name, value, intervals.get(name))
    return "\n".join(lines)


@report_errors
def main(argv: Sequence[str] | None = None) -> int:
    """Read, evaluate, print and write; returns the exit code."""
    return run_evaluation(build_parser(), judge, argv)


if __name__ == "__main__":
    sys.exit(main())
