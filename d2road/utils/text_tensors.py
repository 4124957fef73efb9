"""Short texts inside a state dict, as tensors: what a checkpoint was made with travels with its weights."""

import torch
from torch import Tensor

LENGTH = 160


def encode(text: str, length: int = LENGTH) -> Tensor:
    """A text as (length,) uint8; a longer one loses its beginning."""
    content = text.encode("utf-8")[-length:]
    return torch.tensor(list(content) + [0] * (length - len(content)), dtype=torch.uint8)


def decode(record: Tensor) -> str:
    """The text of `encode`."""
    return bytes(record.cpu().tolist()).rstrip(b"\0").decode("utf-8", errors="ignore")
