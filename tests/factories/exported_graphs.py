"""A small export graph, whose outputs numpy computes, not the graph."""

import numpy as np
import torch
from torch import nn

from d2road.export.graph import ExportGraph, GraphCheck

WEIGHTS = np.array([0.2, 0.5, 0.3], np.float32)


class Grey(nn.Module):
    """The weighted grey of images (B, H, W, 3) uint8, its largest value, and whether that is above 200."""

    def __init__(self) -> None:
        super().__init__()
        self.weights = nn.Parameter(torch.from_numpy(WEIGHTS.copy()))

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        grey = (images.float() * self.weights).sum(-1)
        largest = grey.flatten(1).amax(1)
        return grey, largest, largest > 200


def grey_check(height: int, width: int, seed: int, error: float = 0.0) -> GraphCheck:
    """A test image with what numpy makes of it, the map `error` too high."""
    images = np.random.default_rng(seed).integers(0, 256, (1, height, width, 3), dtype=np.uint8)
    grey = images.astype(np.float32) @ WEIGHTS
    largest = grey.max((1, 2))
    return GraphCheck(
        {"images": images}, {"grey": grey + np.float32(error), "largest": largest, "is_bright": largest > 200}
    )


def grey_graph(error: float = 0.0) -> ExportGraph:
    """The graph with two test images of different sizes."""
    return ExportGraph(
        module=Grey(),
        input_names=("images",),
        output_names=("grey", "largest", "is_bright"),
        dynamic={
            "images": {0: "B", 1: "H", 2: "W"},
            "grey": {0: "B", 1: "H", 2: "W"},
            "largest": {0: "B"},
            "is_bright": {0: "B"},
        },
        checks=(grey_check(12, 17, 0), grey_check(9, 11, 1, error)),
        tolerances={"grey": (1e-3, 0.0), "largest": (0.0, 1e-5), "is_bright": (0.0, 0.0)},
        metadata={"task": "anomaly", "meta_architecture": "Grey", "classes": []},
    )
