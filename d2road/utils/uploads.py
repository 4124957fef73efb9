"""Copies from the host to an accelerator that the host does not wait for."""

from collections.abc import Sequence

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


def upload_together(tensors: Sequence[Tensor], device: torch.device | str) -> list[Tensor]:
    """Tensors of the host on a device, by one copy for all of the same type; there they share its memory."""
    device, moved = torch.device(device), list(tensors)
    if device.type == "cpu" or any(one.device.type != "cpu" or one.requires_grad for one in tensors):
        return [upload(one, device) for one in tensors]
    for dtype in {one.dtype for one in tensors}:
        chosen = [index for index, one in enumerate(tensors) if one.dtype == dtype]
        whole = upload(torch.cat([tensors[index].reshape(-1) for index in chosen]), device)
        parts = whole.split([tensors[index].numel() for index in chosen])
        for index, part in zip(chosen, parts):
            moved[index] = part.view(tensors[index].shape)
    return moved
