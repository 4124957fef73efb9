"""Grounding data sets by name and by path: `grounding:FILE.json:IMAGE_DIR`.

    toy_grounding_train, toy_grounding_val, toy_grounding_test        below DETECTRON2_DATASETS, see datasets/README.md
    toy_grounding_more        the training part of more views, for models that need them
    toy_grounding_written     sentences that no generator wrote, in this package, over images of toy_roadside
    mono3drefer_train, mono3drefer_val, mono3drefer_test

A dataset dict is one image with all of its sentences, so that a model sees the image once:

    file_name, height, width, image_id, camera {"P", "ground"}
    annotations    as 3D data sets have them (see `d2road.data.catalog.register_objects`), with `id` and `attributes`
    expressions    each with id, text, targets (positions in annotations), target_ids, kind, distractors, group, tags,
                   category_ids (contiguous), and for generated ones language, form and choices
    scene          as language sees the image, for the forms of its sentences; None without any
"""

import logging
from functools import partial
from pathlib import Path
from typing import Any

from detectron2.data import MetadataCatalog
from detectron2.structures import BoxMode

from d2road.data.catalog import register_lazily
from d2road.data.dataset_formats import DATASET_FORMATS, DatasetFormat
from d2road.data.datasets.builtin import datasets_root
from d2road.data.input_checks import DroppedBoxes
from d2road.data.label_conventions import LabelConventions
from d2road.utils.errors import DataError
from d2road.utils.thumbnails import TOLERANCE, thumbnail_distance, thumbnail_of
from mono3dvg.language import build_labelled_scene
from mono3dvg.schema import Expression, GroundingData, LabelledObject, read_grounding

logger = logging.getLogger(__name__)

SPLITS = ("train", "val", "test")
TOY_HINT = "d2road make-data toy-grounding --output {root}/toy_grounding --toy {root}/toy_roadside"
MORE_HINT = (
    "d2road make-data toy-roadside --output {root}/toy_roadside_more --seed 1 --train 3000 --val 20, then "
    "d2road make-data toy-grounding --output {root}/toy_grounding_more --toy {root}/toy_roadside_more --seed 1 "
    "--per-image 2"
)
WRITTEN = Path(__file__).parent / "toy_grounding_written.json"
WRITTEN_HINT = "d2road make-data toy-roadside --output {root}/toy_roadside --seed 0 --train 1000 --val 500"
MONO3DREFER_HINT = "get Mono3DRefer from its authors and convert it as datasets/README.md shows"
MAX_NAMED = 3  # missing images listed in a message


def register_grounding(name: str, json_file: str, image_dir: str, hint: str = "") -> None:
    """Register grounding data; it is read at first use. Idempotent.

    Args:
        hint: how to get the data, for the messages when it is missing or its images are others.
    """
    json_file, image_dir = str(Path(json_file).expanduser()), str(Path(image_dir).expanduser())
    register_lazily(
        name,
        partial(load_grounding, json_file, image_dir, name, hint),
        json_file=json_file,
        image_root=image_dir,
        evaluator_type="grounding",
    )


DATASET_FORMATS.register(DatasetFormat("grounding:FILE.json:IMAGE_DIR", register_grounding, (2, 2)), name="grounding")


def load_grounding(json_file: str, image_dir: str, dataset_name: str = "", hint: str = "") -> list[dict]:
    """Dataset dicts of a grounding file, in its order.

    With a `dataset_name` its metadata gets `thing_classes` (the categories in the order of the file),
    `thing_dataset_id_to_contiguous_id` and `ry_frame` ("camera" or "ground", about what `rotation_y` turns).

    Raises:
        FileNotFoundError: the file or an image is not there.
        DataError: the file is not of the schema, see `schema.read_grounding`; or an image is not the one whose
            thumbnail the file has.
    """
    if not Path(json_file).is_file():
        cure = f". To get it: {hint}" if hint else f" (looked from {Path.cwd()})"
        raise FileNotFoundError(f"grounding file {json_file} does not exist{cure}")
    data = read_grounding(json_file)
    contiguous = {key: number for number, key in enumerate(data.categories)}
    class_names = tuple(data.categories.values())
    sentences: dict[Any, list[Expression]] = {image_id: [] for image_id in data.images}
    for expression in data.expressions.values():
        sentences[expression.image_id].append(expression)
    dropped, records, conventions = DroppedBoxes(json_file), [], LabelConventions(json_file)
    for image_id, image in data.images.items():
        annotations = [
            _annotation(thing, data, contiguous, image.width, image.height)
            for thing in data.objects_of[image_id]
            if dropped.keep(thing.bbox, image.width, image.height, f"annotation id {thing.id!r}")
        ]
        places = {annotation["id"]: place for place, annotation in enumerate(annotations)}
        entries = [_expression(e, places, contiguous) for e in sentences[image_id]]
        records.append(
            {
                "file_name": str(Path(image_dir, image.file_name)),
                "height": image.height,
                "width": image.width,
                "image_id": image_id,
                "camera": {"P": image.camera.P.tolist(), "ground": image.ground_plane},
                "annotations": annotations,
                "expressions": entries,
                "scene": build_labelled_scene(data, image_id) if any(entry["form"] for entry in entries) else None,
                "class_names": class_names,
            }
        )
        conventions.add(records[-1], image.camera, data.ry_frame)
    dropped.finish()
    conventions.finish()
    _need_images(records, json_file, hint)
    _need_same_images(data, image_dir, json_file, hint)
    if dataset_name:
        MetadataCatalog.get(dataset_name).set(
            thing_classes=list(class_names),
            thing_dataset_id_to_contiguous_id=contiguous,
            ry_frame=data.ry_frame,
        )
    logger.info("%s: %d images, %d sentences", json_file, len(records), len(data.expressions))
    return records


