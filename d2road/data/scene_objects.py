"""Objects to draw, as `SceneObjects`, from dataset dicts, predictions and result files."""

import logging
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from detectron2.structures import BoxMode, Instances

from d2road.data.camera_files import read_camera
from d2road.data.datasets.frame_files import read_labels
from d2road.data.datasets.label_types import LabelTypes
from d2road.data.input_checks import is_finite_box
from d2road.structures.camera import Camera
from d2road.structures.upright_boxes import box_corners
from d2road.utils.errors import DataError
from d2road.utils.input_files import read_json, text_lines
from d2road.utils.values import as_integer, as_list, as_number, as_object, field, named
from d2road.visualization.scene_drawing import SceneObjects, no_objects

logger = logging.getLogger(__name__)

ANY_TYPE = LabelTypes({"*": ("*",)})


def camera_of(record: Mapping[str, Any]) -> Camera | None:
    """The camera of a dataset dict; None where its data set has none.

    Raises:
        FileNotFoundError, ValueError: it names a camera that cannot be read.
    """
    if record.get("calib_file") or record.get("camera") is not None:
        return read_camera(record)
    return None


def xyxy_of(annotations: Sequence[Mapping[str, Any]]) -> np.ndarray:
    """(N, 4) boxes of annotations in any of Detectron2's box modes."""
    boxes = [
        BoxMode.convert([float(v) for v in a["bbox"]], BoxMode(a["bbox_mode"]), BoxMode.XYXY_ABS) for a in annotations
    ]
    return np.array(boxes, dtype=np.float64).reshape(-1, 4)


def corners_of(annotations: Sequence[Mapping[str, Any]], camera: Camera | None, ry_frame: str = "camera") -> np.ndarray:
    """(N, 8, 3) corners in the camera frame, m; NaN for annotations without a 3D box (`has_3d`).

    Args:
        annotations: with `dimensions_hwl`, `location` and `rotation_y` where there is a 3D box, or a whole
            `box_rotation` (3, 3) from the box's axes to the camera frame (Omni3D).
        ry_frame: about what `rotation_y` turns: "camera" or "ground" (see `d2road.data.catalog.register_objects`).
    """
    corners = np.full((len(annotations), 8, 3), np.nan)
    frame = camera.ground_rotation() if camera is not None and ry_frame == "ground" else None
    for i, row in enumerate(annotations if camera is not None else ()):
        if row.get("has_3d"):
            turn, axes = (0.0, row["box_rotation"]) if "box_rotation" in row else (row["rotation_y"], frame)
            corners[i] = box_corners(row["location"], row["dimensions_hwl"], turn, axes)[0]
    return corners


def labelled_objects(record: Mapping[str, Any], camera: Camera | None, ry_frame: str = "camera") -> SceneObjects:
    """The labelled objects of a dataset dict, crowds and ignored ones left out."""
    annotations = [a for a in record.get("annotations", ()) if "bbox" in a and not a.get("iscrowd", 0)]
    classes = [a["category_id"] for a in annotations]
    return SceneObjects(classes, xyxy_of(annotations), None, corners_of(annotations, camera, ry_frame))


def predicted_objects(found: Instances) -> SceneObjects:
    """What a model found."""
    found = found.to("cpu")
    corners = found.pred_boxes3d.corners().numpy() if found.has("pred_boxes3d") else None
    return SceneObjects(
        found.pred_classes.numpy(), found.pred_boxes.tensor.detach().numpy(), found.scores.numpy(), corners
    )


def poses_as_json(found: Instances, camera: Camera | None) -> list[dict]:
    """The 3D box of each object as JSON can hold it; empty dicts for models without.

    `rotation_y` turns about the normal of the camera's ground plane, without one about the camera's y axis.
    """
    if not found.has("pred_boxes3d"):
        return [{}] * len(found)
    frame = camera.ground_rotation() if camera is not None else None
    poses = [
        {"location": row[:3], "dimensions_hwl": row[3:6], "rotation_y": row[6]}
        for row in found.pred_boxes3d.to_kitti(frame).tolist()
    ]
    if found.has("pred_depth_std_m"):
        for pose, deviation in zip(poses, found.pred_depth_std_m.tolist()):
            pose["depth_std_m"] = deviation
    return poses


Find = Callable[[Mapping[str, Any], Camera | None], SceneObjects]


