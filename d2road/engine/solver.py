"""Optimizer and gradient clipping from a config."""

from collections.abc import Callable, Iterable

import torch
from detectron2.config import CfgNode
from torch import nn

from d2road.config.validate import CLIP_TYPES, FUSED, OPTIMIZERS
from d2road.utils.errors import ConfigError

NORM_TYPES = (
    nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm, nn.GroupNorm, nn.LayerNorm, nn.LocalResponseNorm,
    nn.InstanceNorm1d, nn.InstanceNorm2d, nn.InstanceNorm3d,
)  # fmt: skip


def build_optimizer(cfg: CfgNode, model: nn.Module) -> torch.optim.Optimizer:
    """SOLVER.OPTIMIZER over the parameters that train.

    Parameters under `backbone.` learn at BASE_LR * BACKBONE_MULTIPLIER. WEIGHT_DECAY holds for all parameters, unless
    WEIGHT_DECAY_NORM or WEIGHT_DECAY_BIAS state another one for normalisation layers or biases.

    Raises:
        ConfigError: unknown optimizer, or nothing to train.
    """
    name = cfg.SOLVER.OPTIMIZER.upper()
    groups = parameter_groups(cfg, model)
    if not groups:
        raise ConfigError("the model has no parameter that trains")
    common = {"lr": cfg.SOLVER.BASE_LR, "weight_decay": cfg.SOLVER.WEIGHT_DECAY, "fused": is_fused(cfg, groups) or None}
    if name == "ADAMW":
        return torch.optim.AdamW(groups, **common)
    if name == "ADAM":  # with weight decay added to the gradients
        return torch.optim.Adam(groups, **common)
    if name == "SGD":
        return torch.optim.SGD(groups, momentum=cfg.SOLVER.MOMENTUM, nesterov=cfg.SOLVER.NESTEROV, **common)
    raise ConfigError(f"SOLVER.OPTIMIZER is '{cfg.SOLVER.OPTIMIZER}', expected one of {', '.join(OPTIMIZERS)}")


def is_fused(cfg: CfgNode, groups: list[dict]) -> bool:
    """Whether SOLVER.FUSED asks for one kernel for all parameters.

    Raises:
        ConfigError: unknown value.
    """
    choice = cfg.SOLVER.FUSED
    if choice not in FUSED:
        raise ConfigError(f"SOLVER.FUSED is {choice!r}, expected one of {', '.join(FUSED)}")
    return choice == "on" or (choice == "auto" and all(p.is_cuda for group in groups for p in group["params"]))


def parameter_groups(cfg: CfgNode, model: nn.Module) -> list[dict]:
    """Parameters that share a learning rate and a weight decay, each parameter once, in the model's order."""
    solver = cfg.SOLVER
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    seen: set[nn.Parameter] = set()
    for prefix, module in model.named_modules():
        for name, parameter in module.named_parameters(recurse=False):
            if not parameter.requires_grad or parameter in seen:
                continue
            seen.add(parameter)
            rate, decay = solver.BASE_LR, solver.WEIGHT_DECAY
            if f"{prefix}.{name}".startswith("backbone."):
                rate *= solver.BACKBONE_MULTIPLIER
            if isinstance(module, NORM_TYPES) and solver.WEIGHT_DECAY_NORM is not None:
                decay = solver.WEIGHT_DECAY_NORM
            if name == "bias":
                rate *= solver.BIAS_LR_FACTOR
                decay = decay if solver.WEIGHT_DECAY_BIAS is None else solver.WEIGHT_DECAY_BIAS
            groups.setdefault((rate, decay), []).append(parameter)
    return [{"params": group, "lr": rate, "weight_decay": decay} for (rate, decay), group in groups.items()]


def build_clipper(cfg: CfgNode) -> Callable[[Iterable[nn.Parameter]], torch.Tensor | None] | None:
    """A function that clips the gradients of parameters in place, as SOLVER.CLIP_GRADIENTS says; None if disabled.

    "full_model" scales all gradients together to a norm of at most CLIP_VALUE, and the function returns the norm that
    they had; "norm" does so for each parameter by itself, "value" limits each element.

    Raises:
        ConfigError: unknown CLIP_TYPE, or CLIP_VALUE not positive.
    """
    clip = cfg.SOLVER.CLIP_GRADIENTS
    if not clip.ENABLED:
        return None
    if clip.CLIP_TYPE not in CLIP_TYPES:
        raise ConfigError(
            f"SOLVER.CLIP_GRADIENTS.CLIP_TYPE is '{clip.CLIP_TYPE}', expected one of {', '.join(CLIP_TYPES)}"
        )
    limit, norm = float(clip.CLIP_VALUE), float(clip.NORM_TYPE)
    if not limit > 0:
        raise ConfigError(f"SOLVER.CLIP_GRADIENTS.CLIP_VALUE is {limit}, expected more than 0 (ENABLED: False is off)")

    def clip_full_model(parameters: Iterable[nn.Parameter]) -> torch.Tensor:
        return nn.utils.clip_grad_norm_(parameters, limit, norm)

    def clip_norm(parameters: Iterable[nn.Parameter]) -> None:
        for parameter in parameters:
            nn.utils.clip_grad_norm_(parameter, limit, norm)

    def clip_value(parameters: Iterable[nn.Parameter]) -> None:
        nn.utils.clip_grad_value_(parameters, limit)

    return {"full_model": clip_full_model, "norm": clip_norm, "value": clip_value}[clip.CLIP_TYPE]
