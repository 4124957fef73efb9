"""Data sets for anomaly detection by name and by path; training sets hold good images alone.

    mvtec_ad/CATEGORY   mvtec_ad_2/CATEGORY   mvtec_loco/CATEGORY   visa/CATEGORY   toy_loco/CATEGORY
    traffic_incidents/CATEGORY   btad/CATEGORY   real_iad/CATEGORY                    below DETECTRON2_DATASETS
    mvtec:ROOT/CATEGORY   mvtec_ad_2:ROOT/CATEGORY   loco:ROOT/CATEGORY   visa:ROOT:CATEGORY   folder:ROOT    anywhere

name the training set; /test or /validation (:test, :validation by path) at the end name the others. Where the data has
no validation part, a tenth of the training images is held out of training for it, the same ones each time. The parts
of MVTec AD 2 without labels are named test_private and test_private_mixed.

Dataset dicts have file_name, height, width, image_id, split, category, root (folder of the category), label (0 good, 1
anomalous, -1 unknown), defect ("good", its kind or "unlabelled"), mask_files (none for good images and data without
masks, one for MVTec AD and VisA, one a defect for LOCO) and ignore_file, or None: where pixels count neither way.
"""

import logging
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from detectron2.data import MetadataCatalog

from d2road.data.catalog import register_lazily
from d2road.data.dataset_formats import DATASET_FAMILIES, DATASET_FORMATS, DatasetFormat, register_by_name
from d2road.data.datasets.builtin import datasets_root
from d2road.utils.errors import DataError, raise_errors
from d2road.utils.image_io import image_size
from d2road.utils.registry import unknown_name
from efficientad.data.dataset_layouts import (
    GOOD,
    UNLABELLED,
    VISA_TABLE,
    Entry,
    Layout,
    PlainFolder,
    VisaTable,
    mvtec_ad,
    mvtec_loco,
)
from efficientad.data.held_out import TEST_SHARE, held_out
from efficientad.data.mvtec_ad_2 import MVTEC_AD_2, PRIVATE_SPLITS, MvtecAd2Folder, public_root, refuse_released

logger = logging.getLogger(__name__)

SPLITS = ("train", "validation", "test")
VALIDATION_SHARE = 0.1
FEW_IMAGES = 10
EXIF_ORIENTATION = 274

MVTEC_AD = [
    "bottle", "cable", "capsule", "carpet", "grid", "hazelnut", "leather", "metal_nut", "pill", "screw", "tile",
    "toothbrush", "transistor", "wood", "zipper",
]  # fmt: skip
MVTEC_LOCO = ["breakfast_box", "juice_bottle", "pushpins", "screw_bag", "splicing_connectors"]
VISA = [
    "candle", "capsules", "cashew", "chewinggum", "fryum", "macaroni1", "macaroni2", "pcb1", "pcb2", "pcb3", "pcb4",
    "pipe_fryum",
]  # fmt: skip
TOY_LOCO = ["fastener_kit"]
TRAFFIC_INCIDENTS = ["motorway", "motorway_stacked"]
# Beside the categories of traffic_incidents: which window shows which event, see `window_events`.
TRAFFIC_META = "meta.csv"
MAKE_HINTS = {
    family: f"d2road make-data {family.replace('_', '-')} --output {{root}}/{family}"
    for family in ("toy_loco", "traffic_incidents")
}
RELEASE_HINT = "download it from its authors and arrange it as datasets/README.md shows"


def load_split(layout: Layout, split: str, category: str) -> list[dict]:
    """Dataset dicts of one split.

    Raises:
        FileNotFoundError: a folder, image or mask is missing.
        ValueError: no images, too few to hold some out, a broken image, or masks of another size.
    """
    if split == "test":
        entries = layout.test()
    elif split in PRIVATE_SPLITS and isinstance(layout, MvtecAd2Folder):
        entries = layout.private(split)
    else:
        good, validation = layout.good(), layout.validation()
        if validation is None:
            good, validation = held_out(good, VALIDATION_SHARE)
        if split == "train" and len(good) < FEW_IMAGES:
            logger.warning("%s: only %d good image(s) to train on; expect false alarms", layout.root, len(good))
        entries = [Entry(path) for path in (good if split == "train" else validation)]
    dicts: list[dict[str, Any]] = []
    defects: list[str] = []
    for image_id, entry in enumerate(entries):
        width, height = image_size(entry.path)
        dicts.append(
            {
                "file_name": str(entry.path),
                "height": height,
                "width": width,
                "image_id": image_id,
                "split": split,
                "category": category,
                "root": str(layout.root),
                "label": -1 if entry.defect == UNLABELLED else int(entry.defect != GOOD),
                "defect": entry.defect,
                "mask_files": [str(mask) for mask in entry.masks],
                "ignore_file": str(entry.ignore) if entry.ignore else None,
            }
        )
        for mask in (*entry.masks, *filter(None, [entry.ignore])):
            size = image_size(mask)
            if size != (width, height):
                defects.append(f"mask {mask} is {size[0]}x{size[1]}, image {entry.path} is {width}x{height}")
    raise_errors(defects, f"{layout.root} (sizes are width x height; masks must be those of the images)")
    logger.info("%s, %s: %d images, %d anomalous", layout.root, split, len(dicts), sum(d["label"] == 1 for d in dicts))
    return dicts


