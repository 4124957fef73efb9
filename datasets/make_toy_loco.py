"""Drawn images of fastener kits with logical and structural anomalies: `d2road make-data fastener-kit`.

python datasets/make_toy_loco.py --output datasets/toy_loco --seed 0
"""

import sys
from pathlib import Path

if not __package__:  # started as a file, from a checkout that is not installed
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from d2road.cli.make_data import main

if __name__ == "__main__":
    sys.exit(main(["fastener-kit", *sys.argv[1:]]))
