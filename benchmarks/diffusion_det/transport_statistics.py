"""Statistics of the benchmark of transports: AP of bootstrap draws over images and seeds, and the most that few boxes
can reach.

Letters: I images, S seeds, R draws, H hits.
"""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from d2road.evaluation.metrics.ap_bootstrap import RECALL_POINTS, MatchTable
from d2road.evaluation.metrics.box_ap import OVERLAPS, BoxTruth, coco_precision
from d2road.evaluation.metrics.box_matches import BoxMatches, match_boxes
from d2road.utils.bootstrap import draw_weights, percentile_interval

OVERLAP_NAMES = tuple(f"{overlap:.2f}" for overlap in OVERLAPS)


def match_at_overlaps(truth: BoxTruth, detections: Sequence[Mapping[str, Any]]) -> dict[str, MatchTable]:
    """Match tables by "<overlap> <position of the category>", at all of COCO's overlaps."""
    tables = {}
    for name, overlap in zip(OVERLAP_NAMES, OVERLAPS):
        matches = match_boxes(truth, detections, overlap)
        for category in range(len(truth.categories)):
            tables[f"{name} {category}"] = _table_of(matches, category)
    return tables


def _table_of(matches: BoxMatches, category: int) -> MatchTable:
    own = np.flatnonzero(matches.category == category)
    own = own[np.lexsort((matches.image[own], -matches.score[own]))]  # as COCO: of equal scores the first image
    return MatchTable(matches.image[own], matches.hit[own], matches.objects[:, category])


def ap_draws(tables: Mapping[str, MatchTable], weights: np.ndarray) -> dict[str, np.ndarray]:
    """COCO's AP, AP50 and AP75 in percent, with each image counted as often as a draw has it: (R,) each.

    Args:
        tables: from `match_at_overlaps`.
        weights: (R, I).
    """
    of_overlap = defaultdict(list)
    for name, table in tables.items():
        of_overlap[name.split()[0]].append(_average_precision(table, weights))
    known = {name: np.stack(draws) for name, draws in of_overlap.items()}  # (categories, R)
    every = np.concatenate(list(known.values()))
    means = {"AP": every, "AP50": known["0.50"], "AP75": known["0.75"]}
    return {name: _mean_of_known(draws) for name, draws in means.items()}


def _mean_of_known(draws: np.ndarray) -> np.ndarray:
    """(R,) means over categories (C, R) that are not NaN; NaN where all are."""
    total, count = np.nansum(draws, axis=0), np.isfinite(draws).sum(axis=0)
    return np.divide(total, count, out=np.full(len(total), np.nan), where=count > 0)


def _average_precision(table: MatchTable, weights: np.ndarray) -> np.ndarray:
    """(R,) AP in percent, NaN in draws without objects; `ap_bootstrap.average_precision` of every row of weights."""
    weights = weights.astype(np.float64)
    total = weights @ table.objects
    positions = np.flatnonzero(table.hit)
    if not len(positions):
        return np.where(total > 0, 0.0, np.nan)
    found, hits = (_counts_up_to(table.image, chosen, positions, weights.shape[1])
                   for chosen in (np.ones(len(table.hit), dtype=bool), table.hit))  # fmt: skip
    hits = weights @ hits  # (R, H)
    precision = hits / np.maximum(weights @ found, 1e-12)
    precision = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
    precision = np.concatenate([precision, np.zeros((len(weights), 1))], axis=1)
    recall = hits / np.maximum(total, 1)[:, None]
    places = np.stack([np.searchsorted(row, RECALL_POINTS, side="left") for row in recall])
    return np.where(total > 0, 100 * np.take_along_axis(precision, places, axis=1).mean(axis=1), np.nan)


def _counts_up_to(image: np.ndarray, chosen: np.ndarray, positions: np.ndarray, images: int) -> np.ndarray:
    """(I, H) how many chosen detections of each image rank no lower than each hit."""
    steps = np.zeros((images, len(positions)))
    rank = np.searchsorted(positions, np.flatnonzero(chosen))
    inside = rank < len(positions)
    np.add.at(steps, (image[chosen][inside], rank[inside]), 1.0)
    return np.cumsum(steps, axis=1)


def image_draws(images: int, draws: int = 1000, seed: int = 0) -> np.ndarray:
    """How often each image is drawn, (R, I); the same for every model."""
    return draw_weights(["image"] * images, draws, seed)


def crossed_interval(draws: np.ndarray, points: Sequence[float], seed: int = 0) -> dict[str, float]:
    """Hierarchical bootstrap of a figure that was measured with several seeds: mean and 95 % interval.

    Every draw takes images and seeds with replacement. The two are crossed (all seeds are tested on the same images),
    so that each is drawn by itself. With one seed the interval is over images alone.

    Args:
        draws: (S, R) the figure of each seed on the drawn images; of a paired comparison a difference of two models of
            one seed on the same draw.
        points: (S,) the figure on all images.
    Returns:
        difference, low, high and the number of seeds.
    """
    seeds, count = draws.shape
    times = np.random.default_rng(seed).multinomial(seeds, np.full(seeds, 1 / seeds), size=count).T  # (S, R)
    low, high = percentile_interval((draws * times).sum(axis=0) / seeds)
    return {"difference": float(np.mean(points)), "low": low, "high": high, "seeds": seeds}


def ap_ceiling(truth: BoxTruth, boxes: int) -> float:
    """The AP in percent that no detector can pass which reports at most `boxes` boxes an image.

    Boxes and classes are right and nothing else is reported. Where an image holds more objects than that, those of
    the rarest classes are reported: it makes the mean recall of the classes largest, since an object of a class of
    which there are n adds 1/n to it.
    """
    objects = [a for a in truth.annotations if not a["iscrowd"]]
    count = Counter(a["category_id"] for a in objects)
    by_image = defaultdict(list)
    for a in objects:
        by_image[a["image_id"]].append(a)
    reported = [a for own in by_image.values() for a in sorted(own, key=lambda a: count[a["category_id"]])[:boxes]]
    return coco_precision(truth, [{**a, "score": 1.0} for a in reported]).mean()


def on_images(truth: BoxTruth, images: Sequence[Any]) -> BoxTruth:
    """The truth of some images alone, which keep their order."""
    chosen = set(images)
    annotations = [a for a in truth.annotations if a["image_id"] in chosen]
    return replace(truth, images=[i for i in truth.images if i in chosen], annotations=annotations)
