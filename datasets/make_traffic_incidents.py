"""Simulate traffic with incidents (SUMO): time-space images in the layout of MVTec AD, tables, a long file of FCD.

    python datasets/make_traffic_incidents.py --out datasets/traffic_incidents --seed 0
    python datasets/make_traffic_incidents.py --day day.csv.gz --day-hours 24 --seed 0

Needs SUMO: pip install "d2road[traffic]". Interrupted, the first goes on where it stopped when it is started again with
the same parameters. See datasets/README.md.
"""

import argparse
import os
import sys
from pathlib import Path

if __package__ in (None, ""):  # run as a script from an uninstalled checkout
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from d2road.synthetic.traffic_incidents.day import make_day
from d2road.synthetic.traffic_incidents.incident_windows import VIEWS
from d2road.synthetic.traffic_incidents.incident_writer import make_traffic_incidents
from d2road.utils.errors import report_errors


def parse_args() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--out", help="folder to make")
    what.add_argument("--day", metavar="FILE", help="write a long file of FCD instead: .csv, .xml, or .gz of both")
    parser.add_argument("--seed", type=int, default=0, help="decides everything (default 0)")
    for name, count, text in (
        ("train", 600, "windows of good traffic to train on"),
        ("validation", 100, "windows of good traffic to calibrate with"),
        ("good", 100, "windows of good traffic to test"),
        ("incidents", 200, "windows with incidents to test; the eight kinds take turns"),
    ):
        parser.add_argument(f"--{name}", type=int, default=count, help=f"{text} (default {count})")
    parser.add_argument(
        "--good-hours", type=float, default=0.0, metavar="H", help="good traffic as tables alone, besides (default 0)"
    )
    parser.add_argument("--views", nargs="+", default=list(VIEWS), choices=list(VIEWS), help="images to draw")
    parser.add_argument("--no-fcd", dest="fcd", action="store_false", help="do not keep SUMO's own files")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1, help="processes (default: one a core)")
    parser.add_argument("--overwrite", action="store_true", help="replace a data set of other parameters")
    parser.add_argument("--day-hours", type=float, default=24.0, metavar="H", help="hours of --day (default 24)")
    return parser.parse_args()


@report_errors
def main() -> int:
    """Simulate; returns the exit code."""
    args = vars(parse_args())
    day, day_hours = args.pop("day"), args.pop("day_hours")
    try:
        if day is not None:
            print(make_day(day, day_hours, args["seed"]))
            return 0
        done = make_traffic_incidents(**args)
    except KeyboardInterrupt:
        print("make_traffic_incidents: interrupted; the same command goes on from here", file=sys.stderr)
        return 130
    print(done["summary"])
    if done["made"]:
        print(f"{done['made']} recordings in {done['seconds']:.0f} s with {args['workers']} workers")
    print(f"{args['out']} is complete")
    return 0


if __name__ == "__main__":
    sys.exit(main())
