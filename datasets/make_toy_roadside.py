"""Rendered roadside views with exact 2D and 3D labels: `d2road make-data toy-roadside`.

python datasets/make_toy_roadside.py --output datasets/toy_roadside --seed 0 --train 1000 --val 500
"""

import sys
from pathlib import Path

if not __package__:  # started as a file, from a checkout that is not installed
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from d2road.cli.make_data import main

if __name__ == "__main__":
    sys.exit(main(["toy-roadside", *sys.argv[1:]]))
