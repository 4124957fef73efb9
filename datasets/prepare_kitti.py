"""Lists of KITTI's training and validation frames: `d2road make-data kitti-lists`.

python datasets/prepare_kitti.py --root datasets/kitti_object --train train.txt --val val.txt
"""

import sys
from pathlib import Path

if not __package__:  # started as a file, from a checkout that is not installed
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from d2road.cli.make_data import main

if __name__ == "__main__":
    sys.exit(main(["kitti-lists", *sys.argv[1:]]))
