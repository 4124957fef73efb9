"""How long the recipe for own 3D data in KITTI's layout takes: processor time of a step and of an evaluated image.

python -m benchmarks.diffusion_det.custom_kitti3d_time --data datasets/kitti/training --steps 24

Trains configs/diffusion_det/custom_kitti3d.yaml, as docs/custom_data.md does, for some steps with one thread and
evaluates once on the same images. Data is read in the same process, so that its time counts. Records go to
benchmarks/results/custom_kitti3d_time/.
"""

import argparse
import json
import time

import numpy as np
import torch
from detectron2.data import DatasetCatalog
from detectron2.engine import HookBase

from benchmarks.common.records import write_record
from benchmarks.common.trainings import config_on
from d2road.config import make_cfg
from d2road.engine import Trainer, setup

BENCH = "custom_kitti3d_time"
CONFIG = "configs/diffusion_det/custom_kitti3d.yaml"
WARM_UP = 3  # steps that are not counted


class StepTimer(HookBase):
    """Processor seconds of each step, with its data."""

    def __init__(self) -> None:
        self.seconds: list[float] = []

    def before_step(self) -> None:
        self._start = time.process_time()

    def after_step(self) -> None:
        self.seconds.append(time.process_time() - self._start)


def measure(data: str, steps: int) -> dict[str, float]:
    """Train and evaluate; processor seconds, and what the whole recipe takes by them."""
    recipe = make_cfg(CONFIG)
    more = ["SOLVER.MAX_ITER", str(steps), "TEST.EVAL_PERIOD", "0", "DATALOADER.NUM_WORKERS", "0", "SEED", "0"]
    cfg = config_on(CONFIG, f"kitti:{data}", [*more, "OUTPUT_DIR", f"output/bench/{BENCH}", "MODEL.DEVICE", "cpu"])
    setup(cfg, argparse.Namespace(eval_only=False, config_file=CONFIG))
    trainer, timer = Trainer(cfg), StepTimer()
    trainer.resume_or_load(resume=False)
    trainer.register_hooks([timer])
    start = time.process_time()
    trainer.train()
    rest = time.process_time() - start - sum(timer.seconds)
    images = len(DatasetCatalog.get(cfg.DATASETS.TEST[0]))
    step = float(np.mean(timer.seconds[WARM_UP:]))
    return {
        "images": images, "steps": steps, "images_a_step": cfg.SOLVER.IMS_PER_BATCH,
        "processor_seconds_a_step": step,
        "processor_seconds_an_evaluated_image": rest / images,
        "recipe_steps": recipe.SOLVER.MAX_ITER,
        "recipe_processor_hours_without_evaluations": step * recipe.SOLVER.MAX_ITER / 3600,
    }  # fmt: skip


def main() -> None:
    """Run what the arguments ask for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="datasets/kitti/training", help="folder in KITTI's layout (default: KITTI's)")
    parser.add_argument("--steps", type=int, default=24, help=f"more than {WARM_UP}, which are not counted")
    args = parser.parse_args()
    torch.set_num_threads(1)
    start = time.perf_counter()
    metrics = measure(args.data, args.steps)
    name = f"{metrics['images']}images_{args.steps}steps"
    command = f"python -m benchmarks.diffusion_det.custom_kitti3d_time --data {args.data} --steps {args.steps}"
    seconds = time.perf_counter() - start
    write_record(BENCH, name, metrics=metrics, config=CONFIG, seed=0, command=command, seconds=seconds)
    print(json.dumps(metrics, indent=2))


if __name__ == "__main__":
    main()
