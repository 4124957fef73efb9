"""DiffusionDet as a graph of tensors: one image and its noise in, the objects of a fixed number of steps out.

Letters: N boxes, K classes, S reported steps, R rows of noise, D objects.

    image -> resize -> preprocess -> features -> denoise (unrolled, box renewal by mask) -> select -> boxes in pixels

The generators of one library cannot be had in another, so every random number is an input of the graph.
"""

import copy
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import torch
from detectron2.structures import ImageList
from torch import Tensor, nn

from d2road.export.shortest_edge_resize import ShortestEdgeResize, normalize_padded, size_tensor
from diffusion_det.denoising import NoiseSource, SamplingOptions, class_scores


class UnrollableDetector(Protocol):
    """What of DiffusionDet the graph is made of; see there."""

    sampling: SamplingOptions
    criterion: Any
    sample_step: int
    test_num_proposals: int
    compat: bool
    pixel_mean: Tensor
    pixel_std: Tensor

    def features(self, images: Any) -> list[Tensor]: ...

    def denoise(self, features: list[Tensor], whwh: Tensor, noise: NoiseSource) -> list[tuple[Tensor, ...]]: ...

    def select(self, steps: list[tuple[Tensor, ...]]) -> list: ...


@dataclass
class RecordedNoise:
    """Noise of one image that is given in advance: rows (R, N, 4) in the order in which `denoise` asks for them."""

    rows: Tensor
    used: int = field(default=0, init=False)

    def normal(self, count: int, size: int) -> Tensor:
        """The next row, (1, count, size)."""
        self.used += 1
        return self.rows[self.used - 1].unsqueeze(0)


def noise_rows(steps: int, renewal: bool) -> int:
    """R: the start; after each step but the last the solver's and, with renewal, random boxes and the noise on them."""
    return 1 + (steps - 1) * (3 if renewal else 1)


def unrolled(model: Any, steps: int) -> Any:
    """A detector over the same submodules that takes `steps` steps and all of its noise from outside."""
    model = copy.copy(model)
    # They look for the detector itself, which nobody may hold any more; weights are not loaded into this one.
    model._load_state_dict_pre_hooks = type(model._load_state_dict_pre_hooks)()
    # Of one step the published loop is this one, but for where its noise comes from.
    model.sample_step, model.compat = steps, False
    model.sampling = replace(model.sampling, steps=steps, num_proposals=model.test_num_proposals)
    return model


class DetectionGraph(nn.Module):
    """Detector of one image whose noise is an input.

    Args:
        model: of `unrolled`, in eval mode, without pose.
        resize: to the size that the model takes, with the backbone's divisor.
        channels: "RGB" or "BGR", the order that the model takes.
        nms: suppress duplicates, clip and drop empty boxes as the model does; else all candidates are returned.
    """

    def __init__(self, model: UnrollableDetector, resize: ShortestEdgeResize, channels: str, nms: bool):
        super().__init__()
        self.model, self.resize, self.channels, self.nms = model, resize, channels, nms

    def forward(self, images: Tensor, noise: Tensor | None = None) -> tuple[Tensor, ...]:
        """Detect.

        Args:
            images: (1, H, W, 3) uint8, RGB.
            noise: (R, N, 4) float32, standard normal; None where nothing is random.
        Returns:
            boxes_xyxy in pixels of the image, scores, classes: (D, 4), (D,) and (D,) int64, best first. Without nms
            boxes_xyxy (S, N, 4), which may leave the image, and scores (S, N, K).
        """
        model = self.model
        pixels, size_hw = self.resize(images.permute(0, 3, 1, 2))
        pixels = pixels if self.channels == "RGB" else pixels.flip(1)
        pixels = normalize_padded(pixels, size_hw, model.pixel_mean, model.pixel_std)
        whwh = size_hw.flip(0).repeat(2)[None].to(torch.float32)
        if noise is None:
            noise = torch.zeros(1, model.test_num_proposals, 4)  # which the first boxes replace
        with _traceable_attention():
            features = model.features(ImageList(pixels, [(0, 0)]))  # which looks at no size
            steps = model.denoise(features, whwh, RecordedNoise(noise))
        size = torch.stack([size_tensor(side) for side in (images.shape[2], images.shape[1])]).to(whwh).repeat(2)
        if not self.nms:
            return candidates(steps, model, whwh, size)
        (found,) = model.select(steps)
        boxes = (found.boxes_xyxy * (size / whwh[0])).clamp(min=0).minimum(size)
        kept = ((boxes[:, 2] > boxes[:, 0]) & (boxes[:, 3] > boxes[:, 1])).nonzero()[:, 0]
        return boxes[kept], found.scores[kept], found.classes[kept]


def candidates(
    steps: Sequence[tuple[Tensor, ...]], model: UnrollableDetector, whwh: Tensor, size: Tensor
) -> tuple[Tensor, Tensor]:
    """Everything that one image's objects are selected from: boxes_xyxy (S, N, 4) in its pixels, scores (S, N, K).

    Args:
        whwh: (1, 4) width, height, width, height of the network input; size: (4,) likewise of the image.
    """
    chosen = steps if model.sampling.ensemble else steps[-1:]
    boxes = torch.cat([boxes for _, boxes, *_ in chosen])
    scores = torch.cat([class_scores(logits, model.criterion.options.use_focal) for logits, *_ in chosen])
    return boxes * (size / whwh[0]), scores


class _traceable_attention:
    """Attention of nn.MultiheadAttention by its own mathematics, not by a fused kernel, which no graph knows."""

    def __enter__(self) -> None:
        self._enabled = torch.backends.mha.get_fastpath_enabled()
        torch.backends.mha.set_fastpath_enabled(False)

    def __exit__(self, *_: object) -> None:
        torch.backends.mha.set_fastpath_enabled(self._enabled)
