"""Which network a weights file was trained for: architectures of equal shapes may compute different features.

timm's `tf_` families pad as TensorFlow does and have another epsilon in their batch norms; `quickgelu` ones have
another activation. Names and shapes of their weights are those of the plain families.
"""

import hashlib
import logging
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import timm
import torch
from torch import nn

from d2road.checkpoint.plain_pickle import StandIn
from d2road.utils.addresses import is_address
from d2road.utils.errors import CheckpointError, D2RoadError
from d2road.utils.input_files import read_json

logger = logging.getLogger(__name__)

# Where programs write the architecture: timm's own training, its files for the hub, and others.
ENTRIES = ("arch", "architecture", "model_name")
# First convolutions of published weights (SHA-256 of their float32 values): a state dict alone does not say what it is.
FINGERPRINTS = {
    "8ba97205755881fe71b6c14e8e59112d4ab77894047ba6aeffe234055f03eba3": "tf_efficientnet_lite0",
    "6edbd5ee788f9608d6b00ffa49a466698f27133fa1c18ffdb911056ff16a2ac4": "tf_efficientnet_lite1",
    "c2ecd9924eecf2e20c7f78bec03473df531cb2f6c559e8fe394dc50e58302c14": "tf_efficientnet_lite2",
}
FIRST_CONVOLUTIONS = ("conv_stem.weight", "net.conv_stem.weight")
IGNORED_PARTS = ("classifier", "head", "fc", "last_linear", "global_pool", "drop", "head_drop")
TOLERATED = 3.0  # levels of 255 that means and deviations of pixels may differ by: 127 and 127.5 are both in use


def check_architecture(name: str, path: str, loaded: Mapping[str, Any], state: Mapping[str, Any], key: str) -> None:
    """Refuse weights of an architecture that computes other features than timm's `name` of equal shapes.

    Args:
        name: a tag of published weights behind a dot counts for nothing here.
        path: of the file.
        loaded: all that it holds.
        state: its weights by name.
        key: of the config, for messages.
    Raises:
        CheckpointError: the file, its config.json or known values say that it is of another architecture.
    """
    name = name.partition(".")[0]
    stated, where = stated_architecture(path, loaded, state)
    if stated and timm.is_model(stated):
        difference = architecture_difference(name, stated) if stated != name else ""
        if difference:
            raise CheckpointError(
                f"{key} {path}: these are weights of {stated} ({where}), whose shapes are those of {name} but which "
                f"computes other features: {difference}. Set the model's name to {stated}"
            )
        return
    named = _model_in_file_name(path)
    others = [other for other in ([named] if named else twins(name)) if other and other != name]
    for other in others:
        difference = architecture_difference(name, other)
        if difference:
            reason = f"its name says {other}" if named else "it does not say which"
            logger.warning(
                "%s %s: weights of %s and of %s have equal shapes but compute other features (%s), and %s: make sure "
                "that they are of %s", key, path, name, other, difference, reason, name,
            )  # fmt: skip


def stated_architecture(path: str, loaded: Mapping[str, Any], state: Mapping[str, Any]) -> tuple[str, str]:
    """The architecture that a file, or what belongs to it, states, and where; ("", "") where nothing does."""
    for entry in ENTRIES:
        if isinstance(loaded.get(entry), str):
            return loaded[entry].partition(".")[0], f"its entry {entry}"
    arguments = loaded.get("args")
    values = arguments.state if isinstance(arguments, StandIn) else arguments
    if isinstance(values, Mapping) and isinstance(values.get("model"), str):
        return values["model"].partition(".")[0], "its training's --model"
    beside = Path(path).with_name("config.json")
    if not is_address(path) and Path(path).name in ("model.safetensors", "pytorch_model.bin") and beside.is_file():
        try:
            config = read_json(beside)
        except D2RoadError:
            config = None
        if isinstance(config, dict) and isinstance(config.get("architecture"), str):
            return config["architecture"].partition(".")[0], str(beside)
    for first in FIRST_CONVOLUTIONS:
        if first in state and fingerprint(state[first]) in FINGERPRINTS:
            return FINGERPRINTS[fingerprint(state[first])], f"known by the values of {first}"
    return "", ""


