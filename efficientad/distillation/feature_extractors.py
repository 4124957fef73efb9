"""Pretrained networks that teachers are distilled from."""

from collections.abc import Sequence

import torch
import torchvision
from torch import Tensor, nn

from d2road.checkpoint.fit import require_finite, without_wrappers
from d2road.checkpoint.weights import load_weights_file, weights_of
from d2road.modeling.backbone.packaged_weights import PACKAGED
from d2road.modeling.backbone.timm_backbone import TimmBackbone
from d2road.utils.errors import CheckpointError
from d2road.utils.registry import Registry

IMAGENET = ((123.675, 116.28, 103.53), (58.395, 57.12, 57.375))
LITE0 = "tf_efficientnet_lite0"
WIDE_RESNET_CURE = (
    "name the file wide_resnet101_2-32ee1156.pth (torchvision, IMAGENET1K_V1, the published choice) in "
    "MODEL.EFFICIENT_AD.DISTILL.FEATURE_WEIGHTS, or set DISTILL.FEATURES efficientnet_lite0, whose weights "
    "are installed"
)


class FeatureExtractor(nn.Module):
    """Maps of strides 8 and 16 of a frozen network.

    Args:
        net: images (B, 3, H, W), normalised, to the maps.
        mean, std: of its pixels, RGB from 0 to 255.
        label: what to call it.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, net: nn.Module, mean: Sequence[float], std: Sequence[float], label: str):
        super().__init__()
        self.net, self.label = net.eval().requires_grad_(False), label
        self.register_buffer("mean", torch.tensor(mean).view(-1, 1, 1))
        self.register_buffer("std", torch.tensor(std).view(-1, 1, 1))

    @torch.no_grad()
    def forward(self, images: Tensor) -> list[Tensor]:
        """Maps of images (B, 3, H, W) in 0 to 255."""
        return self.net((images - self.mean) / self.std)


FEATURE_EXTRACTORS = Registry("feature extractor")
FEATURE_EXTRACTORS.__doc__ = 'Values of DISTILL.FEATURES: functions of a weights file (or "") to a `FeatureExtractor`.'


def build_extractor(name: str, weights: str = "") -> FeatureExtractor:
    """A feature extractor by name.

    Args:
        weights: file of its weights, where the installed packages have none.
    Raises:
        FileNotFoundError: no such file, or the package is not installed.
        ConfigError: unknown name; lists the known ones.
        CheckpointError: weights of another network, or none.
    """
    return FEATURE_EXTRACTORS.get(name)(weights)


@FEATURE_EXTRACTORS.register(name="efficientnet_lite0")
def efficientnet_lite0(weights: str = "") -> FeatureExtractor:
    """EfficientNet-Lite0 with the weights of the installed package."""
    entry = PACKAGED[LITE0]
    return FeatureExtractor(_Lite0(), entry.pixel_mean, entry.pixel_std, "EfficientNet-Lite0")


@FEATURE_EXTRACTORS.register(name="wide_resnet101")
def wide_resnet101(weights: str = "") -> FeatureExtractor:
    """WideResNet-101-2, the published choice, from a file of torchvision's weights."""
    if not weights:
        raise CheckpointError(f"wide_resnet101 needs a file of its weights: {WIDE_RESNET_CURE}")
    return FeatureExtractor(_WideResNet(weights), *IMAGENET, "WideResNet-101-2")


class _WideResNet(nn.Module):
    def __init__(self, path: str):
        super().__init__()
        net = torchvision.models.wide_resnet101_2(weights=None)
        state, _ = without_wrappers(weights_of(load_weights_file(path), path), net.state_dict())
        try:
            net.load_state_dict(state)
        except RuntimeError as error:
            raise CheckpointError(
                f"{path}: not the weights of torchvision's wide_resnet101_2; {WIDE_RESNET_CURE}"
            ) from error
        require_finite(net, state, path)
        self.first = nn.Sequential(net.conv1, net.bn1, net.relu, net.maxpool, net.layer1)
        self.layer2, self.layer3 = net.layer2, net.layer3

    def forward(self, x: Tensor) -> list[Tensor]:
        second = self.layer2(self.first(x))
        return [second, self.layer3(second)]


class _Lite0(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.backbone = TimmBackbone(name=LITE0, weights="package", out_features=("s8", "s16"), norm="frozen")

    def forward(self, x: Tensor) -> list[Tensor]:
        return list(self.backbone(x).values())
