"""Batch norm folded into convolutions, for inference."""

from itertools import pairwise

import torch
from detectron2.layers import Conv2d as Detectron2Conv2d
from detectron2.layers import FrozenBatchNorm2d
from timm.layers import BatchNormAct2d, Conv2dSame
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_weights

# Exact types: subclasses may standardise their weights on the way, which a changed weight would upset.
CONVOLUTIONS = (nn.Conv2d, Detectron2Conv2d, Conv2dSame)
# Modules that register `conv` and `bn` in the order of their use.
IN_ORDER = ("timm.", "d2road.modeling.backbone.dla")
BATCH_NORMS = (nn.BatchNorm2d, FrozenBatchNorm2d, BatchNormAct2d)


def fuse_for_inference(model: nn.Module) -> nn.Module:
    """Fold fixed batch norms into the convolutions before them and lay convolution weights out channels-last, in place.

    The outputs are those of before up to rounding. The state dict is not: load weights first, and neither train nor
    save what comes out. A batch norm stays where it is not certain that it follows a convolution directly. Certain are
    Detectron2's convolution with its own norm, neighbours in an `nn.Sequential`, and the blocks of timm and DLA, which
    register `conv_x` and then `bn_x` in the order of their use.

    Args:
        model: in eval mode, with its final weights.
    Returns:
        the same model; its parameters do not require gradients any more.
    Raises:
        ValueError: the model, or a part of it, is in training mode.
    """
    if any(module.training for module in model.modules()):
        raise ValueError("fuse_for_inference got a model in training mode; call model.eval() first")
    for module in list(model.modules()):
        if type(module) is Detectron2Conv2d and type(module.norm) in BATCH_NORMS and _is_fixed(module.norm):
            activation = _fold(module, module.norm)
            module.norm = None if isinstance(activation, nn.Identity) else activation
        _fold_neighbours(module)
    for module in model.modules():
        if isinstance(module, (nn.Conv2d, nn.ConvTranspose2d)):
            module.to(memory_format=torch.channels_last)
    return model.requires_grad_(False)


def _fold_neighbours(parent: nn.Module) -> None:
    """Fold each batch norm among the children of `parent` that directly follows a convolution."""
    children = list(parent.named_children())
    in_order = type(parent).__module__.startswith(IN_ORDER)
    for (conv_name, conv), (norm_name, norm) in pairwise(children):
        if type(conv) not in CONVOLUTIONS or type(norm) not in BATCH_NORMS:
            continue
        assert isinstance(conv, nn.Conv2d) and isinstance(norm, BATCH_NORMS)
        if not _is_fixed(norm):
            continue
        named = in_order and conv_name.startswith("conv") and norm_name.startswith("bn")
        if (type(parent) is nn.Sequential or named) and not _does_more(conv):
            setattr(parent, norm_name, _fold(conv, norm))


def _does_more(conv: nn.Module) -> bool:
    """Whether a convolution applies a norm or an activation of its own."""
    return getattr(conv, "norm", None) is not None or getattr(conv, "activation", None) is not None


def _is_fixed(norm: nn.BatchNorm2d | FrozenBatchNorm2d) -> bool:
    """Whether a norm takes its statistics from training, not from the batch."""
    return isinstance(norm, FrozenBatchNorm2d) or norm.running_mean is not None


@torch.no_grad()
def _fold(conv: nn.Conv2d, norm: nn.BatchNorm2d | FrozenBatchNorm2d) -> nn.Module:
    """Change `conv` so that it does what `norm` did; returns what is left of the norm: its activation."""
    assert norm.running_mean is not None and norm.running_var is not None
    weight, bias = fuse_conv_bn_weights(
        conv.weight, conv.bias, norm.running_mean, norm.running_var, norm.eps, norm.weight, norm.bias
    )
    conv.weight, conv.bias = nn.Parameter(weight), nn.Parameter(bias)
    return norm.act if isinstance(norm, BatchNormAct2d) else nn.Identity()
