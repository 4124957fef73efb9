"""Experiments on validation windows of traffic: rules, nearest neighbours and students of the same features.

Letters: N windows, C channels, h x w cells, M vectors of a bank.
"""

from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from sklearn.metrics import roc_auc_score
from torch import Tensor

from benchmarks.traffic.rules_windows import list_pieces
from benchmarks.traffic.study_density import (
    DensityScale,
    DensityStudent,
    append_density,
    compare_scores,
    densities_of,
    feature_spread,
)
from benchmarks.traffic.study_windows import FIT_HOURS, HOURS, INCIDENTS, SEED, StudyWindow, grid_windows
from d2road.traffic.baselines.lasting_rules import LastingRules
from d2road.traffic.events.relative_scores import RelativeScores
from d2road.utils.bootstrap import draw_weights, percentile_interval
from d2road.utils.errors import DataError
from d2road.utils.progress import track
from efficientad.losses import penalty_loss, student_teacher_loss
from efficientad.modeling.coreset import select_coreset
from efficientad.modeling.feature_extractors import build_extractor
from efficientad.modeling.memory_bank import MemoryBank
from efficientad.modeling.patch_embedding import cells, embed_patches
from efficientad.modeling.pdn import PDN

PARTS = ("train", "compare", "good", "incident")
TESTED = ("good", "incident")
EXTRACTOR = "efficientnet_lite0"
BANK, CANDIDATES = 5000, 30000
STEPS, TOLD_AT, BATCH, RATE = 600, (30, 150, 600), 4, 1e-3
CELL, CROP, BORDER = 8, 16, 2  # pixels of a cell; cells of a crop, and those at its sides that see the zeros around it
CHANNELS = 152  # of the features of EXTRACTOR at strides 8 and 16
DRAWS = 1000
DENSITY_WEIGHTS = (0.0, 0.1, 0.3, 1.0)  # of a standard deviation of density beside the spread of features
PENALTY_FOLDER = Path("datasets/imagenet_sample_256")


def of_part(windows: Sequence[StudyWindow], *parts: str) -> list[StudyWindow]:
    """The windows of some parts."""
    return [one for one in windows if one.part in parts]


def of_tested(windows: Sequence[StudyWindow]) -> list[StudyWindow]:
    """Good windows to test, then incidents."""
    return of_part(windows, "good") + of_part(windows, "incident")


def judge(windows: Sequence[StudyWindow], scores: Mapping[str, np.ndarray]) -> dict[str, object]:
    """Window AUROC of scores, as they are and relative to good windows of the same density, with intervals.

    Args:
        scores: of the windows of the parts "compare", "good" and "incident", in their order.
    """
    return judge_tested(windows, tested_scores(windows, scores))


def judge_tested(windows: Sequence[StudyWindow], tested: Mapping[str, np.ndarray]) -> dict[str, object]:
    """As `judge`, from what `tested_scores` gives."""
    kinds = np.array([one.kind for one in of_tested(windows)])
    aurocs = {name: _aurocs(kinds, values) for name, values in tested.items()}
    return {**aurocs, "scores": tested["relative"].round(4).tolist()}


