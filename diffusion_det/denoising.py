"""Inference: random boxes become objects, step by step, each image with its own stream of noise.

Letters: B images, N boxes an image, K classes.
"""

import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor
from torchvision.ops import batched_nms, nms

from d2road.utils.uploads import upload
from diffusion_det.box_prior import BoxPrior
from diffusion_det.sampler import Sampler
from diffusion_det.schedule import boxes_to_state, state_to_boxes, unit_boxes

# (boxes_xyxy (B, N, 4) pixels, noise level) -> last stage's logits (B, N, K), boxes_xyxy (B, N, 4) and any number of
# further columns (B, N, ...) that shall stay with their boxes. Where the diffusion carries a side state of E numbers a
# box, that (B, N, E) is the third argument and its clean prediction the last column, which is not kept.
Predict = Callable[..., tuple[Tensor, ...]]


@dataclass(frozen=True)
class SamplingOptions:
    """How boxes are denoised and selected in testing.

    Args:
        sampler: name of the solver, see `sampler.py`; eta: share of fresh noise in its steps.
        steps: denoising steps.
        num_proposals: boxes an image.
        renewal_thresh, nms_thresh: scores and overlaps; None switches box renewal or suppression off.
        ensemble: report the union of all steps, else the last alone.
        seed: with what identifies an image it seeds its noise, see `image_generator`.
    """

    sampler: str = "ddim"
    eta: float = 1.0
    steps: int = 1
    num_proposals: int = 300
    renewal_thresh: float | None = 0.5
    nms_thresh: float | None = 0.5
    ensemble: bool = True
    seed: int = 0


@dataclass
class Detections:
    """Objects of one image: boxes_xyxy (D, 4) pixels, scores (D,), classes (D,) int64, further columns (D, ...)."""

    boxes_xyxy: Tensor
    scores: Tensor
    classes: Tensor
    columns: tuple[Tensor, ...] = ()

    def __getitem__(self, kept: Tensor) -> "Detections":
        return Detections(
            self.boxes_xyxy[kept], self.scores[kept], self.classes[kept], tuple(c[kept] for c in self.columns)
        )


def image_generator(image: Mapping[str, Any], seed: int) -> torch.Generator:
    """Stream of noise of one image: depends on what identifies it and on the seed, not on its neighbours.

    `content_id`, of the pixels, where they come without a data set (see `Predictor`); else the id in its data set, as
    in evaluations; else the file name.
    """
    return torch.Generator().manual_seed(image_seed(image, seed))


def image_seed(image: Mapping[str, Any], seed: int) -> int:
    """Number that `image_generator` starts from."""
    name = next((image[key] for key in ("content_id", "image_id", "file_name") if key in image), "")
    return zlib.crc32(f"{seed}/{name}".encode())


@contextmanager
def seeded_by_image(image: Mapping[str, Any], seed: int, device: torch.device) -> Iterator[None]:
    """The global random state as an image seeds it, and afterwards as before."""
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        torch.manual_seed(image_seed(image, seed))
        yield


class NoiseSource(Protocol):
    """Where the standard normal numbers of the reverse diffusion come from."""

    def normal(self, count: int, size: int) -> Tensor:
        """The next numbers (B, count, size) float32 of each image."""


@dataclass(frozen=True)
class GeneratorNoise:
    """Standard normal noise, row i from generator i alone, on the CPU so that every device agrees."""

    generators: Sequence[torch.Generator]

    def normal(self, count: int, size: int) -> Tensor:
        """As NoiseSource's."""
        return torch.stack([torch.randn(count, size, generator=g) for g in self.generators])


def class_scores(logits: Tensor, use_focal: bool) -> Tensor:
    """Probability of each class: (..., K), or (..., K + 1) for softmax, to (..., K)."""
    return logits.sigmoid() if use_focal else logits.softmax(-1)[..., :-1]


def best_score(logits: Tensor, use_focal: bool) -> Tensor:
    """Highest object probability of each box: (..., K) -> (...)."""
    return class_scores(logits, use_focal).amax(-1)


