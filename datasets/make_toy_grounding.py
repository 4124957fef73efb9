"""Sentences over the toy roadside views: `d2road make-data toy-grounding`.

python datasets/make_toy_grounding.py --output datasets/toy_grounding --toy datasets/toy_roadside --seed 0
"""

import sys
from pathlib import Path

if not __package__:  # started as a file, from a checkout that is not installed
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from d2road.cli.make_data import main

if __name__ == "__main__":
    sys.exit(main(["toy-grounding", *sys.argv[1:]]))
