#!/usr/bin/env python
"""Train or evaluate any model of this collection.

python train_net.py --config-file configs/diffusion_det/toy.yaml [KEY VALUE ...]
python train_net.py --config-file ... --resume                    continue after a stop or a crash
python train_net.py --config-file ... --eval-only MODEL.WEIGHTS output/model_final.pth
python train_net.py --config-file ... --num-gpus 2                 several processes, on GPUs or on a CPU
torchrun --nproc-per-node 2 train_net.py --config-file ...         the same under torchrun

The exit code is 0, or 2 after an error in the config or the data; D2ROAD_DEBUG=1 adds its traceback.
"""

import argparse
import sys
from typing import Any

from d2road.config import default_argument_parser, setup_cfg
from d2road.engine import Trainer, evaluate, launch, setup
from d2road.utils.errors import report_errors


def main(args: argparse.Namespace) -> dict[str, Any]:
    """Train, or evaluate with `--eval-only`; runs in every process.

    Returns:
        {task: {metric: value}}, in the first process.
    """
    cfg = setup_cfg(args)
    setup(cfg, args)
    if args.eval_only:
        return evaluate(cfg, resume=args.resume)
    trainer = Trainer(cfg)
    trainer.resume_or_load(resume=args.resume)
    return trainer.train()


if __name__ == "__main__":
    sys.exit(report_errors(launch)(main, default_argument_parser().parse_args()))
