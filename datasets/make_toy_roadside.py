"""Render the toy roadside data set: camera views with exact 2D and 3D labels in Rope3D layout plus COCO JSON.

    python datasets/make_toy_roadside.py --out datasets/toy_roadside --seed 0 --train 1000 --val 500

Interrupted, it goes on where it stopped when it is started again with the same parameters. See datasets/README.md.
"""

import argparse
import os
import sys
from pathlib import Path

if __package__ in (None, ""):  # run as a script from an uninstalled checkout
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from d2road.synthetic.roadside import make_toy_roadside
from d2road.utils.errors import report_errors


def parse_args() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", required=True, help="folder to make")
    parser.add_argument("--seed", type=int, default=0, help="decides everything (default 0)")
    parser.add_argument("--train", type=int, default=1000, help="training views (default 1000)")
    parser.add_argument("--val", type=int, default=500, help="validation views (default 500)")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1, help="processes (default: one a core)")
    parser.add_argument("--overwrite", action="store_true", help="replace a toy data set of other parameters")
    return parser.parse_args()


@report_errors
def main() -> int:
    """Render; returns the exit code."""
    args = parse_args()
    try:
        done = make_toy_roadside(args.out, args.seed, args.train, args.val, args.workers, args.overwrite)
    except KeyboardInterrupt:
        print("make_toy_roadside: interrupted; the same command goes on from here", file=sys.stderr)
        return 130
    print(done["summary"])
    if done["rendered"]:
        rate = done["rendered"] / done["seconds"]
        print(f"{done['rendered']} views in {done['seconds']:.0f} s, {rate:.1f} images/s with {args.workers} workers")
    print(f"{args.out} is complete")
    return 0


if __name__ == "__main__":
    sys.exit(main())