def tested_scores(windows: Sequence[StudyWindow], scores: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Scores of the tested windows "raw" and "relative" to good windows of the same density, from those of `judge`."""
    relative = RelativeScores(densities_of(of_part(windows, "compare")), scores["compare"])
    raw = np.concatenate([scores[part] for part in TESTED])
    return {"raw": raw, "relative": relative(densities_of(of_tested(windows)), raw)}


def _aurocs(kinds: np.ndarray, scores: np.ndarray) -> dict[str, object]:
    bad = kinds != "good"
    draws = [roc_auc_score(bad, scores, sample_weight=weights) for weights in draw_weights(list(kinds), DRAWS, SEED)]
    own = {str(kind): (kinds == kind) | ~bad for kind in np.unique(kinds[bad])}
    return {
        "auroc": roc_auc_score(bad, scores),
        "interval": percentile_interval(np.array(draws)),
        "by_kind": {kind: roc_auc_score(bad[keep], scores[keep]) for kind, keep in own.items()},
    }


def score_rules(windows: Sequence[StudyWindow]) -> dict[str, object]:
    """The rules of the second version, fitted on the training windows."""
    rules = LastingRules().fit(one.window for one in of_part(windows, "train"))
    return judge(windows, {part: rules.scores([one.window for one in of_part(windows, part)]) for part in PARTS[1:]})


@lru_cache(1)  # several experiments look at the same images
def embed_part(windows: tuple[StudyWindow, ...], view: str, relative: bool) -> Mapping[str, Tensor]:
    """Features of the images of each part, (N, C, h, w) in half precision."""
    return {part: torch.stack(embed([one.render(view, relative) for one in of_part(windows, part)])) for part in PARTS}


def embed(images: Sequence[np.ndarray]) -> list[Tensor]:
    """Features (C, h, w) of images (H, W, 3), RGB, in half precision; cells are means over 3 x 3."""
    extractor, found = build_extractor(EXTRACTOR), []
    for image in track(images, len(images), "features", every_s=30):
        pixels = torch.from_numpy(image).permute(2, 0, 1)[None].float()
        found.append(embed_patches(extractor(pixels))[0].half())
    return found


def make_bank(features: Tensor) -> MemoryBank:
    """A coreset of the features (N, C, h, w) of good images."""
    some = MemoryBank.from_maps((one.float() for one in features), len(features), CANDIDATES, SEED).vectors
    return MemoryBank(some[select_coreset(some, BANK, "approximate", SEED)])


def bank_score(bank: MemoryBank, features: Tensor) -> float:
    """The largest distance of an image's cells to the bank."""
    return float(bank.nearest(cells(features.float()))[0].max())


def score_bank(windows: Sequence[StudyWindow], view: str, relative: bool) -> dict[str, object]:
    """PatchCore on the extractor itself: nothing is trained."""
    return judge(windows, bank_scores(embed_part(tuple(windows), view, relative)))


def bank_scores(features: Mapping[str, Tensor]) -> dict[str, np.ndarray]:
    """Scores of all parts but "train" by a bank of that, from their features (N, C, h, w)."""
    bank = make_bank(features["train"])
    return {part: np.array([bank_score(bank, one) for one in features[part]]) for part in PARTS[1:]}


def score_bank_with_density(windows: Sequence[StudyWindow], view: str) -> dict[str, object]:
    """PatchCore on features with density as one more channel, so that neighbours are from traffic as dense.

    Returns:
        for each of DENSITY_WEIGHTS, 0 being without density: the judgement, and its difference to that without.
    """
    features = embed_part(tuple(windows), view, False)
    density = {part: densities_of(of_part(windows, part)) for part in PARTS}
    scale, spread = DensityScale(density["train"]), feature_spread(features["train"])
    found: dict[str, object] = {}
    without: dict[str, np.ndarray] = {}
    for weight in DENSITY_WEIGHTS:
        scores = bank_scores(
            {part: append_density(features[part], density[part], scale, weight, spread) for part in PARTS}
        )
        tested = tested_scores(windows, scores)
        without = without or tested
        found[f"{weight:g}"] = {
            **judge_tested(windows, tested),
            "less without": compare_scores(of_tested(windows), tested, without),
        }
    return found


def compare_cuts(windows: Sequence[StudyWindow]) -> dict[str, object]:
    """Windows around the incident against those of the stream's grid that see the culprit: bank and rules.

    Of the grid there is the window that sees least of the culprit, and the one that scores highest.
    """
    pieces = [p for p in list_pieces(SEED, SEED, FIT_HOURS, HOURS, INCIDENTS) if p.part == "incidents"]
    incidents = of_part(windows, "incident")
    if len(pieces) != len(incidents):
        raise DataError(f"{len(incidents)} windows of {len(pieces)} incidents: expected one of each")
    grids = [grid_windows(piece, one) for piece, one in zip(pieces, incidents)]
    seen = [[int(one.mask("overlay").sum()) for one in grid] for grid in grids]
    bank = make_bank(embed_part(tuple(windows), "overlay", True)["train"])
    rules = LastingRules().fit(one.window for one in of_part(windows, "train"))
    scorers = {
        "rules": lambda some: list(rules.scores([one.window for one in some])),
        "bank": lambda some: [bank_score(bank, f) for f in embed([one.render("overlay", True) for one in some])],
    }
    found: dict[str, object] = {"windows_each": float(np.mean([len(grid) for grid in grids]))}
    for name, scorer in scorers.items():
        base = {part: np.array(scorer(of_part(windows, part))) for part in PARTS[1:]}
        flat = scorer([one for grid in grids for one in grid])
        split = [np.array(part) for part in np.split(np.array(flat), np.cumsum([len(grid) for grid in grids])[:-1])]
        least = np.array([part[int(np.argmin(pixels))] for part, pixels in zip(split, seen)])
        highest = np.array([part.max() for part in split])
        for cut, values in (("middle", base["incident"]), ("least of it", least), ("highest of the grid", highest)):
            result = judge(windows, {**base, "incident": values})
            found[f"{name}, {cut}"] = {key: result[key] for key in ("raw", "relative")}
    return found


def train_student(
    windows: Sequence[StudyWindow], quantile: float, penalty: bool = False, density: bool = False, steps: int = 0
) -> dict[str, Any]:
    """A narrow student of the extractor's features: errors and window AUROC while it learns.

    Args:
        quantile: of the hard-feature loss; 0 learns from all.
        penalty: teach it to be silent on photographs.
        density: it is told the density of each window.
        steps: so many instead of STEPS.
    Returns:
        for those of TOLD_AT that are less than the steps, and the last: mean squared error in good vehicles' cells, in
        those of culprits, and the judgement.
    """
    parts = {part: [one.render("overlay") for one in of_part(windows, part)] for part in PARTS}
    features = embed_part(tuple(windows), "overlay", False)
    scale = feature_scale(features["train"])
    cell = {part: vehicle_cells(of_part(windows, part), images) for part, images in parts.items()}
    photographs = read_photographs() if penalty else []
    told = densities_of(of_part(windows, "train")) if density else None
    learning = student_steps(parts["train"], features["train"], scale, quantile, photographs, told, steps)
    return {
        str(step): judge_student(windows, student, parts, features, scale, cell)
        for step, student in learning
        if step in TOLD_AT or step == (steps or STEPS)
    }


def compare_density_student(windows: Sequence[StudyWindow], steps: int = 0) -> dict[str, object]:
    """A student that is told the density and one that is not, both from the same weights on the same parts of images.

    Args:
        steps: as of `train_student`.
    Returns:
        "with" and "without", as `train_student`, and "less without" for each step that these tell of.
    """
    arms: dict[str, Mapping[str, Any]] = {}
    for name, density in (("without", False), ("with", True)):
        torch.manual_seed(SEED)
        arms[name] = train_student(windows, quantile=0.0, density=density, steps=steps)
    tested, told = of_tested(windows), arms["with"]
    less = {step: compare_scores(tested, told[step]["tested"], arms["without"][step]["tested"]) for step in told}
    return {**arms, "less without": less}


Student = PDN | DensityStudent
Scale = tuple[Tensor, Tensor]  # mean and standard deviation of features, (C, 1, 1) each


def feature_scale(features: Tensor) -> Scale:
    """Of the channels of features (N, C, h, w)."""
    numbers = features.float()
    return numbers.mean(dim=(0, 2, 3), keepdim=True)[0], numbers.std(dim=(0, 2, 3), keepdim=True)[0]


def student_steps(
    images: Sequence[np.ndarray],
    features: Tensor,
    scale: Scale,
    quantile: float,
    photographs: Sequence[np.ndarray] = (),
    density: np.ndarray | None = None,
    steps: int = 0,
) -> Iterator[tuple[int, Student]]:
    """A narrow student after each of its steps, the first being 1; the same object all the time.

    Args:
        images: good ones, (H, W, 3). features: of the extractor for them, (N, C, h, w).
        quantile: of the hard-feature loss. photographs: to be silent on.
        density: of the images, (N,); None: the student is a PDN, which is not told.
        steps: so many instead of STEPS.
    Raises:
        ValueError: photographs have no density.
    """
    if density is not None and photographs:
        raise ValueError("photographs have no density: train with one of the two")
    steps = steps or STEPS
    student: Student = PDN("narrow", CHANNELS, padding=True)
    if density is not None:
        student = DensityStudent(student, DensityScale(density))
    optimizer = torch.optim.Adam(student.parameters(), RATE)
    generator, (mean, std) = np.random.default_rng(SEED), scale
    for step in track(range(1, steps + 1), steps, "student", every_s=30):
        numbers, crops, targets = draw_crops(generator, images, features)
        told = None if density is None else density[numbers]
        target, guess = (targets - mean) / std, imitate(student, crops, told)
        inner = slice(BORDER, CROP - BORDER)
        loss = student_teacher_loss(target[..., inner, inner], guess[..., inner, inner], quantile)
        if photographs:
            some = photographs[int(generator.integers(len(photographs)))]
            loss = loss + penalty_loss(imitate(student, [some]))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        yield step, student


def draw_crops(
    generator: np.random.Generator, images: Sequence[np.ndarray], features: Tensor
) -> tuple[np.ndarray, list[np.ndarray], Tensor]:
    """Numbers of BATCH images, parts of them and the features of these (B, C, CROP, CROP)."""
    crops, targets = [], []
    numbers = generator.integers(len(images), size=BATCH)
    for number in numbers:
        row, column = generator.integers(features.shape[-1] - CROP + 1, size=2)
        rows, columns = (slice(CELL * one, CELL * (one + CROP)) for one in (row, column))
        crops.append(np.ascontiguousarray(images[number][rows, columns]))
        targets.append(features[number, :, row : row + CROP, column : column + CROP].float())
    return numbers, crops, torch.stack(targets)


def imitate(student: Student, images: Sequence[np.ndarray], density: np.ndarray | None = None) -> Tensor:
    """What a student makes of images (H, W, 3): (B, C, H / CELL, W / CELL), the grid of the features.

    Args:
        density: (B,), for a student that is told it.
    """
    pixels = torch.stack([torch.from_numpy(image) for image in images]).permute(0, 3, 1, 2).float() / 127.5 - 1
    maps = student(pixels) if density is None else student(pixels, density)
    return F.adaptive_avg_pool2d(maps, [side // CELL for side in images[0].shape[:2]])


@torch.no_grad()
def student_errors(
    student: Student, image: np.ndarray, features: Tensor, scale: Scale, density: float | None = None
) -> Tensor:
    """Mean squared error (h, w) of a student at each cell of an image whose features (C, h, w) are known."""
    guess = imitate(student, [image], None if density is None else np.array([density]))[0]
    return ((features.float() - scale[0]) / scale[1] - guess).square().mean(dim=0)


@torch.no_grad()
def judge_student(
    windows: Sequence[StudyWindow],
    student: Student,
    parts: Mapping[str, list[np.ndarray]],
    features: Mapping[str, Tensor],
    scale: Scale,
    cell: Mapping[str, np.ndarray],
) -> dict[str, object]:
    """Errors of a student where vehicles are, and the window AUROC of its highest error, with the scores behind it."""
    errors = {}
    for part in PARTS[1:]:
        told = (
            densities_of(of_part(windows, part)) if isinstance(student, DensityStudent) else [None] * len(parts[part])
        )
        maps = [student_errors(student, *one, scale, d) for *one, d in zip(parts[part], features[part], told)]
        errors[part] = torch.stack(maps).numpy()
    scores = {part: one.reshape(len(one), -1).max(axis=1) for part, one in errors.items()}
    tested = tested_scores(windows, scores)
    result = judge_tested(windows, tested)
    return {
        "good_error": float(errors["good"][cell["good"]].mean()),
        "culprit_error": float(errors["incident"][cell["incident"]].mean()),
        "raw": result["raw"],
        "relative": result["relative"],
        "tested": {name: values.round(4).tolist() for name, values in tested.items()},
    }


def vehicle_cells(windows: Sequence[StudyWindow], images: Sequence[np.ndarray]) -> np.ndarray:
    """Cells (N, 32, 32) with vehicles, of incidents with the culprit."""
    masks = [one.mask("overlay") if one.culprits else image.any(axis=-1) for one, image in zip(windows, images)]
    return np.stack([to_cells(mask) for mask in masks])


def to_cells(mask: np.ndarray) -> np.ndarray:
    """Cells that a mask (H, W) touches."""
    height, width = mask.shape
    return mask.reshape(height // CELL, CELL, width // CELL, CELL).any(axis=(1, 3))


def read_photographs(count: int = 200) -> list[np.ndarray]:
    """Photographs that have nothing to do with traffic, RGB of the size of a crop.

    Raises:
        DataError: there are none.
    """
    files = sorted(path for path in PENALTY_FOLDER.rglob("*") if path.suffix.lower() in (".jpg", ".jpeg", ".png"))
    if not files:
        raise DataError(f"{PENALTY_FOLDER} holds no photographs: link a folder of some there")
    images = [cv2.imread(str(path))[:, :, ::-1] for path in files[:count]]
    return [np.ascontiguousarray(cv2.resize(image, (CELL * CROP, CELL * CROP))) for image in images]
