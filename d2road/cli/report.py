"""Write one self-contained HTML page of a run: of a training or evaluation, of a tracked video, of a watched camera.

    d2road report output/run                                  writes output/run/report.html
    d2road report output/run --output run.html --images 0     without images of the data, which it then does not need
    d2road report output/tracks --truth clips/val/val_000     a folder of `d2road track`, beside the truth of its clip
    d2road report watched                                     a folder of `d2road watch`: alarms, and its tracks

RUN is the OUTPUT_DIR of a training or an evaluation, finished or not: results, figures, worst and best images, training
curves, settings, environment. Or it is the folder of a tracked or watched video: alarms with image and clip, vehicles
with speeds by class and lane, flow, the scene from above and over time, frames, where the time went. The page holds
everything within itself and loads nothing; it needs neither the model nor, with --images 0, the data. The exit code is
0, or 2 where there is no run.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from d2road.utils.arguments import ArgumentParser, verb_parser
from d2road.utils.errors import ConfigError, report_errors
from d2road.utils.values import integer_option


def build_parser() -> ArgumentParser:
    """The command line."""
    parser = verb_parser("report", __doc__)
    parser.add_argument("run", type=Path, metavar="RUN", help="folder of a training, an evaluation, `track` or `watch`")
    parser.add_argument("--output", type=Path, metavar="FILE", help="the page (default: RUN/report.html)")
    parser.add_argument(
        "--images",
        type=integer_option(0),
        default=6,
        metavar="N",
        help="images to draw: worst and best ones, up to 6 of each, or frames of a video; 0 needs no data "
        "(default: %(default)s)",
    )
    parser.add_argument(
        "--truth", type=Path, metavar="CLIP", help="folder of the rendered clip that was tracked, to compare with"
    )
    return parser


def written_page(args: argparse.Namespace) -> tuple[str, str, list[str]]:
    """The page, the state of the run, and what could not be read.

    Raises:
        ConfigError: --truth of a training. FileNotFoundError, DataError: there is no run, or no truth.
    """
    from d2road.report.video_run import is_video_folder, read_video_run

    if is_video_folder(args.run):
        from d2road.report.video_report import video_page

        video = read_video_run(args.run)
        return video_page(video, args.images, args.truth), video.state(), video.notes
    if args.truth is not None:
        raise ConfigError(f"--truth belongs to a tracked or watched video, and {args.run} holds none: leave it away")
    from d2road.report.run_report import run_page
    from d2road.report.run_summary import read_run

    run = read_run(args.run)
    return run_page(run, args.images), run.state(), run.notes


@report_errors
def main(argv: Sequence[str] | None = None) -> int:
    """Read, draw and write; returns the exit code."""
    args = build_parser().parse_args(argv)
    from d2road.utils.output_files import atomic_write

    text, state, notes = written_page(args)
    path = args.output or args.run / "report.html"
    with atomic_write(path, "w") as file:
        file.write(text)
    print(f"{path}: {len(text) / 2**20:.1f} MiB, {state}")
    for note in notes:
        print(f"note: {note}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
