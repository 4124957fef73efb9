"""Make the toy grounding data: sentences over the toy roadside views, with one, several or no targets.

    python datasets/make_toy_grounding.py --out datasets/toy_grounding --toy datasets/toy_roadside --seed 0

Writes grounding_train.json, grounding_val.json and grounding_test.json; images stay where they are. See
datasets/README.md.
"""

import argparse
import sys
from pathlib import Path

if __package__ in (None, ""):  # run as a script from an uninstalled checkout
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from d2road.utils.errors import report_errors
from mono3dvg.data.toy_grounding import describe_counts, make_toy_grounding


def parse_args() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", required=True, help="folder to make")
    parser.add_argument("--toy", default="datasets/toy_roadside", help="the toy roadside data (datasets/toy_roadside)")
    parser.add_argument("--seed", type=int, default=0, help="decides everything (default 0)")
    parser.add_argument("--per-image", type=int, default=8, help="sentences a view (default 8); twice as many to train")
    parser.add_argument("--languages", nargs="+", default=["en"], help="en, zh or both, drawn for each sentence")
    parser.add_argument(
        "--held-out", type=float, default=0.3, help="share of val and test sentences in words never trained on (0.3)"
    )
    parser.add_argument("--validation", type=float, default=0.3, help="share of the toy validation views for val (0.3)")
    parser.add_argument("--overwrite", action="store_true", help="replace data of other parameters")
    return parser.parse_args()


@report_errors
def main() -> int:
    """Make the data; returns the exit code."""
    args = parse_args()
    made = make_toy_grounding(
        args.out,
        args.toy,
        seed=args.seed,
        per_image=args.per_image,
        languages=args.languages,
        held_out=args.held_out,
        validation=args.validation,
        overwrite=args.overwrite,
    )
    for split, counts in made.items():
        print(f"{split}: {describe_counts(counts)}")
    print(f"{args.out} is complete")
    return 0


if __name__ == "__main__":
    sys.exit(main())