def read_predictions(
    path: str | Path,
    class_names: Sequence[str],
    category_ids: Mapping[int, int],
    ry_frame: str,
    image_ids: Collection[Any] | None = None,
) -> Find:
    """A function (record, camera) -> predicted objects, from a COCO result file or a folder of KITTI text files.

    Args:
        path: JSON list of {"image_id", "category_id", "bbox": [x, y, width, height], "score"}, or a folder with a file
            FRAME.txt for each frame, named by `image_id`, with rows of 16 fields. A frame without any has no objects.
        class_names: by class index; types of text rows are looked up in them, whatever their case.
        category_ids: category id of the file -> class index; empty if they are the same.
        ry_frame: of the text rows, as of the data set.
        image_ids: of the data set, if they are to be compared.
    Raises:
        FileNotFoundError: neither a file nor a folder.
        ValueError: something else than results, or results of none of the images; names the file.
    """
    path = Path(path)
    if path.is_dir():
        _compare_images(path, {file.stem for file in path.glob("*.txt")}, image_ids)
        return _text_predictions(path, class_names, ry_frame)
    if not path.is_file():
        raise FileNotFoundError(f"predictions {path}: no such file or folder (looked from {Path.cwd()})")
    return _coco_predictions(path, class_names, category_ids, image_ids)


def _compare_images(path: Path, predicted: set[str], image_ids: Collection[Any] | None) -> None:
    """Raises DataError where predictions are of other images than those of the data set."""
    known = {str(image_id) for image_id in image_ids or ()}
    if predicted and known and not predicted & known:
        raise DataError(
            f"predictions {path} are of none of the {len(known)} images: they are named {min(predicted)}, ..., the "
            f"images {min(known)}, ...: of another data set?"
        )


def _warn_of_classes(path: Path, unknown: Counter, class_names: Sequence[str]) -> None:
    if unknown:
        listed = ", ".join(f"{kind!r} ({n})" for kind, n in unknown.most_common(8))
        logger.warning(
            "%s: %d predictions are of no class of the data: %s; its classes are %s",
            path, unknown.total(), listed, ", ".join(class_names),
        )  # fmt: skip


def _coco_predictions(
    path: Path, class_names: Sequence[str], category_ids: Mapping[int, int], image_ids: Collection[Any] | None
) -> Find:
    rows = read_json(path, "predictions")
    by_image: dict[str, list[dict]] = {}
    try:
        for number, row in enumerate(as_list(rows, "it")):
            where = f"prediction {number}"
            box = field(as_object(row, where), "bbox", as_list, where)
            if not is_finite_box(box):
                raise DataError(f"{where}: 'bbox' is not four finite numbers")
            score = field(row, "score", as_number, where)
            category = field(row, "category_id", as_integer, where)
            if not isinstance(row.get("image_id"), (int, str)):
                raise DataError(f"{where}: 'image_id' is {named(row.get('image_id'))}, expected a number or a text")
            entry = {"bbox": [float(v) for v in box], "score": score, "category_id": category}
            by_image.setdefault(str(row["image_id"]), []).append(entry)
    except DataError as error:
        raise DataError(
            f"{path} holds no COCO results: {error}; expected a list of "
            '{"image_id", "category_id", "bbox": [x, y, width, height], "score"}'
        ) from error
    rows = [row for found in by_image.values() for row in found]

    _compare_images(path, set(by_image), image_ids)
    of_id = category_ids or {
        i: i for i in (range(len(class_names)) if class_names else {r["category_id"] for r in rows})
    }
    _warn_of_classes(path, Counter(r["category_id"] for r in rows if r["category_id"] not in of_id), class_names)

    def find(record: Mapping[str, Any], camera: Camera | None) -> SceneObjects:
        rows = by_image.get(str(record["image_id"]), [])
        if not rows:
            return no_objects()
        boxes = np.array([row["bbox"] for row in rows])
        boxes[:, 2:] += boxes[:, :2]
        classes = [of_id.get(row["category_id"], len(class_names)) for row in rows]
        return SceneObjects(classes, boxes, [row["score"] for row in rows])

    return find


def _text_predictions(folder: Path, class_names: Sequence[str], ry_frame: str) -> Find:
    if not any(folder.glob("*.txt")):
        raise DataError(f"predictions {folder}: no .txt files in this folder, expected one for each frame")
    index = {name.lower(): i for i, name in enumerate(class_names)}
    words = (line.split()[:1] for file in sorted(folder.glob("*.txt")) for line in text_lines(file, "predictions"))
    kinds = Counter(word[0] for word in words if word)
    _warn_of_classes(folder, Counter({k: n for k, n in kinds.items() if k.lower() not in index}), class_names)

    def find(record: Mapping[str, Any], camera: Camera | None) -> SceneObjects:
        file = folder / f"{record['image_id']}.txt"
        if not file.is_file():
            return no_objects()
        rows = [row for _, row in read_labels(file, ANY_TYPE)]
        classes = [index.get(row["type"].lower(), len(class_names)) for row in rows]
        corners = corners_of(rows, camera, ry_frame)
        return SceneObjects(classes, [row["bbox"] for row in rows], _scores(file), corners)

    return find


def _scores(file: Path) -> list[float]:
    """The 16th fields; 1 where rows have none, as labels."""
    rows = [line.split() for line in text_lines(file, "predictions") if line.strip()]
    return [float(row[15]) if len(row) > 15 else 1.0 for row in rows]
