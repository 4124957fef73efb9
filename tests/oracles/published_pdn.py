"""Patch description network as the tables of the EfficientAD paper list its layers."""

from torch import nn


def published_pdn(size: str, out: int) -> nn.Sequential:
    """The layers as the paper's tables list them, unpadded, in the order in which nelson1425 numbers them."""
    wide = 1 if size == "small" else 2
    first = [nn.Conv2d(3, 128 * wide, 4), nn.ReLU(), nn.AvgPool2d(2, 2)]
    second = [nn.Conv2d(128 * wide, 256 * wide, 4), nn.ReLU(), nn.AvgPool2d(2, 2)]
    if size == "small":
        return nn.Sequential(*first, *second, nn.Conv2d(256, 256, 3), nn.ReLU(), nn.Conv2d(256, out, 4))
    third = [nn.Conv2d(512, 512, 1), nn.ReLU(), nn.Conv2d(512, 512, 3), nn.ReLU()]
    return nn.Sequential(*first, *second, *third, nn.Conv2d(512, out, 4), nn.ReLU(), nn.Conv2d(out, out, 1))
