"""COCO-format detection data, checked before it is believed.

Structural errors (unknown category or image, NaN, duplicate ids, ...) stop with the file, the annotation and the cure.
Boxes without area or wholly outside their image are dropped, counted and, past a limit, fatal, as are files whose boxes
are of another convention as a whole (see `input_checks` and `box_conventions`). Boxes partly outside stay as they are;
mappers clip them. Evaluation takes the content of the file itself, with every box that is in it.
"""

import logging
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from detectron2.data import MetadataCatalog
from detectron2.structures import BoxMode

from d2road.data.catalog import register_lazily
from d2road.data.dataset_formats import DATASET_FORMATS, DatasetFormat
from d2road.data.input_checks import DroppedBoxes, is_finite_box, is_finite_number, raise_or_collect
from d2road.utils.errors import DataError, raise_errors
from d2road.utils.input_files import read_json
from d2road.utils.values import id_order, named

logger = logging.getLogger(__name__)
# datumaro writes such files, unless it is told to reindex.
RENUMBER = "; to number them anew: d2road convert --source coco:FILE:IMAGE_DIR --output NEW.json"


def register_coco(name: str, json_file: str, image_dir: str, hint: str = "", **metadata: Any) -> None:
    """Register a COCO-format data set; it is read at first use. Idempotent.

    Args:
        hint: how to get the data, for the message when it is missing.
        metadata: more of it, e.g. `thing_classes` where the classes are fixed.
    """
    json_file, image_dir = str(Path(json_file).expanduser()), str(Path(image_dir).expanduser())
    register_lazily(
        name,
        lambda: load_coco(json_file, image_dir, name, hint),
        json_file=json_file,
        image_root=image_dir,
        evaluator_type="coco",
        **metadata,
    )


DATASET_FORMATS.register(DatasetFormat("coco:ANNOTATIONS.json:IMAGE_DIR", register_coco, (2, 2)), name="coco")


def load_coco(json_file: str, image_dir: str, dataset_name: str = "", hint: str = "") -> list[dict]:
    """Read a COCO JSON into Detectron2's dataset dicts, sorted by image id; boxes only.

    A file without "annotations" (test data) gives dicts without that key. Category ids may be any; with a
    `dataset_name` its metadata gets `thing_classes` and `thing_dataset_id_to_contiguous_id`.

    Raises:
        FileNotFoundError: the file or the image folder is not there.
        ValueError: not COCO JSON, no images, no categories, structural errors, or too many useless boxes.
    """
    data = read_coco_json(json_file, hint)
    if not Path(image_dir).is_dir():
        raise FileNotFoundError(f"image folder {image_dir} of {json_file} does not exist" + _cure(hint))
    categories = checked_categories(data["categories"], json_file)
    contiguous = {c["id"]: i for i, c in enumerate(categories)}
    if dataset_name:
        _set_classes(dataset_name, [c["name"] for c in categories], contiguous, json_file)
    records = image_records(data["images"], image_dir, json_file)
    if "annotations" in data:
        add_annotations(records, data["annotations"], contiguous, json_file)
    logger.info("%s: %d images, %d classes", json_file, len(records), len(categories))
    return [record for record in records.values() if record]


def read_coco_json(json_file: str, hint: str = "") -> dict:
    """The content of a COCO JSON with its outer shape checked.

    Raises:
        FileNotFoundError: it is not there.
        ValueError: not JSON (cut off?), or without images or categories.
    """
    path = Path(json_file)
    if not path.is_file():
        raise FileNotFoundError(f"annotation file {json_file} does not exist" + _cure(hint))
    data = read_json(path, nan=True)
    if not isinstance(data, dict):
        raise DataError(f"{json_file} is no COCO file: it holds a {type(data).__name__}, expected an object")
    for key in ("images", "categories"):
        if not isinstance(data.get(key), list):
            raise DataError(f'{json_file} is no COCO file: it has no list "{key}"; it has {sorted(data)}')
        if not data[key]:
            raise DataError(f'{json_file}: the list "{key}" is empty')
    if not isinstance(data.get("annotations", []), list):
        raise DataError(f'{json_file}: "annotations" is no list')
    return data


def _cure(hint: str) -> str:
    return f". To get it: {hint}" if hint else f" (looked from {Path.cwd()})"


def checked_categories(categories: list[dict], source: str) -> list[dict]:
    """Sorted by id, which makes the order of classes that of Detectron2 and pycocotools.

    Raises:
        DataError: an id that is no integer, a name that is no text, or one that comes twice.
    """
    wrong = [c for c in categories if not _is_category(c)]
    raise_errors([f"category {c} needs an integer id and a name that is a text" for c in wrong], source)
    raise_errors(
        [f"category {key} {value!r} comes twice" for key in ("id", "name") for value in _repeated(categories, key)],
        source,
    )
    return sorted(categories, key=lambda c: c["id"])


def _is_category(category: Any) -> bool:
    if not isinstance(category, dict) or type(category.get("id")) is not int:
        return False
    return isinstance(category.get("name"), str) and bool(category["name"].strip())


def _set_classes(dataset_name: str, classes: list[str], contiguous: dict[int, int], source: str) -> None:
    metadata = MetadataCatalog.get(dataset_name)
    for key, value in (("thing_classes", classes), ("thing_dataset_id_to_contiguous_id", contiguous)):
        known = metadata.get(key)
        if known is not None and known != value:
            raise DataError(f"{source}: {key} is {value}, but data set '{dataset_name}' is known to have {known}")
        metadata.set(**{key: value})