def denoise(
    predict: Predict,
    sampler: Sampler,
    image_whwh: Tensor,
    noise: NoiseSource,
    *,
    steps: int,
    count: int,
    prior: BoxPrior,
    renewal_thresh: float | None = 0.5,
    use_focal: bool = True,
    side_channels: int = 0,
    side_scale: float = 1.0,
    start: Tensor | None = None,
) -> list[tuple[Tensor, ...]]:
    """Run all steps; every box that scores at most `renewal_thresh` is replaced after its step.

    A replaced box enters at the level that the others have reached: a random box as in training, noised to that level.

    Args:
        image_whwh: (B, 4) of the resized, unpadded images.
        noise: of each image, used in the same order whatever the batch: the start; then, after each step but the last,
            that of the solver, and with renewal the random boxes and the noise on them.
        prior: of boxes, where the path ends.
        renewal_thresh: None switches renewal off.
        side_channels: channels a box that are diffused beside it; side_scale: their deviation when clean.
        start: states (N, 4) of the boxes that every image begins with; None takes the noise.
    Returns:
        per step what `predict` returned (without the side state).
    """
    size, pairs = 4 + side_channels, sampler.pairs(steps)
    each_step = [size] if renewal_thresh is None else [size, 4, *([side_channels] if side_channels else []), size]
    x, *drawn = noise_on_device(noise, count, [size, *each_step * (len(pairs) - 1)], image_whwh.device)
    if start is not None:
        x = torch.cat([upload(start.to(x.dtype), x.device).expand(len(x), -1, -1), x[..., 4:]], dim=-1)
    draws = iter(drawn)
    renewed, results = None, []
    sampler.start()
    for t, s in pairs:
        side = (x[..., 4:],) if side_channels else ()
        logits, boxes, *columns = predict(state_to_boxes(x[..., :4], image_whwh, prior), t, *side)
        clean_side = columns.pop() if side_channels else x[..., 4:]
        results.append((logits, boxes, *columns))
        if s < 0:
            break
        x0 = torch.cat([prior.clamp(boxes_to_state(boxes, image_whwh, prior)), clean_side], dim=-1)
        x = sampler.step(x, x0, t, s, next(draws), renewed)
        if renewal_thresh is not None:
            renewed = best_score(logits, use_focal) <= renewal_thresh  # (B, N)
            clean = prior.encode(unit_boxes(next(draws)))
            if side_channels:
                clean = torch.cat([clean, side_scale * next(draws)], dim=-1)
            fresh = sampler.schedule.add_noise(clean, s, next(draws))
            x = torch.where(renewed[..., None], fresh, x.to(fresh.dtype))
        x = x.float()
    return results


def noise_on_device(noise: NoiseSource, count: int, sizes: Sequence[int], device: torch.device) -> Sequence[Tensor]:
    """The next draws (B, count, size) of the given sizes, on a device, where they arrive by one copy."""
    draws = [noise.normal(count, size) for size in sizes]
    if all(draw.device == device for draw in draws):
        return draws
    return upload(torch.cat(draws, dim=-1), device).split(list(sizes), dim=-1)


def denoise_as_published(
    predict: Predict,
    sampler: Sampler,
    image_whwh: Tensor,
    *,
    steps: int,
    count: int,
    prior: BoxPrior,
    renewal_thresh: float | None = 0.5,
    use_focal: bool = True,
) -> list[tuple[Tensor, ...]]:
    """The published loop, number for number: global random state, float64 after the first step, renewed boxes are plain
    noise at the end of the list, and of several steps the last is not used.

    Args and Returns: as in `denoise`. Several steps work for one image at a time only.
    """
    device = image_whwh.device
    x = torch.randn(len(image_whwh), count, 4, device=device)
    results = []
    sampler.start()
    for t, s in sampler.pairs(steps):
        logits, boxes, *columns = predict(state_to_boxes(x, image_whwh, prior), t)
        if s < 0:
            if steps == 1:
                results.append((logits, boxes, *columns))
            break
        x0 = prior.clamp(boxes_to_state(boxes, image_whwh, prior))
        if renewal_thresh is not None:
            keep = best_score(logits[0], use_focal) > renewal_thresh
            x, x0 = x[:, keep], x0[:, keep]
        x = sampler.step(x.double(), x0, t, s, torch.randn_like(x))
        if renewal_thresh is not None:
            x = torch.cat([x, torch.randn(1, count - x.shape[1], 4, device=device)], dim=1)
        results.append((logits, boxes, *columns))
    return results


