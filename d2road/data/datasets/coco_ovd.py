"""COCO for open-vocabulary detection: 48 base classes to train on, 17 novel ones that are only tested.

All 65 are classes of both parts, base ones first, so that they count alike. Of the training part the annotations of
other classes are left out, and images without a base object; of the validation part, those without an object of the 65.
Source: Bansal et al., Zero-Shot Object Detection, ECCV 2018, for the split; Zareian et al., Open-Vocabulary Object
Detection Using Captions, CVPR 2021, for the protocol.
"""

import logging
from functools import partial
from pathlib import Path

from d2road.data.catalog import register_lazily
from d2road.data.dataset_formats import DATASET_FORMATS, DatasetFormat
from d2road.data.datasets.coco import add_annotations, checked_categories, image_records, read_coco_json
from d2road.utils.errors import ConfigError, DataError

logger = logging.getLogger(__name__)

BASE = (
    "person", "bicycle", "car", "motorcycle", "train", "truck", "boat", "bench", "bird", "horse", "sheep", "bear",
    "zebra", "giraffe", "backpack", "handbag", "suitcase", "frisbee", "skis", "kite", "surfboard", "bottle", "fork",
    "spoon", "bowl", "banana", "apple", "sandwich", "orange", "broccoli", "carrot", "pizza", "donut", "chair", "bed",
    "toilet", "tv", "laptop", "mouse", "remote", "microwave", "oven", "toaster", "refrigerator", "book", "clock",
    "vase", "toothbrush",
)  # fmt: skip
NOVEL = (
    "airplane", "bus", "cat", "dog", "cow", "elephant", "umbrella", "tie", "snowboard", "skateboard", "cup", "knife",
    "cake", "couch", "keyboard", "sink", "scissors",
)  # fmt: skip
PARTS = {"train": BASE, "val": (*BASE, *NOVEL)}  # classes whose annotations count


def register_coco_ovd(name: str, json_file: str, image_dir: str, part: str) -> None:
    """Register a part of COCO for open-vocabulary detection; it is read at first use. Idempotent.

    Raises:
        ConfigError: no part of PARTS.
    """
    if part not in PARTS:
        raise ConfigError(f"data set '{name}': part {part!r}, expected one of {', '.join(PARTS)}")
    json_file, image_dir = str(Path(json_file).expanduser()), str(Path(image_dir).expanduser())
    load = partial(load_coco_ovd, json_file, image_dir, part)
    classes = [*BASE, *NOVEL]
    register_lazily(name, load, evaluator_type="coco_ovd", thing_classes=classes, novel_classes=list(NOVEL))


SYNTAX = "coco_ovd:ANNOTATIONS.json:IMAGE_DIR:train|val"
DATASET_FORMATS.register(DatasetFormat(SYNTAX, register_coco_ovd, (3, 3)), name="coco_ovd")


def load_coco_ovd(json_file: str, image_dir: str, part: str) -> list[dict]:
    """Detectron2's dataset dicts of a part, from COCO's own JSON (found by class name, whatever its ids are).

    Raises:
        FileNotFoundError, DataError: as for COCO (`load_coco`); a class of the 65 is not in the file.
    """
    data = read_coco_json(json_file, "download COCO 2017 from cocodataset.org, see datasets/README.md")
    if not Path(image_dir).is_dir():
        raise FileNotFoundError(f"image folder {image_dir} of {json_file} does not exist (looked from {Path.cwd()})")
    categories = checked_categories(data["categories"], json_file)
    classes = [*BASE, *NOVEL]
    absent = sorted(set(classes) - {category["name"] for category in categories})
    if absent:
        raise DataError(
            f"{json_file} is not COCO's: {len(absent)} of the {len(classes)} classes of its open-vocabulary split are "
            f"not in it, such as {', '.join(absent[:5])}"
        )
    # Classes outside the split get numbers behind them, and go again below: their annotations are checked all the same.
    others = [category["name"] for category in categories if category["name"] not in classes]
    order = {name: i for i, name in enumerate([*classes, *others])}
    records = image_records(data["images"], image_dir, json_file)
    add_annotations(records, data.get("annotations", []), {c["id"]: order[c["name"]] for c in categories}, json_file)
    counted = {order[name] for name in PARTS[part]}
    kept = []
    for record in filter(None, records.values()):
        record["annotations"] = [a for a in record["annotations"] if a["category_id"] in counted]
        if record["annotations"]:
            kept.append(record)
    logger.info("%s: %d of %d images have objects of the part %s", json_file, len(kept), len(records), part)
    return kept
