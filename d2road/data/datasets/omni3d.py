"""Omni3D's JSON: COCO's outer shape with 3D boxes of any orientation.

    {"info": {...}, "categories": [{id, name}],
     "images": [{id, width, height, file_path, K (3x3)}],
     "annotations": [{id, image_id, category_id, category_name, valid3D, bbox2D_tight, bbox2D_proj, bbox2D_trunc,
                      bbox3D_cam (8x3), center_cam, dimensions [w, h, l], R_cam (3x3), behind_camera, visibility,
                      truncation, segmentation_pts, lidar_pts, depth_error}]}

Values that are not available are -1. `center_cam` is the centre of the box; a box has its length along the first column
of R_cam, down along the second and its width along the third. Here it becomes the centre of the bottom face with
`box_rotation` = R_cam; `rotation_y` is the heading about the camera's y axis, which says all for upright boxes only.

Which objects count is a matter of rules (`Rules`) that depend on truncation, visibility and height in the image. The
ones of the training configuration make an object a crowd (`iscrowd`), the stricter ones of the evaluation set
`ignore_in_test`, which the AP3D of `evaluation/omni3d.py` follows.

`src_90_rotate` is not acted on: it says what was done to the images before they were published.
Source: Brazil et al., Omni3D, CVPR 2023, and DATA.md of its repository.
"""

import logging
import math
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from detectron2.data import MetadataCatalog
from detectron2.structures import BoxMode

from d2road.data.camera_files import read_camera
from d2road.data.catalog import register_lazily
from d2road.data.dataset_formats import DATASET_FORMATS, DatasetFormat
from d2road.data.datasets.coco import checked_categories, read_coco_json
from d2road.data.datasets.omni3d_sources import KEY as COVERAGE_KEY
from d2road.data.datasets.omni3d_sources import label_coverage
from d2road.data.input_checks import DroppedBoxes, one_entry
from d2road.data.label_conventions import LabelConventions
from d2road.structures.upright_boxes import box_corners, heading_to_ry, ry_to_alpha
from d2road.utils.errors import DataError
from d2road.utils.values import as_integer, as_number, as_object, as_text, id_order, named

logger = logging.getLogger(__name__)

IGNORED_NAMES = ("dontcare", "ignore", "void")
NUMBERS = ("truncation", "visibility", "lidar_pts", "segmentation_pts", "depth_error")  # -1 where not known
# bbox3D_cam in the order of our corners (see upright_boxes.py): its 0 to 3 are the side at -width, seen from there.
_VERTEX_OF_CORNER = [6, 7, 3, 2, 5, 4, 0, 1]
_CORNER_TOLERANCE_M = 0.05


@dataclass(frozen=True)
class Rules:
    """When an object is ignored: at or beyond these. Heights are shares of the image's height."""

    truncation: float
    visibility: float
    min_height: float
    max_height: float = 1.5
    max_depth_error_m: float = 0.5

    def ignores(self, annotation: dict, height_px: float, image_height: int) -> bool:
        """Whether they ignore a raw annotation with a 2D box of this height."""
        value = lambda key: annotation.get(key, -1)  # noqa: E731
        return bool(
            not _is_valid(annotation)
            or value("lidar_pts") == 0
            or value("segmentation_pts") == 0
            or value("depth_error") > self.max_depth_error_m
            or height_px <= self.min_height * image_height
            or height_px >= self.max_height * image_height
            or value("truncation") >= self.truncation
            or 0 <= value("visibility") <= self.visibility
        )


TRAIN_RULES = Rules(truncation=0.75, visibility=0.25, min_height=0.05)
TEST_RULES = Rules(truncation=1 / 3, visibility=1 / 3, min_height=0.0625)


def register_omni3d(name: str, json_file: str, image_dir: str) -> None:
    """Register an Omni3D JSON; it is read at first use. Idempotent."""
    load = lambda: load_omni3d(json_file, image_dir, name)  # noqa: E731
    # Not `json_file`: evaluators of COCO JSON would read it.
    register_lazily(name, load, evaluator_type="omni3d", ry_frame="camera", classes_file=str(json_file))


DATASET_FORMATS.register(DatasetFormat("omni3d:ANNOTATIONS.json:IMAGE_DIR", register_omni3d, (2, 2)), name="omni3d")