def _repeated(rows: Iterable[dict], key: str) -> list:
    seen, repeated = set(), []
    for row in rows:
        if row[key] in seen:
            repeated.append(row[key])
        seen.add(row[key])
    return repeated


def image_records(images: list[dict], image_dir: str, source: str) -> dict[Any, dict]:
    """image id -> dataset dict without annotations, by rising id; what is wrong with an image leaves it out.

    A left out image whose id is right stays as an empty dict, so that its annotations are not told as well.
    """
    defects: list[str] = []
    records: dict[Any, dict] = {}
    texts: dict[str, Any] = {}
    for number, image in enumerate(images):
        image_id = image.get("id") if isinstance(image, dict) else None
        if type(image_id) not in (int, str) or not isinstance(image.get("file_name"), str):
            defects.append(f"images[{number}] needs an id (integer or text) and a file_name: {image}")
            continue
        if image_id in records:
            defects.append(f"image id {image_id!r} comes twice")
            continue
        records[image_id] = {}
        if any(type(image.get(side)) is not int or image[side] < 1 for side in ("width", "height")):
            size = f"{image.get('width')!r}x{image.get('height')!r}"
            defects.append(f"image id {image_id!r} has size {size}, expected whole positive pixels")
        elif texts.setdefault(str(image_id), image_id) != image_id:
            defects.append(f"image ids {texts[str(image_id)]!r} and {image_id!r} are the same in files of results")
        else:
            records[image_id] = {
                "file_name": str(Path(image_dir, image["file_name"])),
                "height": image["height"],
                "width": image["width"],
                "image_id": image_id,
            }
    raise_or_collect(defects, source)
    return dict(sorted(records.items(), key=lambda item: id_order(item[0])))


def add_annotations(
    records: dict, annotations: list[dict], contiguous: dict[int, int], source: str, extra: Sequence[str] = ()
) -> None:
    """Put the annotations of a file into the records of their images; wrong and useless ones are left out.

    Args:
        records: of `image_records`.
        contiguous: category id -> class index.
        source: file, for messages.
        extra: keys that are taken over as they are, where annotations have them.
    Raises:
        DataError: structural errors, or too many useless boxes.
    """
    for record in filter(None, records.values()):
        record["annotations"] = []
    defects: list[str] = []
    seen: set[int | str] = set()
    dropped = DroppedBoxes(source, "xywh")
    for number, annotation in enumerate(annotations):
        defect = structural_defect(annotation, number, records, contiguous, seen)
        if defect:
            defects.append(defect)
            continue
        seen.add(annotation["id"])
        record = records[annotation["image_id"]]
        x, y, w, h = annotation["bbox"]
        where = f"annotation id {annotation['id']}"
        if not record or not dropped.keep((x, y, x + w, y + h), record["width"], record["height"], where):
            continue
        record["annotations"].append(
            {
                "bbox": [float(v) for v in (x, y, w, h)],
                "bbox_mode": BoxMode.XYWH_ABS,
                "category_id": contiguous[annotation["category_id"]],
                "iscrowd": is_crowd(annotation),
                **{key: annotation[key] for key in extra if key in annotation},
            }
        )
    raise_or_collect(defects, source)
    dropped.finish()


def is_crowd(annotation: Mapping[str, Any]) -> int:
    """0 or 1 of a checked annotation; `ignore` is what some converted data sets say for COCO's crowds."""
    return int(bool(annotation.get("iscrowd") or annotation.get("ignore")))


def structural_defect(annotation: Any, number: int, records: dict, contiguous: dict, seen: set) -> str:
    """The structural error of an annotation, or "".

    Args:
        annotation: of a file, anything.
        number: its place in the list.
        records, contiguous: by image id and by category id.
        seen: ids of annotations before it.
    """
    if not isinstance(annotation, dict) or type(annotation.get("id")) not in (int, str):
        return f"annotations[{number}] needs an id (integer or text): {annotation}"
    name = f"annotation id {annotation['id']}"
    if annotation["id"] in seen:
        return f"{name} comes twice{RENUMBER}"
    if _lacks(records, annotation.get("image_id")):
        return f"{name} belongs to image_id {annotation.get('image_id')!r}, which is not in images"
    if _lacks(contiguous, annotation.get("category_id")):
        known = f"{min(contiguous)}..{max(contiguous)}, {len(contiguous)} of them"
        return f"{name} has category_id {annotation.get('category_id')!r}, which is not in categories ({known})"
    if not is_finite_box(annotation.get("bbox")):
        return f"{name} has bbox {annotation.get('bbox')!r}, expected four finite numbers [x, y, width, height]"
    for key in ("iscrowd", "ignore"):
        if annotation.get(key) is not None and not _is_flag(annotation[key]):
            return f"{name}: {key!r} is {named(annotation[key])}, expected 0 or 1"
    area = annotation.get("area")
    if area is not None and (not is_finite_number(area) or area < 0):
        return f"{name}: 'area' is {named(area)}, expected a number of square pixels"
    return ""


def _is_flag(value: Any) -> bool:
    return isinstance(value, (bool, int, float)) and value in (0, 1)


def _lacks(mapping: dict, key: Any) -> bool:
    return type(key) not in (int, str) or key not in mapping
