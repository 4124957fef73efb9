"""Many test-time settings on the same images: features of an image are computed once, and one run of a solver gives
the last step alone, the union of all steps and, of an ensemble, every smaller one.
"""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace

import torch
from detectron2.structures import Instances
from torch import Tensor

from d2road.engine.meta_arch import SamplingSetting
from diffusion_det.denoising import GeneratorNoise, best_score, image_generator
from diffusion_det.detector import DiffusionDet
from diffusion_det.output_pixels import in_output_pixels

REPORTS = ("last", "union")


@dataclass(frozen=True)
class Pass:
    """One run of the decoder over the images.

    Args:
        solver: name of the sampler; steps, boxes: see SamplingSetting.
        reports: numbers of first steps that are scored, each as if the run had ended there. All but the last need a
            solver whose steps do not hang on their number, which is `restart`.
        proposals: where the first boxes come from, MODEL.DiffusionDet.PROPOSALS.
        renewal: draw boxes of low scores anew after a step, as the model says; else none.
    """

    solver: str
    steps: int
    boxes: int
    reports: tuple[int, ...]
    proposals: str = "noise"
    renewal: bool = True

    def __post_init__(self) -> None:
        if self.solver != "restart" and self.reports != (self.steps,):
            raise ValueError(f"the first steps of {self.solver} are no run of their own: report {self.steps} alone")

    def row(self, steps: int) -> str:
        """Name of what is reported after `steps`; one step is the same with every solver."""
        start = self.proposals if self.proposals != "noise" else "noise" if steps == 1 else self.solver
        return f"{start}{'' if self.renewal else '_kept'}_{steps}x{self.boxes}"


@dataclass
class Found:
    """What a row of a pass found: objects of each image in pixels of the output, by REPORTS, and the processor time of
    decoder and selection in s and the boxes of a step that score too little to be kept, all images together."""

    instances: dict[str, list[Instances]] = field(default_factory=lambda: {kind: [] for kind in REPORTS})
    seconds: float = 0.0
    low_scores: float = 0.0


@dataclass
class FeatureCache:
    """Pyramids of batches by number, at most `capacity` of them; the rest is computed at each call.

    seconds: processor time of what was computed; images: of how many.
    """

    capacity: int
    seconds: float = 0.0
    images: int = 0
    _kept: dict[int, list[Tensor]] = field(default_factory=dict)

    def get(self, number: int, compute: Callable[[], list[Tensor]]) -> list[Tensor]:
        """Features of a batch."""
        if number in self._kept:
            return self._kept[number]
        start = time.process_time()
        features = compute()
        self.seconds += time.process_time() - start
        self.images += len(features[0])
        if len(self._kept) < self.capacity:
            self._kept[number] = features
        return features


def batches_of_one_size(inputs: Iterable[dict], most: int) -> Iterator[list[dict]]:
    """Neighbours of one size, at most `most` together, so that none is padded to another's size."""
    batch: list[dict] = []
    for entry in inputs:
        if batch and (len(batch) == most or entry["image"].shape != batch[0]["image"].shape):
            yield batch
            batch = []
        batch.append(entry)
    if batch:
        yield batch


@torch.no_grad()
def decode(
    models: dict[str, DiffusionDet], batches: Iterable[list[dict]], passes: Sequence[Pass], cache: FeatureCache
) -> dict[str, Found]:
    """Run passes on all images.

    Args:
        models: with the same weights, by MODEL.DiffusionDet.PROPOSALS.
        batches: model inputs, those of a batch of one size.
    Returns:
        by row.
    """
    found: dict[str, Found] = {}
    for number, batch in enumerate(batches):
        model = next(iter(models.values()))
        images, whwh = model.preprocess_sized(batch)
        features = cache.get(number, lambda model=model, images=images: model.features(images))
        for one in passes:
            for row, part in _decode_batch(models[one.proposals], one, batch, features, whwh):
                entry = found.setdefault(row, Found())
                entry.seconds += part.seconds
                entry.low_scores += part.low_scores
                for kind in REPORTS:
                    entry.instances[kind] += part.instances[kind]
    return found


def _decode_batch(
    model: DiffusionDet, one: Pass, batch: list[dict], features: list[Tensor], whwh: Tensor
) -> Iterator[tuple[str, Found]]:
    """Row and finding of every report of a pass on one batch."""
    model.set_sampling(SamplingSetting(one.solver, one.steps, one.boxes, model.sampling.seed))
    noise = GeneratorNoise([image_generator(entry, model.sampling.seed) for entry in batch])
    as_built = model.sampling
    if not one.renewal:
        model.sampling = replace(as_built, renewal_thresh=None)
    start = time.process_time()
    steps = model.denoise(features, whwh, noise)
    of_a_step = (time.process_time() - start) / len(steps)
    model.sampling = as_built
    low = [best_score(step[0], model.criterion.options.use_focal) <= (as_built.renewal_thresh or 0) for step in steps]
    for report in one.reports:
        start = time.process_time()
        instances = {"union": _selected(model, steps[:report], batch)}
        seconds = of_a_step * report + time.process_time() - start
        instances["last"] = _selected(model, steps[report - 1 : report], batch) if report > 1 else instances["union"]
        yield one.row(report), Found(instances, seconds, float(torch.stack(low[:report]).sum()) / report)


def _selected(model: DiffusionDet, steps: list[tuple[Tensor, ...]], batch: list[dict]) -> list[Instances]:
    sizes = [tuple(entry["image"].shape[-2:]) for entry in batch]
    found = [model.to_instances(one, size, None, False) for one, size in zip(model.select(steps), sizes)]
    return in_output_pixels(found, [(x.get("height", s[0]), x.get("width", s[1])) for x, s in zip(batch, sizes)])
