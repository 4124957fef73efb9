"""What runs a trained model: its precision and its library, by the keys of INFERENCE. The one place that decides."""

import logging

import torch
from detectron2.config import CfgNode
from torch import nn

from d2road.engine import meta_arch
from d2road.engine.backend_model import backend_model
from d2road.export.engines import OpenVinoSession, is_installed
from d2road.export.precision import AUTO, BF16, FP32, INT8, choose_precision
from d2road.utils.errors import ConfigError
from d2road.utils.processor import multiplies_bfloat16, multiplies_bytes

logger = logging.getLogger(__name__)
TORCH = "torch"


def ready_for_inference(cfg: CfgNode, model: nn.Module) -> nn.Module:
    """The model as INFERENCE says: folded and in its precision, in place, or another that calls a library.

    Args:
        model: loaded, calibrated, in eval mode.
    Raises:
        ConfigError: the model cannot do what the keys ask for, with what it can.
    """
    backend = chosen_backend(cfg)
    if backend != TORCH:
        try:
            found = backend_model(cfg, model, backend)
            logger.info("Inference in %s by %s", found.precision, found.backend)
            return found
        except ConfigError as error:
            if cfg.INFERENCE.BACKEND != AUTO:
                raise
            logger.info("INFERENCE.BACKEND auto: torch, since %s", error)
    precision = torch_precision(cfg, model)
    meta_arch.prepare_for_inference(model)
    if isinstance(model, meta_arch.LowersPrecision):
        model.set_precision(precision)
    if precision != FP32:
        logger.info("Inference in %s", precision)
    return model


def asks_for_more(cfg: CfgNode) -> bool:
    """Whether INFERENCE names anything but the model as it was trained."""
    return cfg.INFERENCE.BACKEND != TORCH or cfg.INFERENCE.PRECISION != FP32


def chosen_backend(cfg: CfgNode) -> str:
    """The library that INFERENCE.BACKEND names; for `auto` the one that was measured to be faster.

    That is OpenVINO for networks in 8 bits, and PyTorch, as this project prepares models for it, for all others.
    """
    node = cfg.INFERENCE
    if node.BACKEND != AUTO:
        return node.BACKEND
    if node.PRECISION != INT8 or cfg.MODEL.DEVICE != "cpu" or not multiplies_bytes():
        return TORCH
    if is_installed(OpenVinoSession):
        return OpenVinoSession.engine
    logger.info("INFERENCE.BACKEND auto: torch; int8 is faster by OpenVINO, which is not here: pip install openvino")
    return TORCH


def torch_precision(cfg: CfgNode, model: nn.Module) -> str:
    """The precision that PyTorch is to run a model in.

    Raises:
        ConfigError: the model cannot run in the one that INFERENCE.PRECISION names.
    """
    offered = model.precisions if isinstance(model, meta_arch.LowersPrecision) else (FP32,)
    device = torch.device(cfg.MODEL.DEVICE)
    return choose_precision(cfg.INFERENCE.PRECISION, offered, native_precisions(device), cfg.MODEL.META_ARCHITECTURE)


def native_precisions(device: torch.device) -> tuple[str, ...]:
    """What a device multiplies itself."""
    if device.type == "cuda":
        return (FP32, BF16) if torch.cuda.is_bf16_supported(including_emulation=False) else (FP32,)
    if device.type != "cpu":
        return (FP32,)
    return (FP32, *([BF16] if multiplies_bfloat16() else []), *([INT8] if multiplies_bytes() else []))