def load_omni3d(json_file: str, image_dir: str, dataset_name: str = "") -> list[dict]:
    """Dataset dicts sorted by image id, with `camera` and 3D boxes; see `catalog.register_objects`.

    With a `dataset_name` its metadata gets `thing_classes`, `thing_dataset_id_to_contiguous_id`,
    `exhaustively_labelled` (of all images; None where nothing tells) and `sparsely_labelled`, the ids of images of
    which it is known not to be so (see `omni3d_sources`).

    Raises:
        FileNotFoundError: the file or the folder of images is not there.
        ValueError: no Omni3D JSON, an entry that cannot be right, or too many useless boxes; names file and entry.
    """
    path, folder = str(Path(json_file).expanduser()), Path(image_dir).expanduser()
    data = read_coco_json(path)
    if not folder.is_dir():
        raise FileNotFoundError(f"image folder {image_dir} of {json_file} does not exist (looked from {Path.cwd()})")
    categories = [c for c in checked_categories(data["categories"], path) if c["name"] not in IGNORED_NAMES]
    contiguous = {category["id"]: i for i, category in enumerate(categories)}
    if dataset_name:
        MetadataCatalog.get(dataset_name).set(
            thing_classes=[category["name"] for category in categories],
            thing_dataset_id_to_contiguous_id=contiguous,
        )
    records: dict[Any, dict] = {}
    for number, image in enumerate(data["images"]):
        with one_entry():
            record = _image_record(image, folder, f"{path} images[{number}]")
            if record["image_id"] in records:
                raise DataError(f"{path} images[{number}]: image id {record['image_id']!r} comes twice")
            records[record["image_id"]] = record
    if "annotations" in data:
        _add_annotations(
            records, data["annotations"], {c["id"]: c["name"] for c in data["categories"]}, contiguous, path
        )
    if dataset_name:
        _set_coverage(dataset_name, data, records, path)
    conventions = LabelConventions(path)
    for record in records.values():
        conventions.add(record, read_camera(record))
    conventions.finish()
    logger.info("%s: %d images, %d classes", path, len(records), len(categories))
    return [records[key] for key in sorted(records, key=id_order)]


def _set_coverage(dataset_name: str, data: dict, records: dict, path: str) -> None:
    images = [image for image in data["images"] if isinstance(image, dict) and image.get("id") in records]
    coverage = label_coverage(data.get("info"), images, path)
    unknown = [image_id for image_id, whole in coverage.items() if whole is None]
    if unknown:
        logger.warning(
            "%s: nothing tells which data set %d of %d images are from, so AP3D cannot be given: name it in the file, "
            '"info": {"name": ..., "%s": true or false}', path, len(unknown), len(coverage), COVERAGE_KEY,
        )  # fmt: skip
    MetadataCatalog.get(dataset_name).set(
        exhaustively_labelled=None if unknown else all(coverage.values()),
        sparsely_labelled=frozenset(image_id for image_id, whole in coverage.items() if whole is False),
    )


def _image_record(image: dict, folder: Path, where: str) -> dict:
    as_object(image, where)
    for key in ("id", "width", "height", "file_path", "K"):
        if key not in image:
            raise DataError(f"{where} has no {key!r}; an Omni3D image has id, width, height, file_path, K")
    if type(image["id"]) not in (int, str):
        raise DataError(f"{where}: 'id' is {named(image['id'])}, expected a whole number or a text")
    as_text(image["file_path"], f"{where}: 'file_path'")
    for key in ("width", "height"):
        as_integer(image[key], f"{where}: {key!r}", 1)
    K = _numbers(image["K"], (3, 3), f"{where}: K")
    if min(K[0, 0], K[1, 1]) <= 0:
        raise DataError(f"{where}: K has no positive focal lengths: {K.tolist()}")
    return {
        "file_name": str(folder / image["file_path"]),
        "image_id": image["id"],
        "width": image["width"],
        "height": image["height"],
        "camera": {"P": K.tolist(), "ground": None},
    }


def _add_annotations(records: dict, annotations: list[dict], names: dict, contiguous: dict, path: str) -> None:
    for record in records.values():
        record["annotations"], record["ignored_annotations"] = [], []
    dropped = DroppedBoxes(path)
    notes: Counter[str] = Counter()
    for number, raw in enumerate(annotations):
        known = raw.get("id") if isinstance(raw, dict) else None
        where = f"{path} annotation id {f'(number {number})' if known is None else known}"
        with one_entry():
            _check_types(raw, where)
            if raw.get("image_id") not in records:
                raise DataError(f"{where} belongs to image_id {raw.get('image_id')!r}, which is not in images")
            if raw.get("category_id") not in names:
                raise DataError(f"{where} has category_id {raw.get('category_id')!r}, which is not in categories")
            record = records[raw["image_id"]]
            box = _box_2d(raw, where)
            if box is None:
                notes["without any 2D box"] += 1
                continue
            if not dropped.keep(box, record["width"], record["height"], where):
                continue
            row = _row(raw, box, record, names[raw["category_id"]], where, notes)
            if raw["category_id"] in contiguous:
                record["annotations"].append({**row, "category_id": contiguous[raw["category_id"]]})
            else:
                record["ignored_annotations"].append(row)
    dropped.finish()
    for note, count in notes.items():
        logger.warning("%s: %d of %d annotations %s", path, count, len(annotations), note)


