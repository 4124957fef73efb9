"""Size of the box losses' gradient beside that of the class loss, for each MODEL.DiffusionDet.BOX_LOSS.

python -m benchmarks.diffusion_det.loss_gradients --loss velocity    200 steps of a small detector along a flow

VELOCITY_WEIGHT is chosen by it: so that the box losses have about the say that they have in the set criterion. Here it
is 1. Uses training data alone. Records: benchmarks/results/loss_gradients/.
"""

import argparse
import time
from collections.abc import Iterable, Mapping, Sequence

import torch
from detectron2.config import CfgNode
from detectron2.utils.env import seed_all_rng
from torch import Tensor

from benchmarks.common.records import write_record
from d2road.config import default_argument_parser, setup_cfg
from d2road.engine import Trainer

CONFIG = "configs/diffusion_det/toy_roadside/effnet_lite0.yaml"
NODE = "MODEL.DiffusionDet."
# A quarter of the pixels and half of the width: what is compared are ratios.
SMALL = {
    "MODEL.FPN.OUT_CHANNELS": 48,
    NODE + "HIDDEN_DIM": 48,
    NODE + "DIM_FEEDFORWARD": 96,
    NODE + "DIM_DYNAMIC": 16,
    NODE + "NUM_PROPOSALS": 40,
    NODE + "POOLER_CANONICAL_SIZE": 32.0,
    "INPUT.MIN_SIZE_TRAIN": (126,),
    "INPUT.MAX_SIZE_TRAIN": 224,
    "DATALOADER.NUM_WORKERS": 0,
    NODE + "TRANSPORT": "flow",
    NODE + "VELOCITY_WEIGHT": 1.0,
}
WARMUP = 100  # steps


def config_for(loss: str, seed: int, *more: str) -> CfgNode:
    """The small detector on the toy data, with further KEY VALUE pairs."""
    pairs = [str(part) for pair in (SMALL | {NODE + "BOX_LOSS": loss}).items() for part in pair]
    line = ["--config-file", CONFIG, *pairs, "SEED", str(seed), "DATASETS.TEST", "()", *more]
    return setup_cfg(default_argument_parser().parse_args(line))


def gradient_norm(losses: Iterable[Tensor], parameters: Sequence[Tensor]) -> float:
    """Euclidean norm of the gradient of a sum of losses; the graph is kept."""
    gradients = torch.autograd.grad(torch.stack(list(losses)).sum(), parameters, retain_graph=True, allow_unused=True)
    return float(torch.stack([g.norm() for g in gradients if g is not None]).norm())


def split(losses: Mapping[str, Tensor]) -> tuple[list[Tensor], list[Tensor]]:
    """Class losses and box losses of all stages."""
    classes = [value for name, value in losses.items() if name.startswith("loss_ce")]
    return classes, [value for name, value in losses.items() if not name.startswith("loss_ce")]


def compare(cfg: CfgNode, steps: int, every: int) -> list[dict[str, float]]:
    """Train, and measure losses and gradients of the decoder in every so many steps, each mean over them.

    Returns:
        rows with the step they end at.
    """
    model = Trainer.build_model(cfg).train()
    optimizer = Trainer.build_optimizer(cfg, model)
    decoder = [p for p in model.get_submodule("head").parameters() if p.requires_grad]
    rates = [group["lr"] for group in optimizer.param_groups]
    rows, recent = [], []
    for step, batch in zip(range(1, steps + 1), Trainer.build_train_loader(cfg)):
        for group, rate in zip(optimizer.param_groups, rates):
            group["lr"] = rate * min(1, step / WARMUP)
        losses = model(batch)
        classes, boxes = split(losses)
        norms = gradient_norm(classes, decoder), gradient_norm(boxes, decoder)
        recent.append([float(sum(classes)), float(sum(boxes)), *norms, norms[1] / norms[0]])
        optimizer.zero_grad()
        sum(losses.values()).backward()
        optimizer.step()
        if step % every == 0:
            names = ("class_loss", "box_loss", "class_gradient", "box_gradient", "ratio")
            middle = torch.tensor(recent).median(0).values.tolist()  # gradients have outliers
            rows.append({"step": step, **{name: round(value, 3) for name, value in zip(names, middle)}})
            print(rows[-1], flush=True)
            recent = []
    return rows


def main() -> None:
    """Run what the arguments ask for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--loss", choices=("set", "velocity"), required=True, help="MODEL.DiffusionDet.BOX_LOSS")
    parser.add_argument("--seed", type=int, default=0, help="(%(default)s)")
    parser.add_argument("--steps", type=int, default=200, help="(%(default)s)")
    args = parser.parse_args()
    cfg = config_for(args.loss, args.seed, "OUTPUT_DIR", "output/bench/loss_gradients")
    seed_all_rng(args.seed)
    start = time.monotonic()
    rows = compare(cfg, args.steps, every=20)
    write_record(
        "loss_gradients",
        f"{args.loss}_seed{args.seed}",
        metrics={"rows": rows},
        command=f"python -m benchmarks.diffusion_det.loss_gradients --loss {args.loss} --seed {args.seed}",
        config=CONFIG,
        seed=args.seed,
        seconds=time.monotonic() - start,
        overrides={key: str(value) for key, value in SMALL.items()},
    )


if __name__ == "__main__":
    main()
