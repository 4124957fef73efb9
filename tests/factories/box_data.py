"""The small data set of tests/golden/bridges, what it holds, and boxes in one form to compare."""

import json
import shutil
from pathlib import Path

from d2road.data.bridges import CocoContent

GOLDEN = Path(__file__).resolve().parents[1] / "golden" / "bridges"
IMAGES = GOLDEN / "source" / "images"
SOURCE = f"coco:{GOLDEN}/source/coco.json:{IMAGES}"
CLASSES = ["car", "traffic light", "bus"]

Box = tuple[str, str, tuple[float, ...]]


def source_boxes() -> list[Box]:
    """(stem of the image, class, (x1, y1, x2, y2)) of every box, sorted."""
    content = json.loads((GOLDEN / "source" / "coco.json").read_text())
    return boxes_of(CocoContent("", "", content["categories"], content["images"], content["annotations"]))


def boxes_of(content: CocoContent) -> list[Box]:
    """See `source_boxes`."""
    stems = {image["id"]: Path(image["file_name"]).stem for image in content.images}
    names = {category["id"]: category["name"] for category in content.categories}
    found = []
    for annotation in content.annotations:
        x, y, w, h = annotation["bbox"]
        found.append((stems[annotation["image_id"]], names[annotation["category_id"]], (x, y, x + w, y + h)))
    return sorted(found)


def worst_difference(found: list[Box], expected: list[Box]) -> float:
    """The largest difference of corners in pixels; infinite if images or classes differ."""
    if [box[:2] for box in found] != [box[:2] for box in expected]:
        return float("inf")
    return max((abs(a - b) for x, y in zip(found, expected) for a, b in zip(x[2], y[2])), default=0.0)


def copied(name: str, folder: Path) -> Path:
    """A copy of a part of the data set, to be changed."""
    return Path(shutil.copytree(GOLDEN / name, folder / name))