def _check_types(raw: Any, where: str) -> None:
    """Raise DataError for values that compare or count as something else than they say."""
    as_object(raw, where)
    for key in ("image_id", "category_id"):
        if type(raw.get(key)) not in (int, str):
            raise DataError(f"{where}: {key!r} is {named(raw.get(key))}, expected a whole number or a text")
    for key in NUMBERS:
        if key in raw and raw[key] == raw[key]:  # NaN compares as not known
            as_number(raw[key], f"{where}: {key!r}")
    for key in ("valid3D", "behind_camera"):
        if key in raw and not (isinstance(raw[key], (bool, int, float)) and raw[key] in (0, 1)):
            raise DataError(f"{where}: {key!r} is {named(raw[key])}, expected true or false")
    if raw.get("dimensions"):
        _numbers(raw["dimensions"], (3,), f"{where}: dimensions")


def _row(raw: dict, box: list[float], record: dict, kind: str, where: str, notes: Counter) -> dict:
    width, height = record["width"], record["height"]
    box_height = box[3] - box[1]
    row = {
        "type": kind,
        "bbox": [max(box[0], 0.0), max(box[1], 0.0), min(box[2], float(width)), min(box[3], float(height))],
        "bbox_mode": BoxMode.XYXY_ABS,
        "iscrowd": int(TRAIN_RULES.ignores(raw, box_height, height)),
        "ignore_in_test": TEST_RULES.ignores(raw, box_height, height),
        "truncated": float(raw.get("truncation", -1)),
        "visibility": float(raw.get("visibility", -1)),
        "occluded": 0,  # the format states visibility instead
        **_box_3d(raw, where),
    }
    if row["has_3d"] and "bbox3D_cam" in raw:
        vertices = _numbers(raw["bbox3D_cam"], (8, 3), f"{where}: bbox3D_cam")[_VERTEX_OF_CORNER]
        corners = box_corners(row["location"], row["dimensions_hwl"], 0.0, np.array(row["box_rotation"]))[0]
        size = max(row["dimensions_hwl"])
        if np.abs(vertices - corners).max() > max(_CORNER_TOLERANCE_M, 0.02 * size):
            notes["have a bbox3D_cam that differs from center_cam, dimensions [w, h, l] and R_cam"] += 1
    return row


def _box_3d(raw: dict, where: str) -> dict:
    if not _is_valid(raw):
        zeros = {"dimensions_hwl": [0.0] * 3, "location": [0.0] * 3, "rotation_y": 0.0, "alpha": -10.0}
        return {**zeros, "box_rotation": np.eye(3).tolist(), "has_3d": False}
    w, h, l = _numbers(raw["dimensions"], (3,), f"{where}: dimensions")  # noqa: E741
    center = _numbers(raw.get("center_cam"), (3,), f"{where}: center_cam")
    rotation = _numbers(raw.get("R_cam"), (3, 3), f"{where}: R_cam")
    if np.abs(rotation @ rotation.T - np.eye(3)).max() > 0.01 or np.linalg.det(rotation) < 0:
        raise DataError(f"{where}: R_cam is no rotation: {rotation.tolist()}")
    location = center + rotation[:, 1] * h / 2
    ry = float(heading_to_ry(rotation[:, 0]))
    return {
        "dimensions_hwl": [float(h), float(w), float(l)],
        "location": location.tolist(),
        "rotation_y": ry,
        "alpha": float(ry_to_alpha(ry, location)),
        "box_rotation": rotation.tolist(),
        "has_3d": bool(center[2] > 0 and location[2] > 0),
    }


def _is_valid(raw: dict) -> bool:
    """Whether the annotation has a 3D box in front of the camera."""
    dimensions = raw.get("dimensions") or [-1]
    return bool(raw.get("valid3D", True)) and not raw.get("behind_camera", False) and min(dimensions) > 0


def _box_2d(raw: dict, where: str) -> list[float] | None:
    """x1 y1 x2 y2: the projected box cut off at the image, else the whole one, else the drawn one."""
    for key in ("bbox2D_trunc", "bbox2D_proj", "bbox2D_tight"):
        box = raw.get(key)
        if box is not None and not (isinstance(box, list) and all(value == -1 for value in box)):
            return _numbers(box, (4,), f"{where}: {key}").tolist()
    return None


def _numbers(values: Any, shape: tuple[int, ...], where: str) -> np.ndarray:
    try:
        array = np.array(values)
    except (TypeError, ValueError) as error:
        raise DataError(f"{where} is {values!r}, expected {math.prod(shape)} numbers") from error
    if array.dtype.kind not in "iuf":  # texts of numbers are none
        raise DataError(f"{where} is {values!r}, expected {math.prod(shape)} numbers")
    array = array.astype(np.float64)
    if array.shape != shape or not np.isfinite(array).all():
        raise DataError(f"{where} is {values!r}, expected {math.prod(shape)} finite numbers of shape {shape}")
    return array
