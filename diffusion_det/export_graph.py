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
from detectron2.modeling import detector_postprocess
from torch import Tensor, nn

from d2road.utils.errors import ConfigError
from diffusion_det.denoising import NoiseSource, SamplingOptions, class_scores


class UnrollableDetector(Protocol):
    """What of DiffusionDet the graph is made of; see there."""

    sampling: SamplingOptions
    criterion: Any
    sample_step: int
    test_num_proposals: int
    compat: bool

    def preprocess_sized(self, batched_inputs: list[dict]) -> tuple[Any, Tensor]: ...

    def features(self, images: Any) -> list[Tensor]: ...

    def denoise(self, features: list[Tensor], whwh: Tensor, noise: NoiseSource) -> list[tuple[Tensor, ...]]: ...

    def select(self, steps: list[tuple[Tensor, ...]]) -> list: ...

    def to_instances(self, found: Any, image_size: Any, scene: None, image: int) -> Any: ...


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
    # Of one step the published loop is this one, but for where its noise comes from.
    model.sample_step, model.compat = steps, False
    model.sampling = replace(model.sampling, steps=steps, num_proposals=model.test_num_proposals)
    return model


class DetectionGraph(nn.Module):
    """Detector of one image whose noise is an input.

    Args:
        model: of `unrolled`, in eval mode, without pose.
        resize: (1, 3, H, W) whole numbers 0..255 to the size that the model takes, float32.
        channels: "RGB" or "BGR", the order that the model takes.
        nms: suppress duplicates, clip and drop empty boxes as the model does; else all candidates are returned.
    """

    def __init__(self, model: UnrollableDetector, resize: nn.Module, channels: str, nms: bool):
        super().__init__()
        self.model, self.resize, self.channels, self.nms = model, resize, channels, nms

    def forward(self, images: Tensor, noise: Tensor) -> tuple[Tensor, ...]:
        """Detect.

        Args:
            images: (1, H, W, 3) uint8, RGB.
            noise: (R, N, 4) float32, standard normal.
        Returns:
            boxes_xyxy in pixels of the image, scores, classes: (D, 4), (D,) and (D,) int64, best first. Without nms
            boxes_xyxy (S, N, 4), which may leave the image, and scores (S, N, K).
        """
        if torch.compiler.is_exporting():
            raise ConfigError(
                "torch.export cannot follow DiffusionDet, where how many boxes a level pools and how many objects are "
                "left depends on the image: export it to OUT.onnx or OUT.xml"
            )
        height, width = images.shape[1:3]
        pixels = self.resize(images.permute(0, 3, 1, 2))[0]  # (3, h, w)
        model = self.model
        with _traceable_attention():
            batch, whwh = model.preprocess_sized([{"image": pixels if self.channels == "RGB" else pixels.flip(0)}])
            steps = model.denoise(model.features(batch), whwh, RecordedNoise(noise))
        if not self.nms:
            return candidates(steps, model, whwh, height, width)
        (found,) = model.select(steps)
        objects = detector_postprocess(model.to_instances(found, batch.image_sizes[0], None, 0), height, width)
        return objects.pred_boxes.tensor, objects.scores, objects.pred_classes


def candidates(
    steps: Sequence[tuple[Tensor, ...]], model: UnrollableDetector, whwh: Tensor, height: int, width: int
) -> tuple[Tensor, Tensor]:
    """Everything that one image's objects are selected from: boxes_xyxy (S, N, 4) in its pixels, scores (S, N, K).

    Args:
        whwh: (1, 4) of the network input; height, width: of the image.
    """
    chosen = steps if model.sampling.ensemble else steps[-1:]
    boxes = torch.cat([boxes for _, boxes, *_ in chosen])
    scores = torch.cat([class_scores(logits, model.criterion.options.use_focal) for logits, *_ in chosen])
    size = torch.stack([torch.as_tensor(side) for side in (width, height, width, height)]).to(whwh)
    return boxes * (size / whwh[0]), scores


class _traceable_attention:
    """Attention of nn.MultiheadAttention by its own mathematics, not by a fused kernel, which no graph knows."""

    def __enter__(self) -> None:
        self._enabled = torch.backends.mha.get_fastpath_enabled()
        torch.backends.mha.set_fastpath_enabled(False)

    def __exit__(self, *_: object) -> None:
        torch.backends.mha.set_fastpath_enabled(self._enabled)
