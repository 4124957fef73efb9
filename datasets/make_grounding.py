"""Sentences over labelled frames, with exact targets: any data set with 3D boxes becomes grounding data.

    python datasets/make_grounding.py --source kitti:ROOT --out FILE [--seed 0] [--per-image 8] [--languages en zh]
    python datasets/make_grounding.py --source rope3d:ROOT:train --out FILE

The sentences say what the labels tell: class, size, heading, occlusion, place, distance, relations, order and counts;
colours and lanes where --attributes has them (attributes_*.jsonl of the toy data). Labels must be complete: an object
without label is one that no sentence means. The result is used as grounding:FILE:ROOT. The exit code is 0, or 2 for
input that cannot be used.
"""

import argparse
import logging
import sys
from collections.abc import Sequence
from pathlib import Path

if not __package__:  # started as a file, from a checkout that is not installed
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from d2road.utils.errors import report_errors
from mono3dvg.data.grounding_creation import make_grounding
from mono3dvg.language import Recipe


@report_errors
def main(argv: Sequence[str] | None = None) -> int:
    """Read, generate sentences, check and write."""
    logging.basicConfig(format="%(levelname)s: %(message)s", level=logging.INFO, stream=sys.stderr)
    args = parser().parse_args(argv)
    recipe = Recipe(
        seed=args.seed,
        per_image=args.per_image,
        languages=tuple(args.languages),
        held_out=args.held_out,
        units=tuple(args.units),
    )
    made = make_grounding(args.source, args.out, recipe, images=args.images, attributes=args.attributes)
    print(f"{made.contents}\nto use it: {made.dataset}")
    return 0


def parser() -> argparse.ArgumentParser:
    """The command line."""
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--source", required=True, help="name of a data set with 3D boxes, or kitti:ROOT, rope3d:ROOT:SPLIT")
    p.add_argument("--out", type=Path, required=True, metavar="FILE", help="grounding file to write")
    p.add_argument("--images", default="", metavar="DIR", help="folder above the images; ROOT by itself")
    p.add_argument("--attributes", default="", metavar="FILE", help="attributes_*.jsonl of the toy roadside data")
    p.add_argument("--seed", type=int, default=0, help="decides everything (default 0)")
    p.add_argument("--per-image", type=int, default=8, help="sentences an image, if so many fit (default 8)")
    p.add_argument("--languages", nargs="+", default=["en"], help="en, zh or both, drawn for each sentence")
    p.add_argument("--held-out", type=float, default=0.0, help="share of sentences in held-out paraphrases (default 0)")
    p.add_argument("--units", nargs="+", default=["m"], choices=["m", "cm", "ft"], help="of distances, drawn")
    return p


if __name__ == "__main__":
    sys.exit(main())
