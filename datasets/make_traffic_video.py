"""Rendered roadside videos: `d2road make-data traffic-video`.

python datasets/make_traffic_video.py --output datasets/traffic_video --seed 0
"""

import sys
from pathlib import Path

if not __package__:  # started as a file, from a checkout that is not installed
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from d2road.cli.make_data import main

if __name__ == "__main__":
    sys.exit(main(["traffic-video", *sys.argv[1:]]))
