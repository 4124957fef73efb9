"""Data sets of pasted defects: keys and thresholds chosen where nothing defective is there, or may be looked at.

    pasted:NAME   pasted:NAME:validation   pasted:NAME:test        NAME: any training set for anomaly detection
    pasted:NAME?seed=1&images=99&held_out=0.3&copies=2&size=0.03-0.12&contrast=20-80    the same with options

Of the training images of NAME a share is held out; what stays is the training set, and NAME's own validation images the
validation set. The test set are the images that were held out, as they are and `copies` times with a defect each (see
`d2road.synthetic.pasted_defects`). No image of NAME's test set is opened.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, fields
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
from detectron2.data import DatasetCatalog, MetadataCatalog

from d2road.data.catalog import register_lazily
from d2road.data.dataset_formats import DATASET_FORMATS, DatasetFormat, register_by_name
from d2road.data.datasets.builtin import datasets_root
from d2road.synthetic.pasted_defects import DEFECT_KINDS, KINDS, Difficulty, paste_defect
from d2road.utils.errors import DataError
from d2road.utils.image_io import read_image, write_image
from d2road.utils.output_files import make_folder
from d2road.utils.progress import track
from d2road.utils.registry import unknown_name
from d2road.utils.values import as_integer, as_number
from efficientad.data.anomaly_datasets import SPLITS, split_name, validation_name

logger = logging.getLogger(__name__)

FORMAT = "pasted"
FOLDER = "pasted_defects"  # below DETECTRON2_DATASETS
VERSION = 1  # of the images that a seed gives
TEXTURES = 8  # images that textures of an image's defects come from


@dataclass(frozen=True)
class PastedOptions:
    """How defects are pasted.

    seed: decides which images are held out and what is pasted; images: training images of the source that are used at
    most, 0 for all; held_out: share of them; copies: defective ones of each; size, contrast: see `Difficulty`.
    """

    seed: int = 0
    images: int = 0
    held_out: float = 1 / 3
    copies: int = 2
    size: tuple[float, float] = Difficulty.size
    contrast: tuple[float, float] = Difficulty.contrast


def parse_options(query: str, source: str) -> PastedOptions:
    """Options from the part of a name behind "?".

    Args:
        source: where they stand, for messages.
    Raises:
        DataError: an unknown option, or a value that cannot be.
    """
    given: dict[str, Any] = {}
    for part in filter(None, query.split("&")):
        name, _, text = part.partition("=")
        if name not in OPTIONS:
            raise DataError(f"{source}: {unknown_name('option', name, OPTIONS)}")
        given[name] = OPTIONS[name](text, f"{source}: {name}")
    return PastedOptions(**given)


def _whole(low: int, high: int) -> Any:
    return lambda text, source: as_integer(_number(text), source, low, high)


def _pair(low: float, high: float) -> Any:
    def read(text: str, source: str) -> tuple[float, float]:
        first, dash, second = text.partition("-")
        if not dash:
            raise DataError(f"{source} is {text!r}, expected two numbers as LOW-HIGH")
        bounds = as_number(_number(first), source, low, high), as_number(_number(second), source, low, high)
        if bounds[0] > bounds[1]:
            raise DataError(f"{source} is {text!r}: the first number must not be above the second")
        return bounds

    return read


def _number(text: str) -> float | str:
    try:
        return float(text)
    except ValueError:
        return text


OPTIONS = {
    "seed": _whole(0, 2**31),
    "images": _whole(0, 10**9),
    "held_out": lambda text, source: as_number(_number(text), source, 0.01, 0.9),
    "copies": _whole(1, 100),
    "size": _pair(0.005, 0.5),
    "contrast": _pair(1, 255),
}
assert set(OPTIONS) == {field.name for field in fields(PastedOptions)}


def register_pasted(name: str, *arguments: str) -> None:
    """Register pasted defects over a training set. Idempotent; images are made when the data is first read.

    Raises:
        DataError: options that cannot be, or another part than the training set is named.
    """
    *parts, last = arguments
    split = last if last in SPLITS and parts else "train"
    text = ":".join(parts if last in SPLITS and parts else arguments)
    source, _, query = text.partition("?")
    options = parse_options(query, f"data set name {name!r}")
    if split_name(source, "train") != source:
        raise DataError(f"data set name {name!r} pastes on {source!r}: name the training set of it, without its part")
    register_by_name(source)
    category = MetadataCatalog.get(source).get("category")
    if not category or not MetadataCatalog.get(source).get("validation_name"):
        raise DataError(f"data set name {name!r}: {source!r} is no training set for anomaly detection")
    register_lazily(
        name,
        lambda: load_pasted(source, split, options),
        evaluator_type="anomaly",
        category=category,
        category_root=str(datasets_root() / FOLDER),
        validation_name=split_name(name, "validation"),
    )


def divide(entries: Sequence[dict], options: PastedOptions) -> tuple[list[dict], list[dict]]:
    """Training images and those held out, at random by the seed, each in order.

    Raises:
        DataError: fewer than two.
    """
    used = min(options.images or len(entries), len(entries))
    if used < 2:
        raise DataError(f"there is {used} training image: at least 2 are needed to hold one out")
    count = min(max(round(options.held_out * used), 1), used - 1)
    order = np.random.default_rng([options.seed, 0]).permutation(len(entries))[:used].tolist()
    return [entries[i] for i in sorted(order[count:])], [entries[i] for i in sorted(order[:count])]


def load_pasted(source: str, split: str, options: PastedOptions) -> list[dict]:
    """Dataset dicts of one split, as those of `anomaly_datasets`; pasted images are written unless they are there.

    Raises:
        DataError, OutputError: images cannot be read or are too few, or the pasted ones cannot be written.
    """
    if split == "validation":
        return [dict(entry) for entry in DatasetCatalog.get(validation_name(source))]
    train, held_out = divide(DatasetCatalog.get(source), options)
    if split == "train":
        found = train
    else:
        found = [{**entry, "split": "test"} for entry in held_out] + _pasted_images(held_out, options)
    return [{**entry, "image_id": number} for number, entry in enumerate(found)]


def _pasted_images(held_out: Sequence[dict], options: PastedOptions) -> list[dict]:
    """Defective images of those held out, written once: entries of the test set."""
    root = datasets_root() / FOLDER / _folder_name(held_out, options)
    jobs = [(number, copy) for number in range(len(held_out)) for copy in range(options.copies)]
    missing = [job for job in jobs if _find(root, *job) is None]
    for number, copy in track(missing, len(jobs), "paste defects", 20, len(jobs) - len(missing), logger.info):
        _write_pasted(root, [entry["file_name"] for entry in held_out], number, copy, options)
    if missing:
        logger.info("%d images with pasted defects are in %s", len(jobs), root)
    found = [(held_out[number], _find(root, number, copy)) for number, copy in jobs]
    return [_entry(root, base, *paths) for base, paths in found if paths is not None]


def _folder_name(held_out: Sequence[dict], options: PastedOptions) -> str:
    """Another folder for other files and other options."""
    paths = [Path(entry["file_name"]) for entry in held_out]
    files = [(path.name, path.stat().st_size, path.stat().st_mtime_ns) for path in paths]
    return f"{held_out[0]['category']}_{sha256(repr((VERSION, options, files)).encode()).hexdigest()[:12]}"


def _find(root: Path, number: int, copy: int) -> tuple[str, Path, Path] | None:
    """Kind, image and mask of a finished pasted image."""
    for kind in DEFECT_KINDS.names():
        image = root / "test" / kind / f"{number:04d}_{copy}.png"
        if image.is_file():
            return kind, image, root / "ground_truth" / kind / f"{image.stem}_mask.png"
    return None


def _write_pasted(root: Path, files: Sequence[str], number: int, copy: int, options: PastedOptions) -> None:
    """Paste a defect on one image and write it; kinds take turns, textures come from other images that are held out."""
    rng = np.random.default_rng([options.seed, 1, number, copy])
    others = [i for i in range(len(files)) if i != number] or [number]
    chosen = rng.choice(others, min(TEXTURES, len(others)), replace=False)
    kind = KINDS[(number * options.copies + copy) % len(KINDS)]
    # Of eight images only the one that a texture is taken from would be needed; which, the kind decides.
    textures = [read_image(files[i]) for i in chosen] if kind == "texture" else ()
    difficulty = Difficulty(options.size, options.contrast)
    pasted = paste_defect(read_image(files[number]), kind, rng, difficulty, textures)
    image, mask = (make_folder(root / part / pasted.kind) for part in ("test", "ground_truth"))
    stem = f"{number:04d}_{copy}"
    write_image(mask / f"{stem}_mask.png", np.repeat(pasted.mask[..., None] * np.uint8(255), 3, 2))
    write_image(image / f"{stem}.png", pasted.image)  # last: it says that the mask is there


def _entry(root: Path, base: dict, kind: str, image: Path, mask: Path) -> dict:
    pasted = {"file_name": str(image), "split": "test", "root": str(root), "label": 1, "defect": kind}
    return {**base, **pasted, "mask_files": [str(mask)], "ignore_file": None}


DATASET_FORMATS.register(
    DatasetFormat("pasted:NAME[?OPTIONS][:test|:validation]", register_pasted, (1, 4)), name=FORMAT
)
