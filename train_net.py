#!/usr/bin/env python
"""Train or evaluate any model of this collection: the same program as `d2road train`.

python train_net.py --config-file configs/diffusion_det/toy_roadside/demo.yaml [KEY VALUE ...]
torchrun --nproc-per-node 2 train_net.py --config-file ...
"""

import sys

from d2road.cli.train import main

if __name__ == "__main__":
    sys.exit(main())
