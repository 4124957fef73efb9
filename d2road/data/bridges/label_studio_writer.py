"""Tasks for Label Studio with predictions to start labelling from, and the labelling interface that fits them."""

import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any
from urllib.parse import quote

from d2road.data.bridges.coco_content import CocoContent
from d2road.data.input_checks import is_finite_box, is_finite_number
from d2road.utils.errors import DataError, raise_errors
from d2road.utils.input_files import read_json

LOCAL_FILES = "/data/local-files/?d="
FROM_NAME, TO_NAME = "label", "image"


def with_predictions(content: CocoContent, results: str | Path, confidence: float) -> CocoContent:
    """The images and classes of the content with the boxes of a COCO results file, each with its `score`.

    Args:
        results: [{"image_id", "category_id", "bbox", "score"}, ...], as `d2road eval` writes
            coco_instances_results.json.
    Raises:
        FileNotFoundError, DataError: it cannot be read, or a row does not belong to the content.
    """
    rows = read_json(results, "predictions", nan=True)
    if not isinstance(rows, list):
        raise DataError(f"{results} is no file of COCO results: expected a list of predictions")
    images = {image["id"] for image in content.images}
    known = {category["id"] for category in content.categories}
    found = CocoContent(f"{content.source} with {results}", content.image_dir, content.categories, content.images)
    errors = []
    for number, row in enumerate(rows):
        defect = _row_defect(row, images, known)
        if defect:
            errors.append(f"predictions[{number}] {defect}")
        elif row["score"] < confidence:
            found.notes[f"predictions left out: score below {confidence:g}"] += 1
        else:
            x, y, w, h = row["bbox"]
            found.add_box(row["image_id"], row["category_id"], (x, y, x + w, y + h), score=float(row["score"]))
    raise_errors(errors, str(results))
    return found


def _row_defect(row: Any, images: set, known: set) -> str:
    if not isinstance(row, dict):
        return "is no object"
    if not isinstance(row.get("image_id"), (int, str)) or row["image_id"] not in images:
        return f"belongs to image_id {row.get('image_id')!r}, which is not in the annotations"
    if not isinstance(row.get("category_id"), int) or row["category_id"] not in known:
        return f"has category_id {row.get('category_id')!r}, which is not in the categories"
    if not is_finite_box(row.get("bbox")) or not is_finite_number(row.get("score")):
        return f"has bbox {row.get('bbox')!r} and score {row.get('score')!r}, expected finite numbers"
    return ""


def label_studio_tasks(content: CocoContent, url: str = "", model: str = "d2road") -> list[dict[str, Any]]:
    """Tasks with one prediction each; the score of a task is the lowest of its boxes, so that doubtful ones sort first.

    Args:
        url: put before the file names; "" for Label Studio's local files, by the name of the image folder.
        model: what Label Studio shows as the version of the model.
    Raises:
        DataError: the name of an image leads out of their folder.
    """
    raise_errors(content.names_outside(), content.source)
    prefix = url or LOCAL_FILES + quote(f"{Path(content.image_dir).expanduser().absolute().name}/")
    names = {category["id"]: category["name"] for category in content.categories}
    tasks = []
    for image, annotations in content.boxes_by_image():
        result = []
        for annotation in annotations:
            corners = content.clipped_corners(annotation, image)
            if corners is not None:
                result.append(_region(annotation, corners, image, names))
        prediction: dict[str, Any] = {"model_version": model, "result": result}
        scores = [region["score"] for region in result if "score" in region]
        if scores:
            prediction["score"] = min(scores)
        tasks.append({"data": {"image": prefix + quote(image["file_name"])}, "predictions": [prediction]})
    return tasks


def _region(
    annotation: dict[str, Any], corners: tuple[float, ...], image: dict[str, Any], names: dict[int, str]
) -> dict[str, Any]:
    """A rectangle in percent of the image."""
    x1, y1, x2, y2 = corners
    width, height = image["width"], image["height"]
    value = {"x": 100 * x1 / width, "y": 100 * y1 / height}
    value |= {"width": 100 * (x2 - x1) / width, "height": 100 * (y2 - y1) / height}
    region = {
        "id": str(annotation["id"]),
        "type": "rectanglelabels",
        "from_name": FROM_NAME,
        "to_name": TO_NAME,
        "original_width": width,
        "original_height": height,
        "image_rotation": 0,
        "value": {**value, "rotation": 0, "rectanglelabels": [names[annotation["category_id"]]]},
    }
    return {**region, "score": annotation["score"]} if "score" in annotation else region


def labelling_interface(content: CocoContent) -> str:
    """The labelling configuration of a project that takes the tasks."""
    view = ET.Element("View")
    ET.SubElement(view, "Image", name=TO_NAME, value="$image")
    labels = ET.SubElement(view, "RectangleLabels", name=FROM_NAME, toName=TO_NAME)
    for category in content.categories:
        ET.SubElement(labels, "Label", value=category["name"])
    ET.indent(view)
    return ET.tostring(view, encoding="unicode") + "\n"
