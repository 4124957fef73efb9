"""What the benchmark of transports compares: trainings that differ in one choice each, on one schedule."""

from pathlib import Path

from detectron2.config import CfgNode

from benchmarks.common.trainings import train_once
from d2road.config import default_argument_parser, setup_cfg
from d2road.utils.errors import ConfigError

CONFIG = "configs/diffusion_det/toy_roadside/transports.yaml"
NODE = "MODEL.DiffusionDet."
BENCH = "transports"
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


def options(variant: str) -> list[str]:
    """KEY VALUE pairs of a training.

    Raises:
        ConfigError: unknown name.
    """
    if variant not in TRAININGS:
        raise ConfigError(f"{variant!r} is no training of this benchmark: choose one of {', '.join(TRAININGS)}")
    return [text for key, value in TRAININGS[variant].items() for text in (NODE + key, str(value))]


def config_for(variant: str, seed: int, *more: str) -> CfgNode:
    """The config of a training, with further KEY VALUE pairs."""
    opts = [*options(variant), "SEED", str(seed), "OUTPUT_DIR", f"output/bench/{BENCH}_{variant}_seed{seed}", *more]
    return setup_cfg(default_argument_parser().parse_args(["--config-file", CONFIG, *opts]))


def train(variant: str, seed: int) -> Path:
    """Train or finish a training; its record holds the time of the whole of it.

    Returns:
        the final checkpoint.
    """
    cfg = config_for(variant, seed, "DATASETS.TEST", "()")  # it is evaluated by itself, at all settings
    command = f"python -m benchmarks.diffusion_det.transports --train {variant} --seed {seed}"
    overrides = {key: str(value) for key, value in TRAININGS[variant].items()}
    return train_once(cfg, CONFIG, BENCH, f"{variant}_seed{seed}/train", command, overrides=overrides)


def solvers_of(variant: str) -> tuple[str, ...]:
    """The solver of a training, then those that are compared with it on the same weights."""
    if variant == "diffusion":
        return ("ddim", "ddpm", "dpmsolver++")
    if variant == "flow":
        return ("euler", "heun", "ddim", "ddpm", "dpmsolver++")
    return ("euler",) if variant.startswith("flow") else ("ddim",)