def _annotation(thing: LabelledObject, data: GroundingData, contiguous: dict, width: int, height: int) -> dict:
    x1, y1, x2, y2 = thing.bbox
    has_3d = thing.location is not None
    return {
        "id": thing.id,
        "type": data.categories[thing.category_id],
        "category_id": contiguous[thing.category_id],
        "iscrowd": int(thing.ignore),
        "bbox": [max(x1, 0.0), max(y1, 0.0), min(x2, float(width)), min(y2, float(height))],
        "bbox_mode": BoxMode.XYXY_ABS,
        "truncated": thing.truncation,
        "occluded": thing.occlusion,
        "alpha": thing.alpha,
        "dimensions_hwl": list(thing.dimensions or (0.0, 0.0, 0.0)),
        "location": list(thing.location or (0.0, 0.0, 0.0)),
        "rotation_y": thing.rotation_y if has_3d else 0.0,
        "has_3d": has_3d,
        "attributes": dict(thing.attributes),
    }


def _expression(expression: Expression, places: dict, contiguous: dict) -> dict:
    missing = [key for key in expression.target_ids if key not in places]
    if missing:
        raise DataError(
            f"expression {expression.id!r}: its target {missing[0]!r} lies outside image "
            f"{expression.image_id!r}: leave the sentence out, or correct the box"
        )
    return {
        "id": expression.id,
        "text": expression.text,
        "target_ids": list(expression.target_ids),
        "targets": [places[key] for key in expression.target_ids],
        "kind": expression.kind,
        "distractors": expression.distractors,
        "group": expression.group,
        "tags": list(expression.tags),
        "category_ids": [contiguous[key] for key in expression.category_ids],
        "language": expression.language,
        "form": expression.form,
        "choices": list(expression.choices),
    }


def _need_images(records: list[dict], json_file: str, hint: str) -> None:
    missing = [record["file_name"] for record in records if not Path(record["file_name"]).is_file()]
    if missing:
        cure = f". To get them: {hint}" if hint else ""
        raise FileNotFoundError(
            f"{len(missing)} of {len(records)} images of {json_file} do not exist: {', '.join(missing[:MAX_NAMED])}; "
            f"is the folder of images the right one?{cure}"
        )


def _need_same_images(data: GroundingData, image_dir: str, json_file: str, hint: str) -> None:
    """Sentences that were written for images mean nothing over others."""
    others = []
    for image in data.images.values():
        path = Path(image_dir, image.file_name)
        if image.thumbnail and thumbnail_distance(image.thumbnail, thumbnail_of(path)) > TOLERANCE:
            others.append(str(path))
    if others:
        cure = f". To get them: {hint}" if hint else ""
        raise DataError(
            f"{len(others)} of {len(data.images)} images are not those that the sentences of {json_file} were written "
            f"for, as their thumbnails show: {', '.join(others[:MAX_NAMED])}; expected the images of "
            f"{data.info.get('source', 'the same data')}{cure}"
        )


def register_builtin(root: Path) -> None:
    """Register the data sets that this module lists below `root`. Idempotent; reads nothing."""
    written_hint = WRITTEN_HINT.format(root=root)
    register_grounding("toy_grounding_written", str(WRITTEN), str(root / "toy_roadside"), written_hint)
    more = root / "toy_grounding_more" / "grounding_train.json"
    register_grounding("toy_grounding_more", str(more), str(root / "toy_roadside_more"), MORE_HINT.format(root=root))
    for split in SPLITS:
        toy = root / "toy_grounding" / f"grounding_{split}.json"
        register_grounding(f"toy_grounding_{split}", str(toy), str(root / "toy_roadside"), TOY_HINT.format(root=root))
        refer = root / "mono3drefer"
        register_grounding(
            f"mono3drefer_{split}", str(refer / f"grounding_{split}.json"), str(refer / "images"), MONO3DREFER_HINT
        )


register_builtin(datasets_root())