def register_layout(
    name: str,
    root: Path,
    category: str,
    split: str,
    open_layout: Callable[[], Layout],
    hint: str,
    splits: Sequence[str] = SPLITS,
    **metadata: str,
) -> None:
    if split not in splits:
        raise DataError(f"data set name {name!r} asks for {split!r}; choose one of {', '.join(splits)}, or none: train")

    def load() -> list[dict]:
        if hint and not root.exists():
            raise FileNotFoundError(f"folder {root} does not exist. To get it: {hint}")
        return load_split(open_layout(), split, category)

    register_lazily(
        name,
        load,
        evaluator_type="anomaly",
        category=category,
        category_root=str(root),
        validation_name=split_name(name, "validation"),
        **metadata,
    )


def split_name(name: str, split: str) -> str:
    """The name of another split of the same data, e.g. "mvtec_ad/screw" -> "mvtec_ad/screw/test"."""
    separator = ":" if ":" in name else "/"
    base, _, last = name.rpartition(separator)
    stem = base if last in (*SPLITS, *PRIVATE_SPLITS) else name
    return stem if split == "train" else f"{stem}{separator}{split}"


def validation_name(name: str) -> str:
    """The data set of good images to calibrate with when this one is trained on.

    Raises:
        ValueError: unknown name, or a data set that was registered elsewhere and names none.
    """
    register_by_name(name)
    found = MetadataCatalog.get(name).get("validation_name")
    if not found:
        raise DataError(
            f"data set '{name}' names no good images to calibrate with: set DATASETS.CALIBRATION to a data "
            "set of good images that are not trained on"
        )
    register_by_name(found)
    return found


def register_mvtec(
    name: str, root: str, split: str = "train", *, loco: bool = False, hint: str = "", **metadata: str
) -> None:
    """Register one category's folder in the layout of MVTec AD or MVTec LOCO. Idempotent."""
    folder = Path(root).expanduser()

    def open_layout() -> Layout:
        if public_root(folder) is not None:
            raise DataError(f"{folder} has the layout of MVTec AD 2: name it mvtec_ad_2:{public_root(folder)}")
        return mvtec_loco(folder) if loco else mvtec_ad(folder)

    register_layout(name, folder, folder.name, split, open_layout, hint, **metadata)


def register_mvtec_ad_2(name: str, root: str, split: str = "train", *, hint: str = "") -> None:
    """Register a category of MVTec AD 2, by its folder. Idempotent."""
    folder = Path(root).expanduser()
    register_layout(name, folder, folder.name, split, lambda: MvtecAd2Folder(folder), hint, (*SPLITS, *PRIVATE_SPLITS))


def register_visa(name: str, root: str, category: str, split: str = "train", *, hint: str = "") -> None:
    """Register a category of VisA as released. Idempotent."""
    folder = Path(root).expanduser()
    register_layout(name, folder / category, category, split, lambda: VisaTable(folder, category), hint)


def register_folder(name: str, root: str, split: str = "train") -> None:
    """Register own images, ROOT/good and ROOT/bad (see `dataset_layouts.PlainFolder`). Idempotent."""
    folder = Path(root).expanduser()

    def open_layout() -> PlainFolder:
        refuse_released(folder)
        return PlainFolder(folder, partial(held_out, share=TEST_SHARE))

    register_layout(name, folder, folder.name, split, open_layout, "")


def _register_member(name: str, category: str, split: str = "train", *, family: str) -> None:
    """Register a category of a collection below DETECTRON2_DATASETS."""
    root = datasets_root() / family
    known = {**dict.fromkeys(FAMILIES[family]), **dict.fromkeys(_categories_there(root))}
    if category not in known:
        raise DataError(f"{family}: {unknown_name('category', category, known)}; in {root}")
    hint = MAKE_HINTS.get(family, RELEASE_HINT).format(root=datasets_root())
    if family == "visa":
        register_visa(name, str(root), category, split, hint=hint)
        return
    if family == "mvtec_ad_2":
        register_mvtec_ad_2(name, str(root / category), split, hint=hint)
        return
    metadata = {"meta_csv": str(root / TRAFFIC_META)} if family == "traffic_incidents" else {}
    loco = family in ("mvtec_loco", "toy_loco")
    register_mvtec(name, str(root / category), split, loco=loco, hint=hint, **metadata)


def _categories_there(root: Path) -> list[str]:
    """Folders that hold a category, known or not."""
    if (root / VISA_TABLE).is_file():
        return [p.name for p in root.iterdir() if (p / "Data").is_dir()]
    return [p.name for p in root.iterdir() if (p / "train").is_dir()] if root.is_dir() else []


FAMILIES = {
    "mvtec_ad": MVTEC_AD,
    "mvtec_ad_2": MVTEC_AD_2,
    "mvtec_loco": MVTEC_LOCO,
    "visa": VISA,
    "toy_loco": TOY_LOCO,
    "traffic_incidents": TRAFFIC_INCIDENTS,
}
_SPLIT = "[{0}test|{0}validation]"
for _family in FAMILIES:
    DATASET_FAMILIES.register(
        DatasetFormat(f"{_family}/CATEGORY" + _SPLIT.format("/"), partial(_register_member, family=_family), (1, 2)),
        name=_family,
    )
for _kind, _syntax, _make, _arguments in (
    ("mvtec", "mvtec:ROOT/CATEGORY", register_mvtec, (1, 2)),
    ("mvtec_ad_2", "mvtec_ad_2:ROOT/CATEGORY", register_mvtec_ad_2, (1, 2)),
    ("loco", "loco:ROOT/CATEGORY", partial(register_mvtec, loco=True), (1, 2)),
    ("visa", "visa:ROOT:CATEGORY", register_visa, (2, 3)),
    ("folder", "folder:ROOT", register_folder, (1, 2)),
):
    DATASET_FORMATS.register(DatasetFormat(_syntax + _SPLIT.format(":"), _make, _arguments), name=_kind)