def select_objects(
    results: Sequence[tuple[Tensor, ...]], *, use_focal: bool = True, nms_thresh: float | None = 0.5
) -> list[Detections]:
    """Merge the predictions of several steps: best N scores of each step, then non-maximum suppression per class.

    Args:
        results: per step, logits (B, N, K), boxes (B, N, 4) and further columns (B, N, ...).
        nms_thresh: overlap above which the lower score goes; None keeps all.
    Returns:
        one entry per image, sorted by score where suppression ran.
    """
    merged = [_top_scores(logits, boxes, tuple(columns), use_focal) for logits, boxes, *columns in results]
    scores, classes, *parts = (torch.cat(column, dim=1) for column in zip(*merged))
    detections, kept = [], None
    if nms_thresh is not None and scores.device.type != "cpu":
        kept = suppress_together(parts[0], scores, classes, nms_thresh)
    elif nms_thresh is not None:  # comparing boxes with those of other images would cost a processor more
        kept = [suppress(*one, nms_thresh) for one in zip(parts[0], scores, classes)]
    for i in range(len(scores)):
        boxes, *columns = (part[i] for part in parts)
        own = Detections(boxes, scores[i], classes[i], tuple(columns))
        detections.append(own if kept is None else own[kept[i]])
    return detections


def suppress(boxes: Tensor, scores: Tensor, classes: Tensor, thresh: float) -> Tensor:
    """Non-maximum suppression per class: indices of what is kept of boxes (M, 4), best score first."""
    if not torch.compiler.is_exporting():
        return batched_nms(boxes, scores, classes, thresh)
    # That one goes through the classes of many boxes one by one, which no exported graph can.
    return _suppress_by_group(boxes, scores, classes, thresh)


def _suppress_by_group(boxes: Tensor, scores: Tensor, groups: Tensor, thresh: float) -> Tensor:
    """`suppress` in one call: boxes of different groups are moved so far apart that they do not meet."""
    wide = boxes.double()  # where a distance costs the boxes no digits
    far = (wide.amax() - wide.amin() + 1) * groups
    return nms(wide + far[:, None], scores.double(), thresh)


def suppress_together(boxes: Tensor, scores: Tensor, classes: Tensor, thresh: float) -> Sequence[Tensor]:
    """`suppress` of B images at once, for an accelerator, which then waits twice a batch and not for each image.

    Args:
        boxes: (B, M, 4); scores, classes: (B, M).
    Returns:
        for each image the indices of what is kept of its M boxes.
    """
    batch, count = scores.shape
    images = torch.arange(batch, device=scores.device)
    groups = classes + (classes.amax() + 1) * images[:, None]
    kept = _suppress_by_group(boxes.flatten(0, 1), scores.flatten(), groups.flatten(), thresh)
    image = kept.div(count, rounding_mode="floor")
    numbers = (image[:, None] == images).sum(0)
    return (kept[image.argsort(stable=True)] % count).split(numbers.tolist())


def _top_scores(logits: Tensor, boxes: Tensor, columns: tuple[Tensor, ...], use_focal: bool) -> tuple[Tensor, ...]:
    """Scores, classes (B, N), boxes (B, N, 4), columns: with focal loss one box may report several classes."""
    if not use_focal:
        scores, classes = class_scores(logits, use_focal).max(-1)
        return scores, classes, boxes, *columns
    count, num_classes = logits.shape[1:]
    scores, index = class_scores(logits, use_focal).flatten(1).topk(count, dim=1, sorted=False)
    box_index = index.div(num_classes, rounding_mode="floor")
    images = torch.arange(len(logits), device=logits.device)[:, None]
    return scores, index % num_classes, *(part[images, box_index] for part in (boxes, *columns))
