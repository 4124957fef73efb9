"""Draw the toy data for logical anomalies: images of fastener kits in the layout of MVTec LOCO AD.

    python datasets/make_toy_loco.py --out datasets/toy_loco --seed 0

Interrupted, it goes on where it stopped when it is started again with the same parameters. See datasets/README.md.
"""

import argparse
import os
import sys
from pathlib import Path

if __package__ in (None, ""):  # run as a script from an uninstalled checkout
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from d2road.synthetic.fastener_kit import make_toy_loco
from d2road.utils.errors import report_errors


def parse_args() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", required=True, help="folder to make")
    parser.add_argument("--seed", type=int, default=0, help="decides everything (default 0)")
    for name, count, what in (
        ("train", 240, "good images to train on"),
        ("validation", 40, "good images to calibrate with"),
        ("good", 60, "good images to test"),
        ("logical", 90, "images with logical anomalies to test"),
        ("structural", 60, "images with structural anomalies to test"),
    ):
        parser.add_argument(f"--{name}", type=int, default=count, help=f"{what} (default {count})")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1, help="processes (default: one a core)")
    parser.add_argument("--overwrite", action="store_true", help="replace a toy data set of other parameters")
    return parser.parse_args()


@report_errors
def main() -> int:
    """Draw; returns the exit code."""
    args = parse_args()
    try:
        done = make_toy_loco(**vars(args))
    except KeyboardInterrupt:
        print("make_toy_loco: interrupted; the same command goes on from here", file=sys.stderr)
        return 130
    print(done["summary"])
    if done["drawn"]:
        rate = done["drawn"] / done["seconds"]
        print(f"{done['drawn']} images in {done['seconds']:.0f} s, {rate:.1f} a second with {args.workers} workers")
    print(f"{args.out} is complete")
    return 0


if __name__ == "__main__":
    sys.exit(main())
