"""How weights from a file fit a model: which it takes, which are missing, which nobody expects.

Judged by parameters: buffers may fill themselves in, as batch norms of Detectron2 do, and a file of another model would
pass for a fitting one.
"""

import logging
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from d2road.checkpoint.config_hint import config_hint
from d2road.utils.aliases import present_state_dict
from d2road.utils.errors import CheckpointError

logger = logging.getLogger(__name__)

# What programs put in front of the names of a model that they wrap; of several that fit equally the first is taken.
WRAPPER_PREFIXES = (
    "module.", "model.", "_orig_mod.", "_forward_module.", "ema_model.", "model_ema.", "ema.", "averaged_model.",
    "teacher.", "model_teacher.", "modelTeacher.", "student.", "model_student.", "modelStudent.", "online_network.",
    "net.", "network.", "detector.",
)  # fmt: skip
# What compiled, sharded and checkpointed submodules put between names.
INFIXES = ("_orig_mod.", "_fsdp_wrapped_module.", "_checkpoint_wrapped_module.")
DEEPEST = 3  # wrappers inside wrappers
SHOWN = 10


@dataclass(frozen=True)
class WeightsReport:
    """Which weights of a file a model took.

    Attributes:
        source: the file, for messages.
        taken: parameters that the file has.
        missing: parameters of the model, and running statistics of its batch norms, that it has not.
        missing_buffers: other buffers that it has not.
        unexpected: names in the file that the model does not know.
        differing: "name: shape in the file, shape in the model" of weights of other shapes.
        prefix: of a wrapper, taken off the file's names.
    """

    source: str
    taken: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    missing_buffers: tuple[str, ...] = ()
    unexpected: tuple[str, ...] = ()
    differing: tuple[str, ...] = ()
    prefix: str = ""

    def require_some(self, first: str = "") -> None:
        """Raise CheckpointError where the model takes no parameter at all.

        Args:
            first: a name of the model, to compare with.
        """
        if self.taken or self.differing or not self.missing:
            return
        raise CheckpointError(
            f"{self.source}: none of its {len(self.unexpected)} weights has a name that the model knows (the model's "
            f"first is '{first or self.missing[0]}'; the file has {listed(self.unexpected, 3)}): it belongs to another "
            f"model{config_hint(self.source)}"
        )

    def require_complete(self, cure: str, buffers: bool = False) -> None:
        """Raise CheckpointError, with a list, where parameters are missing or of other shapes.

        Args:
            cure: what to do.
            buffers: other buffers must be there, too.
        """
        missing = [*self.missing, *(self.missing_buffers if buffers else ())]
        if not (missing or self.differing):
            return
        lines = [*self.differing, *(f"{name}: not in the file" for name in missing)]
        more = f"\n  ... and {len(lines) - SHOWN} more" if len(lines) > SHOWN else ""
        counts = f"{len(missing)} weights are missing, {len(self.differing)} have other shapes"
        raise CheckpointError(
            f"{self.source} does not fit the model ({counts}); {cure}:\n  " + "\n  ".join(lines[:SHOWN]) + more
        )

    def log(self) -> None:
        """Say, by count and names, what was not taken; nothing where all fits."""
        if self.prefix:
            logger.info("%s: took '%s' off its names", self.source, self.prefix)
        total = len(self.taken) + len(self.missing) + len(self.differing)
        for names, what in (
            (self.differing, f"of {total} parameters have other shapes in the file and stay as initialised"),
            (self.missing, f"of {total} parameters are not in the file and stay as initialised"),
            (self.missing_buffers, "buffers are not in the file and stay as initialised"),
            (self.unexpected, "entries of the file have no place in the model and are left out"),
        ):
            if names:
                logger.warning("%s: %d %s: %s", self.source, len(names), what, listed(names))


def listed(names: Iterable[str], limit: int = SHOWN) -> str:
    """The first several names, and how many more there are."""
    names = list(names)
    more = f" and {len(names) - limit} more" if len(names) > limit else ""
    return ", ".join(names[:limit]) + more


def parameter_names(model: nn.Module) -> list[str]:
    """What a weights file must have: the parameters in the state dict, and the running statistics of batch norms."""
    kept = model.state_dict().keys()
    names = [name for name, _ in model.named_parameters(remove_duplicate=False) if name in kept]
    for prefix, module in model.named_modules():
        if isinstance(module, _BatchNorm) and module.running_mean is not None:
            names += [f"{prefix}.{leaf}".lstrip(".") for leaf in ("running_mean", "running_var")]
    return [name for name in names if name in kept]


