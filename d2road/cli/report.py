"""Write one HTML page of a run: results, figures, worst and best images, training curves, settings, environment.

    d2road report output/run                                  writes output/run/report.html
    d2road report output/run --output run.html --images 0     without images of the data, which it then does not need

RUN is the OUTPUT_DIR of a training or an evaluation, finished or not. The page holds everything within itself and loads
nothing; it needs neither the model nor, with --images 0, the data. The exit code is 0, or 2 where there is no run.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

from d2road.utils.arguments import ArgumentParser, verb_parser
from d2road.utils.errors import report_errors
from d2road.utils.values import integer_option


def build_parser() -> ArgumentParser:
    """The command line."""
    parser = verb_parser("report", __doc__)
    parser.add_argument("run", type=Path, metavar="RUN", help="folder of a training or an evaluation")
    parser.add_argument("--output", type=Path, metavar="FILE", help="the page (default: RUN/report.html)")
    parser.add_argument(
        "--images",
        type=integer_option(0),
        default=6,
        metavar="N",
        help="worst and best images to draw, up to 6 of each; 0 needs no data (default: %(default)s)",
    )
    return parser


@report_errors
def main(argv: Sequence[str] | None = None) -> int:
    """Read, draw and write; returns the exit code."""
    args = build_parser().parse_args(argv)
    from d2road.report.run_report import run_page
    from d2road.report.run_summary import read_run
    from d2road.utils.output_files import atomic_write

    run = read_run(args.run)
    text = run_page(run, args.images)
    path = args.output or args.run / "report.html"
    with atomic_write(path, "w") as file:
        file.write(text)
    print(f"{path}: {len(text) / 2**20:.1f} MiB, {run.state()}")
    for note in run.notes:
        print(f"note: {note}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
