"""LVIS's JSON: COCO's shape, with classes that an image is known not to have and how frequent each class is.

    {"categories": [{id, name, synonyms, frequency ("r", "c" or "f"), image_count}],
     "images": [{id, width, height, coco_url, neg_category_ids, not_exhaustive_category_ids}],
     "annotations": [{id, image_id, category_id, bbox [x, y, width, height], area, segmentation}]}

Images are COCO's: the last two parts of `coco_url` are their place below IMAGE_DIR, such as val2017/000000000139.jpg.
Names of classes are the first of `synonyms`, as Detectron2 has them, whose dataset dicts these are; its own reader
needs the package lvis, which does not work with NumPy 2.
Source: Gupta et al., LVIS, CVPR 2019, and its released files.
"""

import logging
from functools import partial
from pathlib import Path
from typing import Any

from detectron2.data import DatasetCatalog, MetadataCatalog

from d2road.data.catalog import register_lazily
from d2road.data.dataset_formats import DATASET_FORMATS, DatasetFormat
from d2road.data.datasets.coco import add_annotations, checked_categories, image_records, read_coco_json
from d2road.utils.errors import DataError

logger = logging.getLogger(__name__)

LISTS = ("not_exhaustive_category_ids", "neg_category_ids")


def register_lvis(name: str, json_file: str, image_dir: str) -> None:
    """Register an LVIS JSON; it is read at first use. Idempotent."""
    json_file, image_dir = str(Path(json_file).expanduser()), str(Path(image_dir).expanduser())
    load = partial(load_lvis, json_file, image_dir, name)
    register_lazily(name, load, json_file=json_file, image_root=image_dir, evaluator_type="lvis")


DATASET_FORMATS.register(DatasetFormat("lvis:ANNOTATIONS.json:IMAGE_DIR", register_lvis, (2, 2)), name="lvis")


def load_lvis(json_file: str, image_dir: str, dataset_name: str = "") -> list[dict]:
    """Detectron2's dataset dicts, sorted by image id, with `segmentation` where the file has it.

    With a `dataset_name` its metadata gets `thing_dataset_id_to_contiguous_id`, and `thing_classes` and
    `class_image_count` unless it has them.

    Raises:
        FileNotFoundError: the file or the image folder is not there.
        DataError: as for COCO (`load_coco`).
    """
    data = read_coco_json(json_file)
    if not Path(image_dir).is_dir():
        raise FileNotFoundError(f"image folder {image_dir} of {json_file} does not exist (looked from {Path.cwd()})")
    categories = checked_categories([_named(category) for category in data["categories"]], json_file)
    contiguous = {category["id"]: i for i, category in enumerate(categories)}
    if dataset_name:
        _set_metadata(dataset_name, categories, contiguous, json_file)
    images = [_with_file_name(image) for image in data["images"]]
    records = image_records(images, image_dir, json_file)
    for image in images:
        key = image.get("id") if isinstance(image, dict) else None
        record = records.get(key) if type(key) in (int, str) else None
        if record:
            record.update({key: image.get(key) or [] for key in LISTS})
    if "annotations" in data:
        add_annotations(records, data["annotations"], contiguous, json_file, extra=("segmentation",))
    logger.info("%s: %d images, %d classes", json_file, len(records), len(categories))
    return [record for record in records.values() if record]


def _named(category: Any) -> Any:
    synonyms = category.get("synonyms") if isinstance(category, dict) else None
    return {**category, "name": synonyms[0]} if isinstance(synonyms, list) and synonyms else category


def _with_file_name(image: Any) -> Any:
    url = image.get("coco_url") if isinstance(image, dict) else None
    return {**image, "file_name": "/".join(url.split("/")[-2:])} if isinstance(url, str) else image


def _set_metadata(name: str, categories: list[dict], contiguous: dict[int, int], json_file: str) -> None:
    metadata = MetadataCatalog.get(name)
    known = metadata.get("thing_classes")
    if known is not None and len(known) != len(categories):
        raise DataError(
            f"{json_file} has {len(categories)} categories, data set '{name}' is known to have {len(known)}"
        )
    metadata.set(thing_dataset_id_to_contiguous_id=contiguous)
    if known is None:
        metadata.set(thing_classes=[category["name"] for category in categories])
    counts = [{"id": c["id"], "image_count": c["image_count"]} for c in categories if "image_count" in c]
    if metadata.get("class_image_count") is None and len(counts) == len(categories):
        metadata.set(class_image_count=counts)


def take_over_builtin() -> None:
    """Let Detectron2's names of LVIS data be read by `load_lvis`. Idempotent; reads nothing."""
    for name in DatasetCatalog.list():
        metadata = MetadataCatalog.get(name)
        if metadata.get("evaluator_type") == "lvis" and name.startswith("lvis_v"):
            DatasetCatalog.remove(name)
            DatasetCatalog.register(name, partial(load_lvis, metadata.json_file, metadata.image_root, name))


take_over_builtin()
