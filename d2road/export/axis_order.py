"""Which axis of an image is resized first, inside a graph: for a tall one the vertical axis may be.

A branch of ONNX would do, but OpenVINO (2026.4) computes a convolution behind one wrongly; and what leaves a branch of
torch.export has sizes of its own. So all images go one way and none the other, and what is none costs nothing.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

Passes = Callable[..., Tensor]


def resize_in_order(
    vertical: Tensor, vertical_first: Passes, horizontal_first: Passes, images: Tensor, *weights: Tensor
) -> Tensor:
    """Both passes over images, the vertical one first where a graph finds `vertical` to be set.

    Args:
        vertical: () bool.
        vertical_first, horizontal_first: of (images, *weights), each to images of one size.
        images: (B, C, H, W).
    """
    total, count = images.shape[0], vertical.long() * images.shape[0]
    if torch.compiler.is_exporting():
        size: Any = count.item()  # a number that the graph computes
        torch._check(size >= 0)
        torch._check(size <= total)
        parts = images.narrow(0, 0, size), images.narrow(0, size, total - size)
    else:
        parts = images[:count], images[count:]
    return torch.cat((vertical_first(parts[0], *weights), horizontal_first(parts[1], *weights)))
