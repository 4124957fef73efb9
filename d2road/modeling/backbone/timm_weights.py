"""Start weights of a timm feature extractor: packaged, downloaded by timm, or from a file."""

import logging
from typing import Any

import timm
import torch
from timm.models import adapt_input_conv
from torch import nn

from d2road.checkpoint.fit import require_finite, without_wrappers
from d2road.checkpoint.weights import load_weights_file, weights_of
from d2road.modeling.backbone.packaged_weights import load_packaged_weights
from d2road.modeling.backbone.weights_origin import check_architecture
from d2road.utils.errors import CheckpointError

logger = logging.getLogger(__name__)

# What detectors have in front of timm's names: our own ones, bare backbones, CenterNet.
PREFIXES = ("backbone.bottom_up.net.", "backbone.net.", "backbone.bottom_up.", "backbone.", "net.", "base.")


def load_timm_weights(
    net: nn.Module, name: str, weights: str, in_channels: int = 3, key: str = "MODEL.TIMM.WEIGHTS"
) -> None:
    """Load the weights that ``weights`` names into the feature extractor ``net``, with the names of timm's ``name``.

    Args:
        weights: "" leaves ``net`` as it is | "package" from an installed Python package | "timm" downloaded by timm |
            anything else is the path of a state dict of the complete timm model or of the extractor.
        in_channels: of the input; the first convolution is adapted as timm does where the file has another number.
        key: config key that ``weights`` comes from, for messages.
    Raises:
        CheckpointError: parameters are missing in the file or differ in shape, or timm could not download.
        FileNotFoundError: no such file or package.
    """
    if not weights:
        return
    if weights == "package":
        state = load_packaged_weights(name)
    elif weights == "timm":
        state = _download(name, key)
    else:
        loaded = load_weights_file(weights)
        state = _strip(weights_of(loaded, weights), net)
        check_architecture(name, weights, loaded, state, key)
    source = {"package": f"package weights of {name}", "timm": f"timm's weights of {name}"}.get(weights, weights)
    _load(net, name, state, f"{key} {source}", in_channels)


def _download(name: str, key: str) -> dict[str, torch.Tensor]:
    """timm's own weights as the state dict of the complete model."""
    try:
        return timm.create_model(name, pretrained=True).state_dict()
    except Exception as error:  # each download library raises its own kinds
        raise CheckpointError(
            f"{key} 'timm': cannot download weights of {name} ({type(error).__name__}: {error}). Without "
            "network: save `timm.create_model(name, pretrained=True).state_dict()` with torch.save on a connected "
            f"machine and set {key} to that file, or take a model with packaged weights ('package')"
        ) from error


def _strip(state: dict[str, Any], net: nn.Module) -> dict[str, Any]:
    """``state`` without the prefixes of detectors and wrappers in front of timm's names."""
    wanted = {form for key in net.state_dict() for form in _stored_names(key)}
    state, _ = without_wrappers(state, [f"{prefix}{name}" for name in wanted for prefix in ("", *PREFIXES)])
    for prefix in PREFIXES:
        inner = {key[len(prefix) :]: value for key, value in state.items() if key.startswith(prefix)}
        if wanted & inner.keys() and len(wanted & inner.keys()) > len(wanted & state.keys()):
            return inner
    return state


def _load(net: nn.Module, name: str, state: dict, source: str, in_channels: int) -> None:
    wanted = net.state_dict()
    found, missing, differing = {}, [], []
    for key, current in wanted.items():
        stored = next((form for form in _stored_names(key) if form in state), None)
        if stored is None:
            # Files without batch counters are complete: the counter has no part in any computation here.
            if not key.endswith("num_batches_tracked"):
                missing.append(key)
            continue
        value = torch.as_tensor(state[stored])
        if value.shape != current.shape and value.ndim == 4 and current.ndim == 4 and current.shape[1] == in_channels:
            value = adapt_input_conv(in_channels, value)
        if value.shape != current.shape:
            differing.append(f"{key} {tuple(value.shape)} instead of {tuple(current.shape)}")
        found[key] = value
        state = {k: v for k, v in state.items() if k != stored}
    if missing or differing:
        raise CheckpointError(
            f"{source}: does not fit {name}. Missing: {_some(missing)}; other shapes: "
            f"{_some(differing)}; unused: {_some(list(state))}. "
            "Choose by MODEL.BACKBONE.NAME or MODEL.TIMM.NAME the model that it was saved from"
        )
    net.load_state_dict(found, strict=False)
    require_finite(net, found, source)
    logger.info("Loaded %s: %d tensors; unused: %s", source, len(found), _some(list(state)))


def _stored_names(key: str) -> list[str]:
    """Names that a parameter of the extractor may have in the complete model.

    timm's wrappers rename: ``layers_0.blocks`` was ``layers.0.blocks``, ``model.blocks`` was ``blocks``.
    """
    forms = [key]
    head, _, rest = key.partition(".")
    if head == "model":
        forms.append(rest)
    forms += [f"{head[:i]}.{head[i + 1 :]}.{rest}" for i, letter in enumerate(head) if letter == "_"]
    return forms


def _some(names: list[str], limit: int = 6) -> str:
    if not names:
        return "none"
    more = f" and {len(names) - limit} more" if len(names) > limit else ""
    return ", ".join(names[:limit]) + more