def fingerprint(value: Any) -> str:
    """SHA-256 of the values of a tensor, as float32."""
    return hashlib.sha256(torch.as_tensor(value).detach().cpu().float().contiguous().numpy().tobytes()).hexdigest()


def twins(name: str) -> list[str]:
    """Architectures of timm whose weights have the names and shapes of `name` by the way the families are named."""
    plain = name.removeprefix("tf_").replace("_quickgelu", "")
    candidates = {plain, f"tf_{plain}", plain.replace("_clip_", "_clip_quickgelu_")} - {name}
    return sorted(other for other in candidates if timm.is_model(other))


def architecture_difference(one: str, other: str) -> str:
    """The first layer that two architectures of timm do not have alike, in words; "" if all features are alike.

    Architectures of other weights are alike here: loading tells them apart by names and shapes.
    """
    layers, others = _layers(one), _layers(other)
    for place in layers.keys() & others.keys():
        if layers[place][1] != others[place][1]:
            return ""
    for place, (layer, _) in layers.items():
        if place in others and others[place][0] != layer:
            return f"{place} is {layer} in {one} and {others[place][0]} in {other}"
    return ""


def _layers(name: str) -> dict[str, tuple[str, tuple]]:
    """By place: what a layer without layers inside computes, and the shapes of its weights."""
    with torch.device("meta"):
        model = timm.create_model(name, pretrained=False)
    return {
        place: (f"{type(layer).__name__}({layer.extra_repr()})", _shapes(layer))
        for place, layer in model.named_modules()
        if not list(layer.children()) and place.partition(".")[0] not in IGNORED_PARTS
    }


def _shapes(layer: nn.Module) -> tuple:
    return tuple((name, tuple(value.shape)) for name, value in layer.state_dict().items())


def _model_in_file_name(path: str) -> str:
    """The longest name of a timm model that a file's name begins with, as those of published weights do."""
    stem = Path(path).name.partition(".")[0].lower()
    parts = re.split(r"(?=[-_])", stem)
    names = ("".join(parts[:count]) for count in range(len(parts), 0, -1))
    return next((name for name in names if timm.is_model(name)), "")


def check_pixels(name: str, weights: str, mean: list[float], std: list[float], pixel_format: str, key: str) -> None:
    """Warn where pixels are not normalised as any published weights of timm's `name` want it.

    Args:
        weights: where they come from, for the message; "" for none.
        mean, std: of the config, in the order of `pixel_format`, from 0 to 255.
        pixel_format: INPUT.FORMAT, RGB or BGR.
        key: of the config, for messages.
    """
    if not weights or len(mean) != 3 or not timm.is_model(name):
        return
    wanted = {_pixels(config) for config in _published_configs(name)}
    found = tuple(mean if pixel_format == "RGB" else mean[::-1]), tuple(std if pixel_format == "RGB" else std[::-1])
    if wanted and not any(_close(found, other) for other in wanted):
        theirs, deviation = sorted(wanted)[0]
        logger.warning(
            "%s %s: %s was trained on RGB pixels with mean %s and deviation %s; MODEL.PIXEL_MEAN %s and PIXEL_STD %s "
            "with INPUT.FORMAT %s are others",
            key, weights, name, _rounded(theirs), _rounded(deviation), list(mean), list(std), pixel_format,
        )  # fmt: skip


def _published_configs(name: str) -> list[Any]:
    tags = [name, *(tag for tag in timm.list_pretrained(f"{name}.*"))]
    return [config for config in map(timm.get_pretrained_cfg, tags) if config is not None and config.has_weights]


def _pixels(config: Any) -> tuple[tuple[float, ...], tuple[float, ...]]:
    return tuple(255 * value for value in config.mean), tuple(255 * value for value in config.std)


def _close(one: tuple, other: tuple) -> bool:
    return all(abs(a - b) <= TOLERATED for ones, others in zip(one, other) for a, b in zip(ones, others))


def _rounded(values: tuple[float, ...]) -> list[float]:
    return [round(value, 3) for value in values]
