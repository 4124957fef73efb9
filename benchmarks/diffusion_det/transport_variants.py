"""What the benchmark of transports compares: trainings that differ in one choice each, on the same schedule."""

from pathlib import Path

import torch
from detectron2.config import CfgNode

from benchmarks.common.trainings import Schedule, train_once
from d2road.checkpoint.weights import load_weights_file
from d2road.config import default_argument_parser, setup_cfg
from d2road.utils.errors import ConfigError
from d2road.utils.output_files import atomic_write

NODE = "MODEL.DiffusionDet."
DETECTOR = "zoo:diffusion_det_toy"  # whose backbone and pyramid warm trainings begin with
PYRAMID = Path("output/bench/transports_warm_pyramid.pth")


# By what trainings begin with: a backbone of ImageNet alone, for 600 steps or for 3400, or backbone and pyramid of the
# shipped detector.
SCHEDULES = {
    "imagenet": Schedule("transports", "configs/diffusion_det/toy_roadside/transports.yaml"),
    "imagenet_long": Schedule("transports_long", "configs/diffusion_det/toy_roadside/transports_long.yaml"),
    "detector": Schedule("transports_warm", "configs/diffusion_det/toy_roadside/transports_warm.yaml"),
}
BENCH, CONFIG = SCHEDULES["imagenet"].bench, SCHEDULES["imagenet"].config
QUERIES = {"queries20": 20, "queries100": 100, "queries300": 300}  # number of learned queries
FLOW = {"TRANSPORT": "flow", "SAMPLER": "euler"}
# Trainings by name: keys below MODEL.DiffusionDet that differ from CONFIG. Each flow_* changes one choice of `flow`;
# the values were fixed before any result was seen.
TRAININGS: dict[str, dict[str, object]] = {
    "diffusion": {},
    "flow": FLOW,
    "flow_same_snr": {**FLOW, "FLOW.SAME_SNR": True},
    "flow_shift": {**FLOW, "FLOW.SHIFT": 3.0},
    "flow_logit_normal": {**FLOW, "LEVEL_DENSITY": (0.0, 1.0)},
    "flow_coupling": {**FLOW, "COUPLING": "optimal"},
    "flow_prior": {**FLOW, "PRIOR": "fitted"},
    "flow_velocity": {**FLOW, "BOX_LOSS": "velocity"},
    **{name: {"PROPOSALS": "queries", "NUM_PROPOSALS": count} for name, count in QUERIES.items()},
}
# Trainings that a page waits for, by what they begin with.
PLANNED = {
    "imagenet": tuple(TRAININGS),
    "imagenet_long": ("diffusion", "flow", "queries100"),
    "detector": tuple(TRAININGS),
}


def options(variant: str) -> list[str]:
    """KEY VALUE pairs of a training.

    Raises:
        ConfigError: unknown name.
    """
    if variant not in TRAININGS:
        raise ConfigError(f"{variant!r} is no training of this benchmark: choose one of {', '.join(TRAININGS)}")
    return [text for key, value in TRAININGS[variant].items() for text in (NODE + key, str(value))]


def config_for(variant: str, seed: int, *more: str, start: str = "imagenet") -> CfgNode:
    """The config of a training, with further KEY VALUE pairs; `start` is a name of SCHEDULES."""
    folder = f"output/bench/{SCHEDULES[start].bench}_{variant}_seed{seed}"
    opts = [*options(variant), "SEED", str(seed), "OUTPUT_DIR", folder, *more]
    return setup_cfg(default_argument_parser().parse_args(["--config-file", SCHEDULES[start].config, *opts]))


def train(variant: str, seed: int, start: str = "imagenet") -> Path:
    """Train or finish a training; its record holds the time of the whole of it.

    Returns:
        the final checkpoint.
    """
    if start == "detector" and not PYRAMID.is_file():
        write_pyramid(PYRAMID)
    cfg = config_for(variant, seed, "DATASETS.TEST", "()", start=start)  # it is evaluated by itself, at all settings
    command = command_for("--train", variant, seed, start)
    overrides, schedule = {key: str(value) for key, value in TRAININGS[variant].items()}, SCHEDULES[start]
    return train_once(cfg, schedule.config, schedule.bench, f"{variant}_seed{seed}/train", command, overrides=overrides)


def command_for(action: str, variant: str, seed: int, start: str) -> str:
    """What a user would type."""
    return f"python -m benchmarks.diffusion_det.transports {action} {variant} --seed {seed} --start {start}"


def write_pyramid(path: Path) -> None:
    """The shipped detector's backbone and pyramid, without its decoder, as a checkpoint."""
    weights = load_weights_file(DETECTOR)
    kept = {name: value for name, value in weights.items() if name.startswith("backbone.")}
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(path) as file:
        torch.save({"model": kept}, file)


def solvers_of(variant: str) -> tuple[str, ...]:
    """The solver of a training, then those that are compared with it on the same weights."""
    if variant == "diffusion":
        return ("ddim", "ddpm", "dpmsolver++")
    if variant == "flow":
        return ("euler", "heun", "ddim", "ddpm", "dpmsolver++")
    return ("euler",) if variant.startswith("flow") else ("ddim",)
