"""What may differ between a run and the command that resumes it: listed, accepted, or refused with the cure."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import yaml
from detectron2.config import CfgNode

from d2road.data.fingerprint import data_fingerprint, difference
from d2road.engine.distributed import by_first_process
from d2road.utils.errors import CheckpointError, ConfigError

logger = logging.getLogger(__name__)

OTHER_DATA = "DATALOADER.RESUME_ON_OTHER_DATA"
# Restored with the optimizer, so that a new value would have no effect: entry of the optimizer -> keys it comes from.
OPTIMIZER_KEYS = {
    "initial_lr": ("SOLVER.BASE_LR", "SOLVER.BACKBONE_MULTIPLIER", "SOLVER.BIAS_LR_FACTOR"),
    "weight_decay": ("SOLVER.WEIGHT_DECAY", "SOLVER.WEIGHT_DECAY_NORM", "SOLVER.WEIGHT_DECAY_BIAS"),
    "momentum": ("SOLVER.MOMENTUM",),
    "nesterov": ("SOLVER.NESTEROV",),
    "betas": ("SOLVER.OPTIMIZER",),
    "decoupled_weight_decay": ("SOLVER.OPTIMIZER",),
}
OPTIMIZER_NAMES = ("SOLVER.OPTIMIZER", *(key for keys in OPTIMIZER_KEYS.values() for key in keys))
# How an optimizer computes, and what changes from step to step: nothing that a user chose.
IMPLEMENTATION = {"params", "lr", "foreach", "fused", "capturable", "differentiable", "maximize"}
# They change neither the weights that a training ends with nor its steps.
HARMLESS = (
    "OUTPUT_DIR", "VERSION", "VIS_PERIOD", "TEST", "DATASETS.TEST", "DATALOADER.NUM_WORKERS", "SOLVER.MAX_ITER",
    "SOLVER.CHECKPOINT_PERIOD", "SOLVER.CHECKPOINTS_TO_KEEP", "MODEL.DEVICE", "MODEL_EMA.DEVICE",
    "INPUT.MIN_SIZE_TEST", "INPUT.MAX_SIZE_TEST",
)  # fmt: skip
# Said elsewhere: the seed stays the run's, weights to start from are not read, the data is compared by content.
APART = ("SEED", "MODEL.WEIGHTS", "DATASETS.TRAIN", OTHER_DATA)


@dataclass(frozen=True)
class SavedRun:
    """What a checkpoint says about its run, without the weights.

    Args:
        run: state of its `RunIdentity`; None before version 0.3.
        iteration: the last one that is done.
        num_images: of the training data; 0 if unknown.
        groups: parameter groups of its optimizer, with the number of parameters in place of `params`.
        weights: names of the model's weights.
    """

    run: dict[str, Any] | None
    iteration: int
    num_images: int
    groups: list[dict[str, Any]]
    weights: frozenset[str]

    @classmethod
    def of(cls, checkpoint: Mapping[str, Any]) -> "SavedRun":
        """Of the content of a training checkpoint.

        Raises:
            CheckpointError: it is none.
        """
        try:
            trainer, run = checkpoint["trainer"], checkpoint.get("run") or None
            groups = [{**g, "params": len(g["params"])} for g in trainer["_trainer"]["optimizer"]["param_groups"]]
            iteration, images = int(trainer["iteration"]), int(trainer["data"]["num_images"])
            if run:
                flat_config(run["config"])
        except (KeyError, TypeError, AttributeError, ValueError, yaml.YAMLError) as error:
            raise CheckpointError(
                f"the checkpoint is of no training by this project ({type(error).__name__}: {error}); --weights starts "
                "a new run from its weights"
            ) from error
        return cls(run, iteration, images, groups, frozenset(checkpoint["model"]))

    @property
    def config(self) -> dict[str, Any]:
        """Its settings by full key; empty if it does not hold them."""
        return flat_config(self.run["config"]) if self.run else {}


def flat_config(text: str) -> dict[str, Any]:
    """{full key: value} of the text of a config.yaml."""
    flat: dict[str, Any] = {}

    def add(node: Mapping[str, Any], prefix: str) -> None:
        for key, value in node.items():
            if isinstance(value, dict) and value:
                add(value, f"{prefix}{key}.")
            else:
                flat[f"{prefix}{key}"] = value

    add(yaml.safe_load(text) or {}, "")
    return flat


def check_settings(saved: SavedRun, cfg: CfgNode, model: torch.nn.Module, optimizer: torch.optim.Optimizer) -> None:
    """Compare the settings of a run with those it is resumed with; what is accepted is said.

    Raises:
        ConfigError: settings that would have no effect, a model or optimizer of other parts, or a length that the run
            is already beyond.
    """
    done = saved.iteration + 1
    if done > cfg.SOLVER.MAX_ITER:
        raise ConfigError(
            f"SOLVER.MAX_ITER is {cfg.SOLVER.MAX_ITER}, but the run in {cfg.OUTPUT_DIR} has done {done} iterations "
            f"already: give {done} or more, or train anew without --resume in another OUTPUT_DIR"
        )
    before, now = saved.config, flat_config(cfg.dump())
    changed = [key for key in now if key in before and before[key] != now[key] and key not in APART]
    _check_optimizer(saved, optimizer, model, {key: f"{key} was {before[key]}, is {now[key]}" for key in changed})
    if before and cfg.MODEL.WEIGHTS and before.get("MODEL.WEIGHTS") != cfg.MODEL.WEIGHTS:
        logger.warning("MODEL.WEIGHTS %s is not read: the run goes on from its own checkpoint", cfg.MODEL.WEIGHTS)
    harmless = [key for key in changed if _is_harmless(key, cfg)]
    # Of an optimizer that does not use it, such as MOMENTUM with ADAMW: `_check_optimizer` found no difference.
    telling = [key for key in changed if key not in harmless and key not in OPTIMIZER_NAMES]
    for keys, text in (
        (harmless, "Resuming with other settings: %s"),
        (telling, f"These settings change the course of the training from iteration {saved.iteration + 1} on, so that "
         "it will not end as without them: %s"),
    ):  # fmt: skip
        if keys:
            listed = "; ".join(f"{key} was {before[key]}, is {now[key]}" for key in keys)
            logger.log(logging.INFO if keys is harmless else logging.WARNING, text, listed)


def _is_harmless(key: str, cfg: CfgNode) -> bool:
    if key == "SOLVER.MAX_ITER" and "Cosine" in cfg.SOLVER.LR_SCHEDULER_NAME:
        return False  # the curve of the learning rate is as long as the training
    return any(key == name or key.startswith(f"{name}.") for name in HARMLESS)


def _check_optimizer(
    saved: SavedRun, optimizer: torch.optim.Optimizer, model: torch.nn.Module, changed: Mapping[str, str]
) -> None:
    groups = optimizer.param_groups
    if [group["params"] for group in saved.groups] != [len(group["params"]) for group in groups]:
        raise ConfigError(_other_parts(saved, model, changed))
    wrong: dict[str, str] = {}
    for before, now in zip(saved.groups, groups):
        if {"momentum", "betas"} & (set(before) ^ set(now)):
            wrong.update(_named(("SOLVER.OPTIMIZER",), changed, "another kind of optimizer"))
            continue
        for entry in sorted((set(before) & set(now)) - IMPLEMENTATION):
            if not _equal(before[entry], now[entry]):
                keys = OPTIMIZER_KEYS.get(entry, ("SOLVER.OPTIMIZER",))
                wrong.update(_named(keys, changed, f"was {before[entry]}, is {now[entry]}"))
    if wrong:
        raise ConfigError(
            "--resume cannot change these settings, because the optimizer goes on as it was: "
            + "; ".join(wrong.values())
            + ". Give them as they were; or start a new run from the weights: without --resume, with another "
            "OUTPUT_DIR and --weights"
        )


def _named(keys: Sequence[str], changed: Mapping[str, str], values: str) -> dict[str, str]:
    """Those of `keys` that the config says have changed; all together, with `values`, where it does not say."""
    return {key: changed[key] for key in keys if key in changed} or {keys[0]: f"{' or '.join(keys)} ({values})"}


def _equal(one: Any, other: Any) -> bool:
    as_tuple = [tuple(v) if isinstance(v, (list, tuple)) else v for v in (one, other)]
    return bool(as_tuple[0] == as_tuple[1])


def _other_parts(saved: SavedRun, model: torch.nn.Module, changed: Mapping[str, str]) -> str:
    own = set(model.state_dict())
    parts = [
        f"{len(names)} weights are {text}, such as {', '.join(sorted(names)[:3])}"
        for names, text in ((own - saved.weights, "new"), (saved.weights - own, "not in the model any more"))
        if names
    ]
    keys = [text for key, text in changed.items() if key.startswith("MODEL.") or key in OPTIMIZER_NAMES]
    counts = [sum(g["params"] for g in saved.groups), "trained parameters in", len(saved.groups), "groups"]
    said = "; ".join(keys) or "see MODEL.*, FREEZE_AT, SOLVER.BACKBONE_MULTIPLIER, WEIGHT_DECAY_NORM, BIAS_LR_FACTOR"
    return (
        f"--resume: the run trained other parts of a model, or in other groups ({' '.join(map(str, counts))}): "
        f"{said}{'. ' if parts else ''}{'; '.join(parts)}. Give these settings as they were; or start a new run from "
        "the weights: without --resume, with another OUTPUT_DIR and --weights"
    )


def compare_data(saved: SavedRun | None, cfg: CfgNode, loader: Any) -> dict[str, Any]:
    """The fingerprint of the training data of a loader, in all processes; that of a resumed run must be the same.

    Raises:
        ConfigError: as `check_data`.
    """

    def compare() -> dict[str, Any]:
        data = data_fingerprint(cfg.DATASETS.TRAIN, getattr(getattr(loader, "dataset", None), "dicts", ()))
        if saved:
            check_data(saved, data, cfg.DATALOADER.RESUME_ON_OTHER_DATA)
        return data

    return by_first_process(compare)


def check_data(saved: SavedRun, data: Mapping[str, Any], allowed: bool) -> None:
    """Compare the data of a run with that it is resumed with.

    Args:
        data: its fingerprint now.
        allowed: other data is wanted.
    Raises:
        ConfigError: other data, and it is not wanted.
    """
    before = saved.run["data"] if saved.run else None
    if before:
        differs = difference(before, data)
        if not differs and before["names"] != data["names"]:
            logger.info("DATASETS.TRAIN has the same data under another name: %s", ", ".join(data["names"]))
    else:  # of version 0.2 or older
        other = saved.num_images not in (0, data["images"])
        differs = f"{saved.num_images} images, now {data['images']} of {', '.join(data['names'])}" if other else ""
    if not differs:
        return
    if not allowed:
        raise ConfigError(
            f"--resume: DATASETS.TRAIN is not the data of this run: {differs}. Name the data as it was; train anew "
            f"without --resume in another OUTPUT_DIR; or set {OTHER_DATA} True to go on with the other data"
        )
    logger.warning("%s: the run goes on with other data: %s", OTHER_DATA, differs)
