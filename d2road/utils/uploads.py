"""Copies from the host to an accelerator that the host does not wait for."""

import torch
from torch import Tensor


def upload(tensor: Tensor, device: torch.device | str) -> Tensor:
    """A tensor of the host on a device.

    From pinned memory, which PyTorch keeps until the copy is done, so that the host goes on at once. A tensor that is
    on the device already is returned as it is.
    """
    device = torch.device(device)
    if device.type == "cuda" and tensor.device.type == "cpu" and not tensor.is_pinned():
        tensor = tensor.pin_memory()
    return tensor.to(device, non_blocking=True)
