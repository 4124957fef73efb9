"""Sentences over any data set with complete 3D labels: `d2road make-data grounding`.

python datasets/make_grounding.py --source kitti:ROOT --output FILE
"""

import sys
from pathlib import Path

if not __package__:  # started as a file, from a checkout that is not installed
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from d2road.cli.make_data import main

if __name__ == "__main__":
    sys.exit(main(["grounding", *sys.argv[1:]]))