def match(model: nn.Module, state: Mapping[str, Any], source: str) -> tuple[dict[str, Any], WeightsReport]:
    """The weights of a file that have a place and the right shape in a model, and a report of all of them.

    Args:
        state: by name, under the names of today or with the prefix of a wrapper.
        source: to call the file in messages.
    """
    own, prefix = model.state_dict(), ""
    state, prefix = without_wrappers(state, own)
    fitting = {name: torch.as_tensor(value) for name, value in state.items() if name in own}
    shapes = {
        name: (tuple(value.shape), tuple(own[name].shape))
        for name, value in fitting.items()
        if value.shape != own[name].shape
    }
    report = report_of(model, source, own.keys() - fitting.keys(), state.keys() - own.keys(), shapes, prefix)
    return {name: value for name, value in fitting.items() if name not in shapes}, report


def report_of(
    model: nn.Module,
    source: str,
    absent: Iterable[str],
    unexpected: Iterable[str],
    shapes: Mapping[str, tuple[tuple, tuple]],
    prefix: str = "",
) -> WeightsReport:
    """A report in the order of the model, from names in its state dict that a file lacks, and (file, model) shapes."""
    absent, parameters = set(absent) - shapes.keys(), parameter_names(model)
    places = dict(model.named_parameters(remove_duplicate=False))
    given = {id(places[name]) for name in parameters if name in places and name not in absent}
    # A parameter that goes by two names is there if one of them is.
    absent -= {name for name in absent if name in places and id(places[name]) in given}
    needed = set(parameters)
    return WeightsReport(
        source,
        tuple(name for name in parameters if name not in absent and name not in shapes),
        tuple(name for name in parameters if name in absent),
        tuple(
            name
            for name in model.state_dict()
            if name in absent and name not in needed and not name.endswith("num_batches_tracked")
        ),
        tuple(sorted(unexpected)),
        tuple(f"{name}: {given} in the file, {own} in the model" for name, (given, own) in shapes.items()),
        prefix,
    )


def without_wrappers(state: Mapping[str, Any], wanted: Iterable[str]) -> tuple[dict[str, Any], str]:
    """A state dict without the prefix of a wrapper, where more names fit without it.

    Args:
        wanted: names of the model.
    Returns:
        the state dict under the names of today, and the prefix that was taken off.
    """
    wanted = set(wanted)
    best, taken, rivals = present_state_dict(state), "", list[str]()
    most = len(wanted & best.keys())
    for candidate, prefix in _unwrapped(state):
        renamed = present_state_dict(candidate)
        count = len(wanted & renamed.keys())
        if count > most:
            best, taken, most, rivals = renamed, prefix, count, []
        elif count == most and taken and count and not (prefix.startswith(taken) or taken.startswith(prefix)):
            rivals.append(prefix)
    if rivals:
        logger.warning("weights lie under '%s' and under '%s': the former are taken", taken, "', '".join(rivals))
    return best, taken


def _unwrapped(state: Mapping[str, Any]) -> Iterator[tuple[Mapping[str, Any], str]]:
    """Everything that prefixes and infixes of wrappers may hide, the simplest first."""
    level: list[tuple[Mapping[str, Any], str]] = [(state, "")]
    if any(infix in name for name in state for infix in INFIXES):
        plain = {_without_infixes(name): value for name, value in state.items()}
        level.append((plain, ""))
        yield plain, INFIXES[0]
    for _ in range(DEEPEST):
        inner: list[tuple[Mapping[str, Any], str]] = []
        for outer, done in level:
            for prefix in WRAPPER_PREFIXES:
                part = {name[len(prefix) :]: value for name, value in outer.items() if name.startswith(prefix)}
                if part:
                    inner.append((part, done + prefix))
        yield from inner
        level = inner


def _without_infixes(name: str) -> str:
    for infix in INFIXES:
        name = name.replace(infix, "")
    return name


def require_finite(model: nn.Module, names: Iterable[str], source: str) -> None:
    """Raise CheckpointError, with the names, where weights that were taken are NaN or infinite."""
    state = model.state_dict()
    bad = [name for name in names if state[name].is_floating_point() and not torch.isfinite(state[name]).all()]
    if bad:
        raise CheckpointError(
            f"{source}: {len(bad)} of its weights have values that are NaN or infinite ({listed(bad, 5)}): the file is "
            "damaged, or of a training that diverged; take another or an earlier one"
        )
