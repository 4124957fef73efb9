"""Rows of 3D boxes, x y z h w l ry, from annotations."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor


def row_of(annotation: Mapping[str, Any]) -> list[float]:
    """x, y, z, h, w, l, ry of an annotation with `location`, `dimensions_hwl` and `rotation_y`."""
    return [*annotation["location"], *annotation["dimensions_hwl"], annotation["rotation_y"]]


def stack_rows(annotations: Sequence[Mapping[str, Any]]) -> Tensor:
    """(N, 7) float64 rows x, y, z, h, w, l, ry of annotations."""
    return torch.tensor([row_of(a) for a in annotations], dtype=torch.float64).reshape(-1, 7)
