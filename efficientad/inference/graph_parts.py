"""What the export graphs of the anomaly detectors have in common: pixels at one end, a verdict at the other.

Letters: B images, H x W pixels, as they are given.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from d2road.export.antialiased_resize import AntialiasedResize
from d2road.export.graph import ExportGraph, ExportOptions, GraphCheck
from d2road.export.precision import FP32, INT8
from d2road.utils.errors import ConfigError
from efficientad.calibration_statistics import resize_maps
from efficientad.inference.image_batches import resize_rgb

OUTPUTS = ("anomaly_map", "anomaly_score", "is_anomalous")
# Of maps and scores, as a share of the spread of good maps, and of the value itself.
SHARE, RELATIVE = 1e-3, 1e-4
# The same in 8 bits: a value between two levels is rounded up by one engine and down by another.
SHARE_INT8, RELATIVE_INT8 = 0.25, 0.02
Detect = Callable[[list[dict[str, Any]]], list[dict[str, Any]]]


class PreparedImages(nn.Module):
    """Images (B, H, W, 3) uint8 in RGB order to normalised ones (B, 3, h, w), as mapper and model make them.

    Args:
        size: (h, w) that images are resized to, as Pillow does; None takes them as they are.
        mean, std: (3, 1, 1), of pixels from 0 to 255.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, size: tuple[int, int] | None, mean: Tensor, std: Tensor):
        super().__init__()
        self.resize = AntialiasedResize(size) if size else nn.Identity()
        self.register_buffer("mean", mean.detach().clone().cpu())
        self.register_buffer("std", std.detach().clone().cpu())

    def forward(self, images: Tensor) -> Tensor:
        """See above."""
        pixels = self.resize(images.permute(0, 3, 1, 2).float())
        return (pixels - self.mean) / self.std


class AnomalyGraph(nn.Module):
    """Images to maps, scores and verdicts.

    Args:
        prepare: see `PreparedImages`.
        detector: normalised images (B, 3, h, w) and the output's size, which may be traced, to maps (B, 1, H, W)
            and scores (B,), or None where a score is the largest value of its map.
        threshold: of scores; infinite for none.
    """

    def __init__(self, prepare: PreparedImages, detector: nn.Module, threshold: float):
        super().__init__()
        self.prepare, self.detector, self.threshold = prepare, detector, threshold

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(B, H, W, 3) uint8 to maps (B, H, W), scores (B,) and whether they are above the threshold (B,)."""
        maps, scores = self.detector(self.prepare(images), (images.shape[1], images.shape[2]))
        if scores is None:
            scores = maps.flatten(1).amax(1)
        return maps[:, 0], scores, scores > self.threshold


def enlarged(maps: Tensor, size: tuple[int, int]) -> Tensor:
    """Maps (B, 1, h, w) at the size of the image, which need not be known; at their own size they stay as they are."""
    return resize_maps(maps, size)


def network_size(model_size: tuple[int, int], options: ExportOptions) -> tuple[int, int]:
    """(h, w) of the network input of a graph.

    Raises:
        ConfigError: the model takes images of any size as they are, and none is given; or another is given.
    """
    options.refuse_sampling("an anomaly detector")
    if all(model_size):
        if options.image_size is not None:
            raise ConfigError(
                f"--image-size is for models that take images at their own size; this one resizes all to "
                f"{model_size[0]} x {model_size[1]} inside the graph, and takes images of any size: leave it out"
            )
        return model_size
    if options.image_size is None:
        raise ConfigError(
            "INPUT.IMAGE_SIZE is (0, 0): images are taken at their own size, and a graph is made for one of them: name "
            "it, --image-size H W"
        )
    return options.image_size


def export_anomaly_graph(
    detector: nn.Module,
    detect: Detect,
    images: Sequence[np.ndarray],
    *,
    resizes_to: tuple[int, int],
    options: ExportOptions,
    pixel_mean: Tensor,
    pixel_std: Tensor,
    threshold: float | None,
    spread: float,
    good_scores: Sequence[float],
    metadata: Mapping[str, Any],
    precision: str = FP32,
) -> ExportGraph:
    """The graph of an anomaly detector, with what the detector itself says of the test images.

    Args:
        detector: see `AnomalyGraph`.
        detect: the model, on its own inputs.
        resizes_to: the model's `image_size`.
        spread: of the values of maps of good images, which deviations are measured by.
        good_scores: of the good images that the threshold was taken from.
        metadata: of the model, beside what all have.
        precision: fp32, or int8, what the graph says to compute in.
    Raises:
        ConfigError: see `network_size`.
    """
    size, any_size = network_size(resizes_to, options), all(resizes_to)
    limit = float("inf") if threshold is None else threshold
    prepare = PreparedImages(size if any_size else None, pixel_mean, pixel_std)
    given = [image if any_size else resize_rgb(image, size) for image in images]
    first, second = (_check(detect, image, size, limit) for image in given)
    axes = {0: "batch", 1: "height", 2: "width"} if any_size else {0: "batch"}
    allowed = (SHARE_INT8 * spread, RELATIVE_INT8) if precision == INT8 else (SHARE * spread, RELATIVE)
    described = {
        "task": "anomaly",
        "threshold": threshold,
        "image_size": list(size),
        "takes_any_size": any_size,
        "input": "images: (batch, height, width, 3) uint8, RGB; resized and normalised inside",
        "spread": spread,
        "precision": precision,
        "good_scores": [float(f"{score:.6g}") for score in good_scores],
        **metadata,
    }
    return ExportGraph(
        module=AnomalyGraph(prepare, detector, limit).eval(),
        input_names=("images",),
        output_names=OUTPUTS,
        dynamic={"images": axes, "anomaly_map": axes, "anomaly_score": {0: "batch"}, "is_anomalous": {0: "batch"}},
        checks=(first, second),
        tolerances={"anomaly_map": allowed, "anomaly_score": allowed, "is_anomalous": (0.0, 0.0)},
        metadata=described,
    )


def _check(detect: Detect, rgb: np.ndarray, size: tuple[int, int], threshold: float) -> GraphCheck:
    """A test image with what the model finds in it by its own path: Pillow's resize, and no graph."""
    pixels = torch.from_numpy(resize_rgb(rgb, size).transpose(2, 0, 1).astype(np.float32))
    (found,) = detect([{"image": pixels, "height": rgb.shape[0], "width": rgb.shape[1]}])
    score = found["anomaly_score"].cpu().float().numpy().reshape(1)
    outputs = {
        "anomaly_map": found["anomaly_map"].cpu().float().numpy()[None],
        "anomaly_score": score,
        "is_anomalous": score > threshold,
    }
    return GraphCheck({"images": rgb[None].copy()}, outputs)
