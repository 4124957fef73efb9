"""Train or evaluate any model of this collection.

    d2road train --config-file configs/diffusion_det/toy_roadside/demo.yaml [KEY VALUE ...]
    d2road train --config-file ... --resume                        continue after a stop or a crash
    d2road train --config-file ... --eval-only --weights output/model_final.pth
    d2road train --config-file ... --num-gpus 2                    several processes, on GPUs or on a CPU
    torchrun --nproc-per-node 2 -m d2road.cli.train --config-file ...         the same under torchrun

`python train_net.py` is the same program. The folder of the run gets model_final.pth, results.json as {task: {metric:
value}}, metrics.json, log.txt and config.yaml. The exit code is 0, or 2 after an error in the config or the data;
D2ROAD_DEBUG=1 adds its traceback.
"""

import argparse
import sys
from collections.abc import Sequence
from typing import Any

from d2road.utils.arguments import ArgumentParser, add_training_options, verb_parser
from d2road.utils.errors import ConfigError, report_errors


def build_parser() -> ArgumentParser:
    """The command line."""
    parser = verb_parser("train", __doc__)
    add_training_options(parser)
    return parser


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Train, or evaluate with `--eval-only`; runs in every process.

    Returns:
        {task: {metric: value}}, in the first process.
    """
    if not args.config_file and not args.opts:
        raise ConfigError("no model is named: give --config-file, such as diffusion_det/toy_roadside/demo.yaml")
    from d2road.config import setup_cfg
    from d2road.engine import Trainer, check_start, evaluate, setup
    from d2road.engine.distributed import locked_output

    cfg = setup_cfg(args)
    check_start(cfg, args.eval_only, args.resume)
    with locked_output(cfg.OUTPUT_DIR, "evaluation" if args.eval_only else "training"):
        setup(cfg, args)
        if args.eval_only:
            return evaluate(cfg, resume=args.resume)
        trainer = Trainer(cfg)
        trainer.resume_or_load(resume=args.resume)
        return trainer.train()


@report_errors
def main(argv: Sequence[str] | None = None) -> int:
    """Start the processes and train; returns the exit code."""
    args = build_parser().parse_args(argv)
    from d2road.engine import launch

    launch(run, args)
    return 0


if __name__ == "__main__":
    sys.exit(main())
