"""ImageNet ResNets of two kinds: where a block strides, and how its pixels come.

Weights of both kinds have equal names and shapes in Detectron2:

    torchvision   stride in the 3x3 convolution (RESNETS.STRIDE_IN_1X1 False), pixels in RGB, divided by their deviation
    Caffe2        of MSRA: stride in the first 1x1 convolution (True), pixels in BGR, PIXEL_STD 1
"""

import logging

import torch
from torch import nn

logger = logging.getLogger(__name__)

KINDS = {"torchvision": (False, "RGB", True), "Caffe2": (True, "BGR", False)}  # stride in 1x1, order, divided


def warn_of_other_kind(model: nn.Module, author: str, source: str) -> None:
    """Warn, once and with the keys to set, where a model strides or takes pixels as the other kind does.

    Args:
        model: with Detectron2's ResNet somewhere inside; nothing is said of others.
        author: `__author__` of a file of ImageNet weights.
        source: to call the file in messages.
    """
    strides = _stride_in_1x1(model)
    if author not in KINDS or strides is None:
        return
    stride, order, divided = KINDS[author]
    odd = [] if strides == stride else [f"RESNETS.STRIDE_IN_1X1 is {strides}, expected {stride}"]
    mean, std = getattr(model, "pixel_mean", None), getattr(model, "pixel_std", None)
    if isinstance(mean, torch.Tensor) and isinstance(std, torch.Tensor) and mean.numel() == std.numel() == 3:
        first, *_, last = mean.flatten().tolist()
        if first != last and (first > last) != (order == "RGB"):  # red is the brightest over ImageNet
            odd.append(f"PIXEL_MEAN {mean.flatten().tolist()} is not in the order {order} (with INPUT.FORMAT {order})")
        if (float(std.max()) > 2) != divided:
            odd.append(f"PIXEL_STD is {std.flatten().tolist()}, expected {'57 or so' if divided else '1'}")
    if odd:
        logger.warning("%s holds weights of %s's ResNet, but the model differs: %s", source, author, "; ".join(odd))


def _stride_in_1x1(model: nn.Module) -> bool | None:
    """Where bottleneck blocks stride; None without any, or where convolutions are grouped (ResNeXt: always the 3x3)."""
    for block in model.modules():
        if type(block).__name__ != "BottleneckBlock":
            continue
        first, second = block.get_submodule("conv1"), block.get_submodule("conv2")
        if not (isinstance(first, nn.Conv2d) and isinstance(second, nn.Conv2d)) or second.groups > 1:
            continue
        if 2 in (first.stride[0], second.stride[0]):
            return first.stride[0] == 2
    return None
