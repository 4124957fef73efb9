"""Bootstrap draws of a model's metrics as a file, and what they say of the difference between models.

Draws of all models on the same test images take the same images (see `efficientad.evaluation.bootstrap_intervals`),
so that the differences
of draws are those of a paired bootstrap. Letters: R draws, S trainings (seeds).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from d2road.utils.bootstrap import percentile_interval
from d2road.utils.errors import ConfigError
from d2road.utils.output_files import atomic_write
from efficientad.evaluation.image_scores import ImageScores

DRAWS, DRAW_SEED = 1000, 0
IMAGE_AUROC = "image_auroc"
# Metrics whose draws are kept, in a record's metrics by the parts of the name.
KEPT = ("image_auroc", "image_auroc_by_type", "pixel_auroc", "aupro", "auspro")
SPRO_LIMIT = "0.05"  # the one of auspro whose draws are kept


@dataclass(frozen=True)
class Draws:
    """What a model's evaluation leaves beside its record.

    names, kinds: of the test images, in their order; scores: theirs; metrics: (R,) by name, as "auspro/mean/0.05".
    """

    names: list[str]
    kinds: list[str]
    scores: np.ndarray
    metrics: dict[str, np.ndarray]


def flat(nested: Mapping, prefix: str = "") -> dict[str, object]:
    """A nested dict as one of paths: {"a": {"b": 1}} as {"a/b": 1}; None is left out."""
    found: dict[str, object] = {}
    for key, value in nested.items():
        if isinstance(value, Mapping):
            found.update(flat(value, f"{prefix}{key}/"))
        elif value is not None:
            found[prefix + key] = value
    return found


def write_draws(path: Path, images: Sequence[ImageScores], draws: Mapping) -> None:
    """Keep what `draw_metrics` returned for the images."""
    kept = {name: values for name, values in flat({k: draws[k] for k in KEPT if k in draws}).items() if _is_kept(name)}
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(path) as file:
        np.savez_compressed(
            file,
            names=np.array([image.name for image in images]),
            kinds=np.array([image.kind for image in images]),
            scores=np.array([image.score for image in images]),
            **{name.replace("/", "|"): values.astype(np.float32) for name, values in kept.items()},
        )


def _is_kept(name: str) -> bool:
    return not name.startswith("auspro/") or name.endswith(f"/{SPRO_LIMIT}")


def read_draws(path: Path) -> Draws:
    """The content of a file of `write_draws`.

    Raises:
        FileNotFoundError, ValueError: no such file, or another one.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path}, the bootstrap draws of a record, is missing: delete the record to repeat it")
    with np.load(path, allow_pickle=False) as content:
        if not {"names", "kinds", "scores"} <= set(content.files):
            raise ConfigError(f"{path} does not hold bootstrap draws; delete it and its record to repeat the run")
        metrics = {n.replace("|", "/"): content[n].astype(np.float64) for n in content.files if n not in _ABOUT}
        return Draws(content["names"].tolist(), content["kinds"].tolist(), content["scores"], metrics)


_ABOUT = ("names", "kinds", "scores")


def mean_of_seeds(runs: Sequence[Draws], metric: str, generator: np.random.Generator) -> np.ndarray:
    """Draws (R,) of the mean over trainings: every draw takes S of the S trainings, with replacement.

    With one training these are its own draws.
    """
    table = np.stack([run.metrics[metric] for run in runs])
    count, draws = table.shape
    chosen = generator.integers(count, size=(count, draws))
    return table[chosen, np.arange(draws)].mean(axis=0)


def difference(a: Sequence[Draws], b: Sequence[Draws], metric: str) -> list[float] | None:
    """95 % interval of the mean of `b` less the mean of `a`, over test images and trainings.

    Test images are drawn alike for both sides, trainings for each by itself.

    Args:
        a, b: one or more trainings each.
        metric: as "image_auroc" or "auspro/mean/0.05".
    Returns:
        [low, high], or None if a side does not have the metric.
    Raises:
        ValueError: the test images differ.
    """
    images = set(zip(a[0].names, a[0].kinds))
    if any(set(zip(run.names, run.kinds)) != images for run in (*a, *b)):
        raise ConfigError("models that were tested on different images cannot be compared: repeat one of them")
    if any(metric not in run.metrics for run in (*a, *b)):
        return None
    generator = np.random.default_rng(DRAW_SEED)
    return percentile_interval(mean_of_seeds(b, metric, generator) - mean_of_seeds(a, metric, generator))


def verdict(interval: Sequence[float]) -> str:
    """What an interval of a difference says of its first side: "better", "worse" or "not distinguishable"."""
    low, high = interval
    return "better" if low > 0 else "worse" if high < 0 else "not distinguishable"
