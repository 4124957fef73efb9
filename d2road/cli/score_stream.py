"""Score traffic as it is recorded: reads a growing file of trajectories and prints alarms.

    d2road score-stream --input "fcd:traffic.xml?edges=main:0" --config-file CONFIG --weights MODEL.pth \\
        --calibration threshold.json --follow --state stream.json --pictures alarms

INPUT is READER:PATH?OPTIONS (docs/trajectories.md). FCD (XML or CSV) and plain CSV files may grow: with --follow the
tool waits for more at the end of the file, and no byte is read twice. --state keeps where it is: a later run with the
same file goes on there (and reads what the next window still needs). An interrupt (Ctrl-C, SIGTERM) ends it in order.
The node TIME_SPACE of the config says what windows are: stretch of road, stride, drawing; KEY VALUE changes it.

A threshold comes from good traffic, once:

    d2road score-stream --input INPUT --config-file CONFIG --weights MODEL.pth \\
        --calibrate threshold.json --rate 1

scores at least 10 hours and writes the lowest threshold with at most --rate false alarms an hour. Each alarm is a line

    ALARM  t 00:17:33.4  s 812 m  score 0.41 (threshold 0.18)  window 00:17:14.4-00:17:40.0, 410-922 m  a/000003.png

and when it is over a second one. The exit code is 0, or 2 for input that cannot be used.
"""

import argparse
import logging
import sys
from collections.abc import Sequence
from pathlib import Path

from d2road.cli.stream_session import Session
from d2road.utils.errors import report_errors


def parser() -> argparse.ArgumentParser:
    """Options."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument(
        "--input", required=True, metavar="INPUT", help="READER:PATH?OPTIONS, or a path whose suffix tells the reader"
    )
    options.add_argument("--config-file", required=True, metavar="FILE", help="of the model")
    options.add_argument("--weights", default="", metavar="FILE", help="of the model; MODEL.WEIGHTS without it")
    options.add_argument("--batch", type=int, default=4, help="windows that pass through the network together; 4")
    threshold = options.add_mutually_exclusive_group()
    threshold.add_argument("--threshold", type=float, help="a window that scores above it alarms")
    threshold.add_argument("--calibration", type=Path, metavar="FILE", help="that --calibrate wrote")
    threshold.add_argument("--calibrate", type=Path, metavar="FILE", help="write a threshold from this good traffic")
    options.add_argument("--rate", type=float, default=1.0, help="false alarms an hour that --calibrate allows; 1")
    options.add_argument("--follow", action="store_true", help="wait for more at the end of the file")
    options.add_argument("--state", type=Path, metavar="FILE", help="keep where it is, and go on there another time")
    options.add_argument("--scores", type=Path, metavar="FILE", help="write the score of every window as CSV")
    options.add_argument("--pictures", type=Path, metavar="DIR", help="write an image of every alarm")
    options.add_argument("opts", nargs=argparse.REMAINDER, metavar="KEY VALUE", help="config keys that are changed")
    return options


def main(argv: Sequence[str] | None = None) -> int:
    """Score, print, write."""
    logging.basicConfig(format="%(levelname)s: %(message)s", level=logging.WARNING, stream=sys.stderr)
    session = Session(parser().parse_args(argv))
    return session.run()


if __name__ == "__main__":
    sys.exit(report_errors(main)())
